//! A size as it is typed.

use cairn_store::segment::SIZE_MAX;

/// Bytes, or a number with a unit.
pub(super) fn size_of(text: &str) -> Result<u64, String> {
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let unit: u64 = match unit.trim_start() {
        "" | "B" => 1,
        "KiB" => 1 << 10,
        "MiB" => 1 << 20,
        "GiB" => 1 << 30,
        _ => return Err("a size is bytes, or a number with KiB, MiB or GiB".into()),
    };
    let size = number.parse::<u64>().ok().and_then(|number| number.checked_mul(unit));
    let size = size.ok_or("a size is a number of bytes, or one with KiB, MiB or GiB")?;
    if (1..=SIZE_MAX).contains(&size) { Ok(size) } else { Err(format!("a size is 1 to {SIZE_MAX} bytes")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_size_has_a_unit_or_is_bytes() {
        let sizes = ["1", "64KiB", "8 MiB", "1GiB", "3B"].map(size_of);
        assert_eq!(sizes, [Ok(1), Ok(64 << 10), Ok(8 << 20), Ok(1 << 30), Ok(3)]);
        for text in ["", "0", "-1", "KiB", "1.5GiB", "1 kb", "99999999999GiB", "18446744073709551615"] {
            assert!(size_of(text).is_err(), "{text}");
        }
    }
}
