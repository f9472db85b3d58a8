//! Power cuts: file systems are shut down without their logs while everybody works.
//!
//! - *The room*: all nodes' folders lie on one file system, and one ioctl cuts it. An fsync that races it can seem to succeed:
//!   so what was acknowledged is listed before, and what is told later is not believed. (On file systems of their own that
//!   are cut one after the other, such an fsync of the first would be counted on by those that are still up, which no real
//!   power cut does: a leader committed by it, and a follower wrote that down.)
//! - *Machines*: each node's folder lies on a file system of its own. Of one, some or all, the process is stopped first, so
//!   that every fsync that has begun ends truly; then the file system is shut down. The others go on, and all that is told is
//!   believed.

use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use cairn_tests::load::Wish;
use cairn_tests::site::{Host, Site};
use rustix::process::Signal;

use crate::args::{FileSystem, PowerArgs};
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::image::{Image, lacking, run as tool};
use crate::report::note;
use crate::terms::Terms;

/// Where the kernel tells its boot: another one after each cut, as it would be.
const BOOT_ID: &str = "/proc/sys/kernel/random/boot_id";
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
    let clusters: Vec<_> = kinds.iter().flat_map(|fs| [(*fs, Layout::Together), (*fs, Layout::Apart)]).collect();
    let share = wish.rounds.div_ceil(clusters.len() as u64);
    let seconds = wish.seconds / clusters.len() as u64;
    for (fs, layout) in clusters {
        if !cut_on(ground, fs, layout, share, seconds)? {
            return Ok(());
        }
    }
    Ok(())
}

/// Which folders lie on one file system.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Layout {
    /// All.
    Together,
    /// Each has one of its own.
    Apart,
}

/// Many cuts of one cluster. False if there can be no such file systems here.
fn cut_on(ground: &mut Ground, fs: FileSystem, layout: Layout, rounds: u64, seconds: u64) -> anyhow::Result<bool> {
    let root = ground.root().join(format!("{}-{layout:?}", fs.name()).to_lowercase());
    std::fs::create_dir_all(&root)?;
    let hosts = Site::plan(&root, 3, 1, &[SNAPSHOT_EVERY], "disk/node")?;
    let mut images = match mount(&root, fs, layout, &hosts) {
        Ok(images) => images,
        Err(error) => {
            ground.skip(format!("no {} on a loop device here: {error:#}", fs.name()));
            return Ok(false);
        }
    };
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
        match layout {
            Layout::Together => room(ground, &mut site, &mut images)?,
            Layout::Apart => machines(ground, &mut site, &mut images)?,
        }
        ground.count(&format!("cuts on {}", fs.name()), 1);
        if ground.chance.percent(30) {
            // Before anything else happens: whatever is lost is still lost.
            ground.count("audits right after a cut", 1);
            ground.audit(&mut site, &load)?;
        } else if round % AUDIT_EVERY == 0 {
            ground.audit(&mut site, &load)?;
        } else {
            site.until_whole()?;
        }
        if round % AUDIT_EVERY == 0 {
            note(&format!("{round} cuts on {} ({layout:?})", fs.name()));
        }
    }
    ground.finish(&mut site, load)?;
    ground.begin_anew();
    ground.judge.wrong.extend(terms.wrong);
    drop(site);
    images.into_iter().try_for_each(|mut image| image.unmount())?;
    Ok(true)
}

/// The file systems, where the hosts expect their folders.
fn mount(root: &Path, fs: FileSystem, layout: Layout, hosts: &[Host]) -> anyhow::Result<Vec<Image>> {
    let places = hosts.iter().map(|host| host.dir.parent().unwrap_or(&host.dir));
    if layout == Layout::Apart {
        let image =
            |(place, host): (&Path, &Host)| Image::make(root.join(format!("{}.img", host.name)), place, fs, None);
        return places.zip(hosts).map(image).collect();
    }
    let room = root.join("room");
    let image = Image::make(root.join("room.img"), &room, fs, None)?;
    for (place, host) in places.zip(hosts) {
        let own = room.join(host.name.as_str());
        std::fs::create_dir(&own)?;
        std::os::unix::fs::symlink(own, place)?;
    }
    Ok(vec![image])
}

/// Everything loses its power, in one moment.
fn room(ground: &mut Ground, site: &mut Site, images: &mut [Image]) -> anyhow::Result<()> {
    // The list, before.
    ground.book.freeze();
    images.iter().try_for_each(Image::shut_down)?;
    site.hosts.iter().for_each(|host| host.signal(Signal::KILL));
    site.hosts.iter_mut().for_each(Host::kill);
    ground.count("cuts of the room", 1);
    let all: Vec<usize> = (0..site.hosts.len()).collect();
    power_up(ground, site, images, &all)?;
    ground.book.thaw();
    Ok(())
}

/// One machine loses its power, or some, or all; the others go on.
fn machines(ground: &mut Ground, site: &mut Site, images: &mut [Image]) -> anyhow::Result<()> {
    let all = site.hosts.len();
    let count = *ground.chance.one(&[1, 1, 2, 3, all]);
    let first = usize::try_from(ground.chance.below(all as u64))?;
    let victims: Vec<usize> = (0..count).map(|nth| (first + nth) % all).collect();
    victims.iter().try_for_each(|index| site.hosts[*index].hold())?;
    victims.iter().try_for_each(|index| images[*index].shut_down())?;
    victims.iter().for_each(|index| site.hosts[*index].kill());
    ground.count("cuts of machines", 1);
    ground.count("machines cut", count as u64);
    let mut own: Vec<&mut Image> = Vec::new();
    for (index, image) in images.iter_mut().enumerate() {
        if victims.contains(&index) {
            own.push(image);
        }
    }
    power_up(ground, site, own, &victims)
}

/// The file systems are mounted again, and the nodes started.
fn power_up<'a>(
    ground: &mut Ground,
    site: &mut Site,
    images: impl IntoIterator<Item = &'a mut Image>,
    hosts: &[usize],
) -> anyhow::Result<()> {
    images.into_iter().try_for_each(|image| {
        image.unmount()?;
        image.mount()
    })?;
    boot(ground)?;
    if ground.chance.percent(FSCK_PERCENT) {
        let index = *ground.chance.one(hosts);
        ground.judge.check_folder(site, index)?;
        ground.count("folders checked after a cut", 1);
    }
    if hosts.len() < site.hosts.len() {
        ground.pause(0, 1500)?;
    }
    site.start_all()
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
