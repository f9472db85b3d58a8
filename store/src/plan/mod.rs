//! Every decision, pure: a view goes in, a plan comes out. Planners decide, workers obey.
//!
//! - [`place`]: which nodes get the copies of a save, or of a repair;
//! - [`enough`]: whether the receipts so far suffice, and whether they still can;
//! - [`source`]: whom to ask for a copy, in which order;
//! - [`collect`]: whether a file on disk may go;
//! - [`adopt`]: whether a copy that was brought along is one of this cluster's;
//! - [`archive`]: which versions wait for the global tier, and who takes each there;
//! - [`drain`]: what ties a node that is emptied or removed;
//! - [`handover`]: to whom a leader without room, or one that leaves, gives the lead;
//! - [`liveness`]: whom the leader marks up or down;
//! - [`repair`]: which copies are to be made again, and which are not needed;
//! - [`voters`]: who votes.

pub mod adopt;
pub mod archive;
pub mod collect;
pub mod drain;
pub mod enough;
pub mod handover;
pub mod liveness;
pub mod place;
pub mod repair;
pub mod source;
pub mod voters;
