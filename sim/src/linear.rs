//! Linearizability of what clients were told: each call took effect at one moment between its asking and its answer.
//!
//! - [`revisions`]: with the help of the order in which the cluster committed: cheap, for every name;
//! - [`model`]: without it, by search, as any outsider could: exponential, so only for names with few calls.

pub mod model;
pub mod revisions;
