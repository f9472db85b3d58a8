//! Power cuts: each node's folder is on a file system of its own, which is shut down without its log while everybody works.
//!
//! Two kinds. *The room*: all file systems at once. An fsync that races the cut can seem to succeed, so what was
//! acknowledged is listed before the first one, and everything that is told later is not believed. *One machine*: its
//! process is stopped first, every fsync that has begun ends truly, and then its file system is shut down; the others go
//! on, and all that they are told is believed.

use std::process::Command;
use std::time::{Duration, Instant};

use cairn_tests::load::Wish;
use cairn_tests::site::Site;

use crate::args::{FileSystem, PowerArgs};
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::image::{Image, lacking, run as tool};
use crate::report::note;
use crate::terms::Terms;

/// Where the kernel tells its boot: another one after each cut, as it would be.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
/// How often, in a hundred, only one machine is cut.
const ONE_PERCENT: u64 = 25;
/// Cuts between two audits of everything; after each cut what matters most is looked at.
const AUDIT_EVERY: u64 = 5;
/// How often, in a hundred, a folder is checked before its node starts again.
const FSCK_PERCENT: u64 = 10;

pub(crate) fn run(ground: &mut Ground, wish: &PowerArgs) -> anyhow::Result<()> {
    let both = [FileSystem::Ext4, FileSystem::Xfs];
    let kinds = wish.fs.map_or(both.to_vec(), |fs| vec![fs]);
    if let Some(why) = kinds.iter().find_map(|fs| lacking(*fs)) {
        ground.skip(why);
        return Ok(());
    }
    let share = wish.rounds.div_ceil(kinds.len() as u64);
    let seconds = wish.seconds / kinds.len() as u64;
    for fs in kinds {
        if !cut_on(ground, fs, share, seconds)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Many cuts of one cluster. False if there can be no such file systems here.
fn cut_on(ground: &mut Ground, fs: FileSystem, rounds: u64, seconds: u64) -> anyhow::Result<bool> {
    let root = ground.root().join(fs.name());
    std::fs::create_dir_all(&root)?;
    let hosts = Site::plan(&root, 3, 1, &[SNAPSHOT_EVERY], "disk/node")?;
    let mut images = Vec::new();
    for host in &hosts {
        let at = host.dir.parent().unwrap_or(&host.dir);
        match Image::make(root.join(format!("{}.img", host.name)), at, fs, None) {
            Ok(image) => images.push(image),
            Err(error) if images.is_empty() => {
                ground.skip(format!("no {} on a loop device here: {error:#}", fs.name()));
                return Ok(false);
            }
            Err(error) => return Err(error),
        }
    }
    boot(ground)?;
    // A cut undoes what was not fsynced: that a client took its file away is that.
    ground.judge.spooled_max = u64::MAX;
    let mut site = Site::found(hosts)?;
    let load = ground.load(&site, Wish::default())?;
    let mut terms = Terms::default();
    let begun = Instant::now();
    for round in 1..=rounds {
        if begun.elapsed().as_secs() >= seconds {
            break;
        }
        let span = Duration::from_millis(ground.chance.between(300, 3000));
        terms.watch(ground, &site, span)?;
        (0..site.hosts.len()).for_each(|index| ground.gather(&site, index));
        if ground.chance.percent(ONE_PERCENT) {
            one(ground, &mut site, &mut images)?;
        } else {
            room(ground, &mut site, &mut images)?;
            ground.book.thaw();
        }
        ground.count(&format!("cuts on {}", fs.name()), 1);
        if ground.chance.percent(30) {
            // Before anything else happens: whatever is lost is still lost.
            ground.count("audits right after a cut", 1);
            ground.audit(&mut site, &load)?;
        } else if round % AUDIT_EVERY == 0 {
            note(&format!("{round} cuts on {}", fs.name()));
            ground.audit(&mut site, &load)?;
        } else {
            site.until_whole()?;
        }
    }
    ground.finish(&mut site, load)?;
    ground.begin_anew();
    ground.judge.wrong.extend(terms.wrong);
    drop(site);
    images.into_iter().try_for_each(|mut image| image.unmount())?;
    Ok(true)
}

/// Everything loses its power.
fn room(ground: &mut Ground, site: &mut Site, images: &mut [Image]) -> anyhow::Result<()> {
    // The list, before the first one is cut.
    let acknowledged = ground.book.freeze();
    let first = usize::try_from(ground.chance.below(images.len() as u64))?;
    for nth in 0..images.len() {
        images[(first + nth) % images.len()].shut_down()?;
    }
    site.hosts.iter().for_each(|host| host.signal(rustix::process::Signal::KILL));
    site.hosts.iter_mut().for_each(cairn_tests::site::Host::kill);
    ground.count("cuts of the room", 1);
    ground.count("successes listed before cuts of the room", acknowledged as u64);
    images.iter_mut().try_for_each(|image| {
        image.unmount()?;
        image.mount()
    })?;
    boot(ground)?;
    if ground.chance.percent(FSCK_PERCENT) {
        let index = usize::try_from(ground.chance.below(images.len() as u64))?;
        ground.judge.check_folder(site, index)?;
        ground.count("folders checked after a cut", 1);
    }
    site.start_all()
}

/// One machine loses its power, the others go on.
fn one(ground: &mut Ground, site: &mut Site, images: &mut [Image]) -> anyhow::Result<()> {
    let index = usize::try_from(ground.chance.below(images.len() as u64))?;
    let (host, image) = (&mut site.hosts[index], &mut images[index]);
    host.hold()?;
    image.shut_down()?;
    host.kill();
    ground.count("cuts of one machine", 1);
    image.unmount()?;
    image.mount()?;
    boot(ground)?;
    if ground.chance.percent(FSCK_PERCENT) {
        ground.judge.check_folder(site, index)?;
        ground.count("folders checked after a cut", 1);
    }
    ground.pause(0, 1500)?;
    site.start(index)
}

/// The kernel was started anew, as far as programs can tell.
fn boot(ground: &Ground) -> anyhow::Result<()> {
    let file = ground.root().join("boot_id");
    std::fs::write(&file, format!("{}\n", uuid::Uuid::now_v7()))?;
    let mounted = std::fs::read_to_string("/proc/self/mounts")?.lines().any(|line| line.contains(BOOT_ID));
    if !mounted {
        tool(Command::new("mount").arg("--bind").arg(&file).arg(BOOT_ID))?;
    }
    Ok(())
}
