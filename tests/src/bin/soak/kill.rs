//! SIGKILL: nodes of a `cairnd dev` cluster are killed, one or several at once, in the middle of their work and of their
//! starts.

use std::time::{Duration, Instant};

use cairn_tests::load::Wish;
use cairn_tests::site::Site;

use crate::args::KillArgs;
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::report::note;

/// How often, in a hundred, the folder of a node that was killed is checked.
const FSCK_PERCENT: u64 = 8;
/// How often a node is killed again while it starts.
const AGAIN_PERCENT: u64 = 15;

pub(crate) fn run(ground: &mut Ground, wish: &KillArgs) -> anyhow::Result<()> {
    let mut site = Site::dev(&ground.root(), 3, 1, &[SNAPSHOT_EVERY])?;
    let load = ground.load(&site, Wish::default())?;
    let (mut kills, mut audited) = (0, 0);
    let (begun, mut auditing) = (Instant::now(), Duration::ZERO);
    while kills < wish.kills && begun.elapsed().saturating_sub(auditing).as_secs() < wish.seconds {
        ground.pause(50, 1500)?;
        let victims = draw(ground, &site);
        victims.iter().for_each(|index| ground.gather(&site, *index));
        kills += kill(ground, &mut site, &victims);
        if ground.chance.percent(FSCK_PERCENT) {
            let index = *ground.chance.one(&victims);
            ground.judge.check_folder(&site, index)?;
            ground.count("folders checked after a kill", 1);
        }
        ground.pause(0, 700)?;
        for index in &victims {
            site.hosts[*index].spawn(&[])?;
        }
        if ground.chance.percent(AGAIN_PERCENT) {
            ground.pause(1, 150)?;
            let index = *ground.chance.one(&victims);
            kills += kill(ground, &mut site, &[index]);
            ground.count("  of them during a start", 1);
            site.hosts[index].spawn(&[])?;
        }
        victims.iter().try_for_each(|index| site.until_answers(*index))?;
        if kills - audited >= wish.audit_every {
            audited = kills;
            let start = Instant::now();
            note(&format!("{kills} kills"));
            ground.audit(&mut site, &load)?;
            auditing += start.elapsed();
        }
    }
    ground.finish(&mut site, load)
}

/// Mostly one; sometimes two, or all.
fn draw(ground: &mut Ground, site: &Site) -> Vec<usize> {
    let all = site.hosts.len() as u64;
    let count = match ground.chance.below(100) {
        0..75 => 1,
        75..92 => 2,
        _ => all,
    };
    let first = ground.chance.below(all);
    (0..count).map(|nth| usize::try_from((first + nth) % all).unwrap_or(0)).collect()
}

fn kill(ground: &mut Ground, site: &mut Site, victims: &[usize]) -> u64 {
    // All at once, then each is waited for.
    victims.iter().for_each(|index| site.hosts[*index].signal(rustix::process::Signal::KILL));
    victims.iter().for_each(|index| site.hosts[*index].kill());
    ground.count("kills", victims.len() as u64);
    victims.len() as u64
}
