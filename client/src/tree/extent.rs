//! Where a sparse file has data, and the map of it that stands before the data: GNU's sparse format 1.0.

use std::fs::File;
use std::io::{self, Read};

use rustix::fs::{SeekFrom, seek};
use rustix::io::Errno;

use super::{BLOCK_BYTES, EXTENTS_MAX, padding};

/// The most digits of a number in a map.
const DIGITS_MAX: usize = 20;

/// Data, and not a hole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Extent {
    pub(super) offset: u64,
    pub(super) length: u64,
}

/// The data of a file of `size` bytes. The last extent ends where the file does, even if it is empty.
pub(super) fn find(file: &File, size: u64) -> io::Result<Vec<Extent>> {
    let (mut found, mut at) = (Vec::new(), 0);
    while at < size && found.len() + 1 < EXTENTS_MAX {
        let offset = match seek(file, SeekFrom::Data(at)) {
            Err(Errno::NXIO) => break,
            offset => offset?.min(size),
        };
        at = seek(file, SeekFrom::Hole(offset))?.min(size);
        found.push(Extent { offset, length: at - offset });
    }
    let rest = match found.len() + 1 < EXTENTS_MAX {
        true if at == size && !found.is_empty() => return Ok(found),
        true => Extent { offset: size, length: 0 },
        // Too many to be told apart: the remaining holes become zeros.
        false => Extent { offset: at, length: size - at },
    };
    found.push(rest);
    Ok(found)
}

/// The map as it stands in the stream.
pub(super) fn write(extents: &[Extent]) -> Vec<u8> {
    let mut text = format!("{}\n", extents.len());
    for extent in extents {
        text.push_str(&format!("{}\n{}\n", extent.offset, extent.length));
    }
    let mut map = text.into_bytes();
    let filled = map.len() as u64;
    map.resize(map.len() + usize::try_from(padding(filled)).unwrap_or(0), 0);
    map
}

/// Reads the map of a file of `size` bytes; and how long the map was.
pub(super) fn read(stream: &mut impl Read, size: u64) -> io::Result<(Vec<Extent>, u64)> {
    let mut map = Map { stream, block: [0; BLOCK_BYTES as usize], at: BLOCK_BYTES as usize, length: 0 };
    let count = map.number()?;
    if count > EXTENTS_MAX as u64 {
        return Err(bad("too many pieces"));
    }
    let (mut extents, mut end) = (Vec::new(), 0);
    for _ in 0..count {
        let extent = Extent { offset: map.number()?, length: map.number()? };
        if extent.offset < end {
            return Err(bad("pieces that overlap"));
        }
        end = extent
            .offset
            .checked_add(extent.length)
            .filter(|end| *end <= size)
            .ok_or_else(|| bad("a piece beyond the end"))?;
        extents.push(extent);
    }
    Ok((extents, map.length))
}

/// A map that is being read, block by block: what follows the last one is data.
struct Map<'a, R> {
    stream: &'a mut R,
    block: [u8; BLOCK_BYTES as usize],
    at: usize,
    length: u64,
}

impl<R: Read> Map<'_, R> {
    fn number(&mut self) -> io::Result<u64> {
        let mut digits = String::new();
        loop {
            match self.byte()? {
                b'\n' => return digits.parse().map_err(|_| bad("a map that is no list of numbers")),
                digit if digit.is_ascii_digit() && digits.len() < DIGITS_MAX => digits.push(char::from(digit)),
                _ => return Err(bad("a map that is no list of numbers")),
            }
        }
    }

    fn byte(&mut self) -> io::Result<u8> {
        if self.at == self.block.len() {
            self.stream.read_exact(&mut self.block)?;
            self.at = 0;
            self.length += BLOCK_BYTES;
        }
        let byte = self.block.get(self.at).copied().unwrap_or_default();
        self.at += 1;
        Ok(byte)
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("a sparse file with {what}"))
}
