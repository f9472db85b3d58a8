//! The whole cluster in one deterministic process: real nodes on simulated machines.
//!
//! ```text
//! main ──a process for each seed──► world::run ──turmoil──► machines n1 n2 n3 …: the real Node::start
//!                                       │                     │ env: clock, rng, net, disk, log, catalogue
//!                                       ├─ oracle after each step     (in memory, of this crate)
//!                                       └─ scenario, as a client of the cluster
//! ```
//!
//! - [`world`]: builds machines, runs them step by step, crashes and restarts them; its oracle looks after each step;
//! - [`cluster`]: a scenario's hands: save, load, crash, partition, and the promises that were made to it;
//! - [`scenarios`]: fixed stories, one file each; [`chaos`]: random lives;
//! - [`history`]: what clients were told, and [`expect`]: what must be there by that; [`chronicle`]: what was committed;
//! - [`invariants`], [`linear`]: what both are held against;
//! - the seams of `cairn_node::env`: [`clock`], [`rng`], [`spawn`], [`net`], [`disk`], [`log`], [`catalogue`], [`objects`];
//! - [`files`]: what a machine's disk keeps when the power goes, below the real `FileDisk` in [`disk`];
//! - [`trace`]: a hash over all that happened: the same seed gives the same hash.
//!
//! One process runs one seed. The same seed twice in one process diverges: some libraries keep counters and hash
//! keys for the life of a process.

// The flag is tokio's; Cargo cannot know it.
#![expect(unexpected_cfgs, reason = "tokio_unstable is set in .cargo/config.toml")]

#[cfg(not(tokio_unstable))]
compile_error!("turmoil seeds tokio's randomness only under `--cfg tokio_unstable`: see .cargo/config.toml");

pub mod catalogue;
pub mod chaos;
pub mod chronicle;
pub mod clock;
pub mod cluster;
pub mod disk;
pub mod expect;
pub mod files;
pub mod history;
pub mod invariants;
pub mod linear;
pub mod log;
pub mod net;
pub mod objects;
pub mod rng;
pub mod scenarios;
pub mod spawn;
pub mod trace;
pub mod world;
