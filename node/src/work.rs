//! Loops that carry out plans. Each looks at the newest applied state, asks a planner, and obeys.
//!
//! - [`lead`]: what only the leader does: ticks of log time, marks, voters, expiry;
//! - [`handover`]: gives the lead away when this node's disk has no room, or the node is being emptied;
//! - [`disown`]: ends what such nodes own;
//! - [`reach`]: which global tier this node reaches; [`archive`]: puts versions there; [`sweep`]: the one place that deletes
//!   there; [`backup`]: puts the metadata there;
//! - [`adopt`]: takes over copies that the node brought along from a former cluster;
//! - [`collect`]: unlinks copies that can never be referenced again; the one place that deletes;
//! - [`repair`]: what only the leader does: has copies made again, and lets go of what is not needed;
//! - [`verify`]: looks whether a copy is good, because somebody doubts it or wants to rely on it;
//! - [`scrub`]: has every copy verified once in a while;
//! - [`space`]: watches the disk's free space;
//! - [`leave`]: ends the node once it was removed;
//! - [`describe`]: tells the cluster what this node says of itself, when that changed.

pub mod adopt;
pub mod archive;
pub mod backup;
pub mod collect;
pub mod describe;
pub mod disown;
pub mod handover;
pub mod lead;
pub mod leave;
pub mod reach;
pub mod repair;
pub mod scrub;
pub mod space;
pub mod sweep;
pub mod verify;
