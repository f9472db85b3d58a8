//! How to ask a Cairn cluster.
//!
//! - [`api`]: the public contract: the tarpc service, its requests, replies and errors;
//! - [`wire`]: the first words on every connection, and the frames of the data plane;
//! - [`codec`]: tarpc's messages as bytes, bounded;
//! - [`dial`]: reaching a node: endpoints tried in turn, the greeting, one connection for many calls;
//! - [`retry`]: until when, and after which pause, the same request is sent again;
//! - [`ask`]: the short requests, one method each;
//! - [`request`]: request ids;
//! - [`spool`], [`source`]: a node's local storage, seen from an application on the same machine, and the files that
//!   are put into it;
//! - [`save`], [`load`], [`fetch`], [`deliver`]: the main job;
//! - [`claim`], [`lease`]: ownership, and by which clock the holder of a lease counts;
//! - [`watch`], [`standby`]: changes, as they are committed; and a node's copy that follows them;
//! - [`backup`]: a cluster's metadata as a file, and back into another cluster;
//! - `part`: a file or a folder that appears whole or not at all;
//! - [`tree`]: a folder as a tar stream, and back;
//! - [`fault`]: why it failed: a node said no, or a file of this machine did.
//!
//! An application writes into the spool of its own node, then asks that node to save the file: the call names it,
//! the bytes do not travel through it. A load ends with a verified copy in the node's local storage, and a file for
//! the application.

pub mod api;
pub mod ask;
pub mod backup;
pub mod claim;
pub mod codec;
pub mod deliver;
pub mod dial;
pub mod fault;
pub mod fetch;
pub mod lease;
pub mod load;
mod part;
pub mod request;
pub mod retry;
pub mod save;
pub mod source;
pub mod spool;
pub mod standby;
pub mod tree;
pub mod watch;
pub mod wire;

/// The README's program compiles.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
