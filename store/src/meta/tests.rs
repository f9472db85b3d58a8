//! Tests of the replicated state machine.
//!
//! - `script`: golden scripts, one behaviour a file in `testscripts/`: commands and questions stand at the start of
//!   a line, what they print is indented below. `UPDATE=1 cargo test -p cairn-store meta` rewrites the indented lines;
//! - `properties`: random logs (`draft` makes them) against what must hold of every log;
//! - `bounds`: the tables that may fill up;
//! - `restore`: backups, and clusters that begin with one;
//! - `fixture`, `answers`: snapshots as the first release writes them.

mod answers;
mod bounds;
mod draft;
mod fixture;
mod history;
mod ids;
mod properties;
mod restore;
mod script;
