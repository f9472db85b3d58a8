//! One node of a Cairn cluster.
//!
//! ```text
//! application ──spool──► service::save ──plan::place──► raft (Register)
//!                            │                            ▲
//!                            ├──data::push──► data::receive ──disk──► receipt
//!                            └──plan::enough──► raft (Commit) ──► reply
//!
//! application ◄──file── service::load ◄──data::pull── data::serve (best source first, block by block)
//! ```
//!
//! - [`node`]: assembly; [`config`] and [`identity`]: what a node is told, and what it is;
//! - [`mod@env`]: the seams: clock, randomness, ids, tasks, network, disk, catalogue. The simulation replaces them;
//! - [`mod@core`]: what every part of a running node shares;
//! - [`listen`], [`admit`]: the ports' front door; [`links`]: connections to other members;
//! - [`raft`]: agreement; [`data`]: bytes; [`service`]: requests; [`work`]: loops that carry out plans;
//! - [`mod@fsck`]: the folder of a node that does not run, checked;
//! - [`http`]: health and metrics; [`metrics`]: what is counted for them;
//! - [`jobs`], [`turns`]: work that outlives its call; one at a time for each name; [`versions`]: those with which something
//!   goes on;
//! - [`storage`]: this node's local storage: room, how a copy comes to exist, what an error of the disk means;
//!   [`catalogue`]: what lies there;
//! - [`fetch`]: a version brought into local storage, for a load or a repair; [`errand`]: what a leader asks of members.

pub mod admit;
pub mod catalogue;
pub mod config;
pub mod core;
pub mod data;
pub mod env;
pub mod errand;
pub mod fetch;
pub mod fsck;
pub mod http;
pub mod identity;
pub mod jobs;
pub mod links;
pub mod listen;
pub mod metrics;
pub mod node;
pub mod raft;
pub mod service;
pub mod storage;
pub mod tier;
pub mod turns;
pub mod versions;
pub mod work;
