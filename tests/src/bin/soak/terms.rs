//! Who led in each term: a vote that was lost, or given twice, shows there.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cairn_store::node::NodeName;
use cairn_tests::site::Site;

use crate::ground::Ground;

/// How long one question may take. Nobody waits for a node that hangs.
const ASK: Duration = Duration::from_millis(500);

/// What nodes said, from the first to the last.
#[derive(Default)]
pub(crate) struct Terms {
    leaders: BTreeMap<u64, NodeName>,
    pub(crate) wrong: Vec<String>,
}

impl Terms {
    /// Asks whoever answers.
    pub(crate) fn look(&mut self, site: &Site) -> anyhow::Result<Option<NodeName>> {
        let client = site.client(ASK);
        let Ok(status) = site.wait(client.status()) else { return Ok(None) };
        if let Some(leader) = &status.leader {
            let known = self.leaders.entry(status.term).or_insert_with(|| leader.clone());
            if known != leader {
                self.wrong.push(format!("B: {known} and {leader} both led in term {}", status.term));
            }
        }
        ensure!(self.wrong.is_empty(), "two leaders in a term");
        Ok(status.leader)
    }

    /// Lets time pass, and looks.
    pub(crate) fn watch(&mut self, ground: &mut Ground, site: &Site, span: Duration) -> anyhow::Result<()> {
        let end = Instant::now() + span;
        while Instant::now() < end {
            self.look(site)?;
            ground.pause(10, 150)?;
        }
        Ok(())
    }
}
