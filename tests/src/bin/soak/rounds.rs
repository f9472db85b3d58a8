//! Trouble that comes and goes: rounds of one kind, in one cluster.

use std::time::{Duration, Instant};

use cairn_store::node::NodeName;
use cairn_tests::load::{Load, Wish};
use cairn_tests::site::Site;

use crate::args::RoundArgs;
use crate::ground::Ground;
use crate::report::note;
use crate::terms::Terms;

/// A cluster in rounds of trouble.
pub(crate) struct Rounds<'a> {
    pub(crate) ground: &'a mut Ground,
    pub(crate) site: Site,
    pub(crate) terms: Terms,
    load: Load,
}

impl<'a> Rounds<'a> {
    pub(crate) fn begin(ground: &'a mut Ground, site: Site) -> anyhow::Result<Self> {
        let load = ground.load(&site, Wish::default())?;
        Ok(Self { ground, site, terms: Terms::default(), load })
    }

    /// All of them, with an audit after every few.
    pub(crate) fn run(
        mut self,
        wish: &RoundArgs,
        mut round: impl FnMut(&mut Self) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        let begun = Instant::now();
        for number in 1..=wish.rounds {
            if begun.elapsed().as_secs() >= wish.seconds {
                break;
            }
            self.work(300, 1500)?;
            round(&mut self)?;
            self.ground.count("rounds", 1);
            if number % wish.audit_every == 0 || number == wish.rounds {
                note(&format!("{number} rounds"));
                self.ground.audit(&mut self.site, &self.load)?;
            }
        }
        let Self { ground, mut site, terms, load } = self;
        ground.finish(&mut site, load)?;
        ground.judge.wrong.extend(terms.wrong);
        Ok(())
    }

    /// Lets the clients work, for so many milliseconds.
    pub(crate) fn work(&mut self, least: u64, most: u64) -> anyhow::Result<()> {
        let span = Duration::from_millis(self.ground.chance.between(least, most));
        self.terms.watch(self.ground, &self.site, span)
    }

    /// The leader half of the time, else anybody.
    pub(crate) fn victim(&mut self) -> anyhow::Result<usize> {
        let leader: Option<NodeName> = self.terms.look(&self.site)?;
        match leader.filter(|_| self.ground.chance.percent(50)) {
            Some(leader) => {
                self.ground.count("rounds with the leader in trouble, on purpose", 1);
                self.site.index(&leader)
            }
            None => Ok(usize::try_from(self.ground.chance.below(self.site.hosts.len() as u64))?),
        }
    }
}
