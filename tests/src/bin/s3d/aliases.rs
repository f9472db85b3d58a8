//! Short names for the long parts of keys: `s3s-fs` puts a whole key, in base64, into the name of a file.
//!
//! A part of more than 64 bytes is stored as its first 21, a `~`, and 16 digits of its SHA-256. What an alias stands for
//! is kept in a file, a line for each, which is written before an object is stored and never rewritten.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::Path;
use std::sync::{Mutex, MutexGuard, PoisonError};

use s3s::crypto::{Checksum, Sha256};
use s3s::{S3Error, S3Result, s3_error};

/// The longest part of a key that is stored as it is.
const PART_BYTES_MAX: usize = 64;

/// What an alias has of the part that it stands for.
const HEAD_BYTES: usize = 21;

/// Digits of a hash in an alias.
const DIGITS: usize = 16;

/// All aliases there ever were.
pub(crate) struct Aliases(Mutex<Kept>);

/// What the file says.
struct Kept {
    file: File,
    /// The parts, by their aliases.
    parts: HashMap<String, String>,
}

impl Aliases {
    /// Reads the aliases at `path`. A last line without its end is one of a server that was killed: no object needs it.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        let mut file = File::options().create(true).read(true).append(true).open(path)?;
        let mut text = Vec::new();
        file.read_to_end(&mut text)?;
        text.truncate(text.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1));
        file.set_len(text.len() as u64)?;
        let parts = serde_json::Deserializer::from_slice(&text).into_iter().collect::<Result<_, _>>()?;
        Ok(Self(Mutex::new(Kept { file, parts })))
    }

    /// What `key` is called where it is stored.
    pub(crate) fn short(&self, key: &str) -> S3Result<String> {
        let kept = self.kept();
        Ok(key.split('/').map(|part| kept.short(part)).collect::<S3Result<Vec<_>>>()?.join("/"))
    }

    /// As `short`, for a key that is about to be stored.
    pub(crate) fn keep(&self, key: &str) -> S3Result<String> {
        let mut kept = self.kept();
        Ok(key.split('/').map(|part| kept.keep(part)).collect::<S3Result<Vec<_>>>()?.join("/"))
    }

    /// The key that is called `short` where it is stored.
    pub(crate) fn long(&self, short: &str) -> String {
        let kept = self.kept();
        let parts = short.split('/').map(|part| kept.parts.get(part).map_or(part, String::as_str));
        parts.collect::<Vec<_>>().join("/")
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Kept {
    /// A part, or its alias. Never one that something else has.
    fn short(&self, part: &str) -> S3Result<String> {
        if part.len() <= PART_BYTES_MAX {
            return if is_alias(part) {
                Err(s3_error!(NotImplemented, "a name that looks like the alias of a longer one"))
            } else {
                Ok(part.to_owned())
            };
        }
        let (head, _) = part.split_at(part.floor_char_boundary(HEAD_BYTES));
        let hash = Sha256::checksum(part.as_bytes()).first_chunk().copied().map_or(0, u64::from_be_bytes);
        let alias = format!("{head}~{hash:0DIGITS$x}");
        match self.parts.get(&alias) {
            Some(other) if other != part => Err(s3_error!(NotImplemented, "a name with the alias of another one")),
            _ => Ok(alias),
        }
    }

    /// As `short`; an alias that is new is written down.
    fn keep(&mut self, part: &str) -> S3Result<String> {
        let short = self.short(part)?;
        if short != part && !self.parts.contains_key(&short) {
            let mut line = serde_json::to_vec(&(&short, part)).map_err(S3Error::internal_error)?;
            line.push(b'\n');
            self.file.write_all(&line).map_err(S3Error::internal_error)?;
            self.parts.insert(short.clone(), part.to_owned());
        }
        Ok(short)
    }
}

/// Whether a short part could be taken for an alias.
fn is_alias(part: &str) -> bool {
    part.rsplit_once('~').is_some_and(|(head, hash)| {
        head.len() <= HEAD_BYTES && hash.len() == DIGITS && hash.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}
