//! A full disk: each node's folder is on a small file system, which something else fills and leaves again.

use std::fs::File;
use std::path::PathBuf;

use cairn_tests::site::Site;
use rustix::fs::{FallocateFlags, fallocate, statvfs};

use crate::args::{FileSystem, RoundArgs};
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::image::{Image, lacking};
use crate::report::note;
use crate::rounds::Rounds;

/// The file system of a node, in bytes. XFS needs 300 MiB.
const BYTES: u64 = 700 << 20;
/// What is left free, at most, in KiB: a part of the reserve, or next to nothing.
const LEFT_KIB: [(u64, u64); 3] = [(0, 64), (64, 2048), (2048, 60 << 10)];

pub(crate) fn run(ground: &mut Ground, wish: &RoundArgs) -> anyhow::Result<()> {
    let fs = *ground.chance.one(&[FileSystem::Ext4, FileSystem::Xfs]);
    if let Some(why) = lacking(fs) {
        ground.skip(why);
        return Ok(());
    }
    note(&format!("on {}", fs.name()));
    let root = ground.root();
    let hosts = Site::plan(&root, 3, 1, &[SNAPSHOT_EVERY], "disk/node")?;
    let mut images = Vec::new();
    for host in &hosts {
        let at = host.dir.parent().unwrap_or(&host.dir);
        match Image::make(root.join(format!("{}.img", host.name)), at, fs, Some(BYTES)) {
            Ok(image) => images.push(image),
            Err(error) if images.is_empty() => {
                ground.skip(format!("no {} on a loop device here: {error:#}", fs.name()));
                return Ok(());
            }
            Err(error) => return Err(error),
        }
    }
    // On a full disk a client cannot always take away what it put there half.
    ground.judge.spooled_max = u64::MAX;
    let site = Site::found(hosts)?;
    Rounds::begin(ground, site)?.run(wish, round)
}

fn round(rounds: &mut Rounds<'_>) -> anyhow::Result<()> {
    let first = rounds.victim()?;
    let all = rounds.site.hosts.len();
    // Mostly one; sometimes a majority, or everybody.
    let count = *rounds.ground.chance.one(&[1, 1, 1, 2, all]);
    let victims: Vec<usize> = (0..count).map(|nth| (first + nth) % all).collect();
    rounds.ground.count("disks filled", victims.len() as u64);
    let fillers = victims.iter().map(|index| fill(rounds, *index)).collect::<anyhow::Result<Vec<_>>>()?;
    rounds.work(500, 4000)?;
    if rounds.ground.chance.percent(40) {
        rounds.ground.gather(&rounds.site, first);
        rounds.site.hosts[first].kill();
        rounds.ground.count("nodes killed on a full disk", 1);
        rounds.site.hosts[first].spawn(&[])?;
        rounds.work(500, 2000)?;
    }
    fillers.into_iter().try_for_each(std::fs::remove_file)?;
    // With its disk full to the last byte a node may have to stop; with room it must start.
    victims.into_iter().try_for_each(|index| rounds.ground.mend(&mut rounds.site, index))
}

/// Takes the space, in one file.
fn fill(rounds: &mut Rounds<'_>, index: usize) -> anyhow::Result<PathBuf> {
    let (least, most) = *rounds.ground.chance.one(&LEFT_KIB);
    let left = rounds.ground.chance.between(least, most) << 10;
    let disk = rounds.site.hosts[index].dir.parent().map(PathBuf::from).unwrap_or_default();
    let path = disk.join("filler");
    let file = File::create(&path)?;
    let (mut at, mut piece) = (0, 64 << 20);
    while piece >= 4096 {
        let stat = statvfs(&disk)?;
        let free = (stat.f_bavail * stat.f_frsize).saturating_sub(left);
        if free < piece || fallocate(&file, FallocateFlags::empty(), at, piece).is_err() {
            piece /= 2;
        } else {
            at += piece;
        }
    }
    Ok(path)
}
