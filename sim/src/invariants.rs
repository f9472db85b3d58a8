//! What must hold of a cluster, whatever happens to it: the invariants of the design, one function a file.
//!
//! | | invariant | judged from |
//! |---|---|---|
//! | A | [`acknowledged`] versions load, bit for bit, while an intact copy lives | what must load, and what loaded |
//! | B | one [`owner`] an epoch, and no commit under an old epoch | the history of clients |
//! | A, E | what the cluster counts on in the global tier is [`archived`] | the objects as they lie there |
//! | C | only right [`bytes`] are served | the history of clients |
//! | D | a version is as [`durable`] as was acknowledged | the copies as a power cut would leave them |
//! | E | nothing that counts is [`deleted`], and strays go | what the cluster counts on, and what lies on disks |
//! | F | the same [`request`] gives the same result | the history of clients |
//! | G | after faults the cluster is [`healed`], and every version [`replicated`] again | what every node says |
//! | H | whatever comes in, its cost is [`bounded`] | what was counted |
//! | I | [`ids`] of nodes are never used again | every membership that was seen |
//!
//! Each is a pure function over plain data, and returns all that is wrong, in words; so the simulation and the tests
//! with real processes use the same ones.

pub mod acknowledged;
pub mod archived;
pub mod bounded;
pub mod bytes;
pub mod deleted;
pub mod durable;
pub mod healed;
pub mod ids;
pub mod owner;
pub mod replicated;
pub mod request;
