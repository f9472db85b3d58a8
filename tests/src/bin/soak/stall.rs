//! SIGSTOP: a node stands still for longer than an election takes, and goes on as if no time had passed.

use rustix::process::Signal;

use cairn_tests::site::Site;

use crate::args::RoundArgs;
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::rounds::Rounds;

/// The longest election time-out is 1.2 s, and after 3 s a node is marked down: from less than one to more than the other,
/// in milliseconds.
const STILL_MS: (u64, u64) = (600, 6000);

pub(crate) fn run(ground: &mut Ground, wish: &RoundArgs) -> anyhow::Result<()> {
    let hosts = Site::plan(&ground.root(), 3, 1, &[SNAPSHOT_EVERY], ".")?;
    let site = Site::found(hosts)?;
    Rounds::begin(ground, site)?.run(wish, |rounds| {
        let index = rounds.victim()?;
        rounds.site.hosts[index].signal(Signal::STOP);
        let watched = rounds.work(STILL_MS.0, STILL_MS.1);
        rounds.site.hosts[index].signal(Signal::CONT);
        watched
    })
}
