//! Partitions: each node has a network of its own, and a router between them drops what it is told to, packet by packet,
//! in one direction or both. Connections stay open and silent, as with a broken cable.

use std::collections::BTreeSet;

use cairn_tests::site::{Host, Site, names};

use crate::args::RoundArgs;
use crate::ground::{Ground, SNAPSHOT_EVERY};
use crate::network::Network;
use crate::rounds::Rounds;

/// How long it lasts, in milliseconds: from less than an election to more than a node takes to be marked down.
const LASTS_MS: (u64, u64) = (500, 8000);

pub(crate) fn run(ground: &mut Ground, wish: &RoundArgs) -> anyhow::Result<()> {
    let mut network = match Network::make(4) {
        Ok(network) => network,
        Err(error) => {
            ground.skip(format!("no network namespaces here: {error:#}"));
            return Ok(());
        }
    };
    let mut hosts = Vec::new();
    for (number, (name, role)) in names(3, 1).into_iter().enumerate() {
        let (address, before) = (Network::address(number), Network::before(number));
        hosts.push(Host::apart(&ground.root(), name.parse()?, role, &address, before, &[SNAPSHOT_EVERY])?);
    }
    let site = Site::found(hosts)?;
    Rounds::begin(ground, site)?.run(wish, |rounds| {
        let (what, lost) = draw(rounds)?;
        rounds.ground.count(what, 1);
        network.drop_packets(&lost)?;
        let watched = rounds.work(LASTS_MS.0, LASTS_MS.1);
        network.heal()?;
        watched
    })
}

/// From whom to whom nothing arrives.
type Lost = BTreeSet<(usize, usize)>;

fn draw(rounds: &mut Rounds<'_>) -> anyhow::Result<(&'static str, Lost)> {
    let all = rounds.site.hosts.len();
    let one = rounds.victim()?;
    let others = || (0..all).filter(|other| *other != one);
    let other = *rounds.ground.chance.one(&others().collect::<Vec<_>>());
    Ok(match rounds.ground.chance.below(6) {
        0 => ("cut: one against all", others().flat_map(|other| [(one, other), (other, one)]).collect()),
        1 => {
            // One voter keeps to it: two voters against one, or one against two.
            let side = |node: usize| node == one || node == other;
            let pairs = (0..all).flat_map(|from| (0..all).map(move |to| (from, to)));
            ("cut: two against two", pairs.filter(|(from, to)| side(*from) != side(*to)).collect())
        }
        2 => ("cut: one is not heard", others().map(|other| (one, other)).collect()),
        3 => ("cut: one hears nobody", others().map(|other| (other, one)).collect()),
        4 => ("cut: one pair, one direction", [(one, other)].into()),
        _ => ("cut: everybody alone", {
            let pairs = (0..all).flat_map(|from| (0..all).map(move |to| (from, to)));
            pairs.filter(|(from, to)| from != to).collect()
        }),
    })
}
