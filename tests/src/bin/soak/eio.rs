//! EIO: system calls of a running node fail, through `strace`'s injection. Whatever was to be durable and failed stops the
//! node; nothing is tried again.

use cairn_tests::site::Site;

use crate::args::RoundArgs;
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::rounds::Rounds;
use crate::tracer::{Tracer, lacking};

/// What fails, and how.
const FAULTS: [(&str, &str); 7] = [
    ("fsync,fdatasync", "EIO"),
    ("fsync,fdatasync", "EIO"),
    ("pwrite64", "EIO"),
    ("rename,renameat,renameat2", "EIO"),
    ("sendfile", "EIO"),
    ("pread64", "EIO"),
    ("fallocate", "ENOSPC"),
];

pub(crate) fn run(ground: &mut Ground, wish: &RoundArgs) -> anyhow::Result<()> {
    if let Some(why) = lacking() {
        ground.skip(why);
        return Ok(());
    }
    let hosts = Site::plan(&ground.root(), 3, 1, &[SNAPSHOT_EVERY], ".")?;
    // What cannot be read is a copy that the disk took away after it was acknowledged.
    ground.judge.disks_lose = true;
    ground.judge.spooled_max = u64::MAX;
    let site = Site::found(hosts)?;
    Rounds::begin(ground, site)?.run(wish, round)
}

fn round(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let index = rounds.victim()?;
    let (calls, error) = *rounds.ground.chance.one(&FAULTS);
    rounds.ground.count(&format!("{error} of {calls}"), 1);
    // From the first to the tenth on; once, or from then on.
    let first = rounds.ground.chance.between(1, 10);
    let when = if rounds.ground.chance.percent(50) { format!("{first}") } else { format!("{first}+") };
    let host = &rounds.site.hosts[index];
    let tracer = Tracer::attach(host, calls, &format!("error={error}:when={when}"))?;
    rounds.work(1000, 3000)?;
    tracer.detach()?;
    rounds.ground.mend(&mut rounds.site, index)
}
