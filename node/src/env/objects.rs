//! An object store: where the global tier lies.

use std::ops::Range;

use async_trait::async_trait;
use bytes::Bytes;
use futures::stream::BoxStream;

/// How much of an object is sent or asked for at once, in bytes: a multiple of a block. Of very large ones more is sent.
pub const PART_BYTES: usize = 8 << 20;

/// An object store, below some prefix of it. Keys are those of [`cairn_store::archive::key`].
///
/// What is put is there only once the call returned, and then it lasts. Every call may take as long as the store's own time-outs
/// let it; who waits for it brings a bound of its own.
#[async_trait]
pub trait Objects: Send + Sync {
    /// Where it is, for people: without what is secret.
    fn address(&self) -> String;

    /// Whether the store itself compares what arrives with a checksum that is sent along. Else what was put is read again.
    fn compares(&self) -> bool;

    /// Creates a small object; tells whether it was not there. Never overwrites one.
    async fn create(&self, key: &str, bytes: Bytes) -> Result<bool, ObjectError>;

    /// Begins, or goes on with, an object of this size: whole or not at all, and in the place of what lay there.
    async fn upload(&self, key: &str, size: u64) -> Result<Box<dyn Upload>, ObjectError>;

    /// How large an object is.
    async fn size(&self, key: &str) -> Result<u64, ObjectError>;

    /// A part of an object; all of it, however many calls that takes the store, or an error.
    async fn read(&self, key: &str, range: Range<u64>) -> Result<Bytes, ObjectError>;

    /// All objects below a folder, in no order.
    fn list(&self, folder: &str) -> BoxStream<'static, Result<Listed, ObjectError>>;

    /// The folders right below the top.
    async fn folders(&self) -> Result<Vec<String>, ObjectError>;

    /// Removes an object, if it is there.
    async fn delete(&self, key: &str) -> Result<(), ObjectError>;
}

/// An object that is being put. Dropped, it is none; a later upload of the same key and size may go on with it.
#[async_trait]
pub trait Upload: Send {
    /// Where the next part begins: everything before it is there already.
    fn offset(&self) -> u64;

    /// How many bytes each part has but the last: a multiple of a block.
    fn part_bytes(&self) -> usize;

    /// Adds a part. It may still be on its way when this returns.
    async fn part(&mut self, bytes: Bytes) -> Result<(), ObjectError>;

    /// Waits for all of it, and makes it an object of just this size.
    async fn finish(self: Box<Self>) -> Result<(), ObjectError>;
}

/// An object in a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its key.
    pub key: String,
    /// In bytes.
    pub size: u64,
}

/// What the store did not do.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ObjectError {
    /// There is no such object.
    #[error("there is no such object")]
    Missing,
    /// It does not let this node in.
    #[error("the store refuses access: {0}")]
    Denied(String),
    /// It is not reached, or throttled, or broken, or full, or gone.
    #[error("{0}")]
    Failed(String),
}
