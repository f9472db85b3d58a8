//! Byte for byte.

use std::fs::File;
use std::io::{self, BufReader, Read};
use std::path::Path;

const BUFFER_BYTES: usize = 1 << 20;

/// Whether two files have the same bytes.
pub(super) fn same_bytes(one: &Path, other: &Path) -> io::Result<bool> {
    let (one, other) = (File::open(one)?, File::open(other)?);
    let length = one.metadata()?.len();
    if length != other.metadata()?.len() {
        return Ok(false);
    }
    let mut one = BufReader::with_capacity(BUFFER_BYTES, one);
    let mut other = BufReader::with_capacity(BUFFER_BYTES, other);
    let (mut left, mut right) = (vec![0; BUFFER_BYTES], vec![0; BUFFER_BYTES]);
    let mut rest = length;
    while rest > 0 {
        let size = usize::try_from(rest).unwrap_or(BUFFER_BYTES).min(BUFFER_BYTES);
        let (left, right) = (left.get_mut(..size).unwrap_or_default(), right.get_mut(..size).unwrap_or_default());
        one.read_exact(left)?;
        other.read_exact(right)?;
        if left != right {
            return Ok(false);
        }
        rest -= size as u64;
    }
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_other_byte_is_seen() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; BUFFER_BYTES + 3];
        let mut changed = long.clone();
        changed[BUFFER_BYTES + 1] = 8;
        let (a, b) = (write("a", &long), write("b", &long));
        assert!(same_bytes(&a, &b).unwrap());
        assert!(!same_bytes(&a, &write("c", &changed)).unwrap());
        assert!(!same_bytes(&a, &write("d", &long[1..])).unwrap());
        assert!(same_bytes(&write("e", b""), &write("f", b"")).unwrap());
    }
}
