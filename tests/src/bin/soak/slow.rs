//! A slow disk: each fsync of a node, or of all, takes a while longer, through `strace`'s injection.

use cairn_tests::site::Site;

use crate::args::RoundArgs;
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::rounds::Rounds;
use crate::tracer::{Tracer, lacking};

/// How much longer, in milliseconds.
const DELAY_MS: (u64, u64) = (20, 1500);

pub(crate) fn run(ground: &mut Ground, wish: &RoundArgs) -> anyhow::Result<()> {
    if let Some(why) = lacking() {
        ground.skip(why);
        return Ok(());
    }
    let hosts = Site::plan(&ground.root(), 3, 1, &[SNAPSHOT_EVERY], ".")?;
    let site = Site::found(hosts)?;
    Rounds::begin(ground, site)?.run(wish, |rounds| {
        let first = rounds.victim()?;
        let all = rounds.site.hosts.len();
        let count = *rounds.ground.chance.one(&[1, 1, 2, all]);
        let micros = rounds.ground.chance.between(DELAY_MS.0, DELAY_MS.1) * 1000;
        rounds.ground.count("disks slowed down", count as u64);
        let delay = format!("delay_enter={micros}");
        let hosts = (0..count).map(|nth| &rounds.site.hosts[(first + nth) % all]);
        let tracers = hosts.map(|host| Tracer::attach(host, "fsync,fdatasync", &delay));
        let tracers = tracers.collect::<anyhow::Result<Vec<_>>>()?;
        rounds.work(2000, 6000)?;
        tracers.into_iter().try_for_each(Tracer::detach)
    })
}
