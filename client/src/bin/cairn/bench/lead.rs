//! `cairn bench lead`: how long a cluster decides nothing when its leader is killed, and when it hands over.

use std::sync::Arc;
use std::time::{Duration, Instant};

use cairn_client::api::NodeState;
use cairn_client::dial::Client;
use cairn_store::node::NodeName;
use tokio::time::sleep;

use super::args::LeadArgs;
use super::ground::Ground;
use super::load::Repeat;
use super::machine::Machine;
use super::meta::Claimant;
use super::program::Running;
use super::sheet::Sheet;
use super::site::{NodeProcess, Site};
use super::small::Application;
use super::spread::{Spread, millis};
use super::stage::Stage;
use crate::report::Report;

/// How large the file is that is saved, in bytes.
const SAVE_BYTES: usize = 4 << 10;
/// How long a leader may take to hand over: it waits for a while after the last time that it did.
const HAND_OVER_MAX: Duration = Duration::from_secs(20);
/// So long names are claimed on once another one leads.
const AFTER: Duration = Duration::from_secs(1);
/// How long a cluster may take to be whole again.
const WHOLE_MAX: Duration = Duration::from_secs(60);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(50);

/// The nodes, and those of them that were started again.
struct Nodes<'a> {
    site: &'a Site,
    all: Vec<NodeProcess>,
    again: Vec<Running>,
}

pub(super) async fn run(args: &LeadArgs, site: &Site, ground: &Ground, stage: &Stage) -> Result<Sheet, Report> {
    site.must_be_own("leaders are only killed")?;
    let (machine, runs) = (Machine::look(ground.dir()), args.runs.runs);
    let mut nodes = Nodes { site, all: site.nodes().to_vec(), again: Vec::new() };
    let (mut killed, mut handed) = (Vec::new(), Vec::new());
    for turn in 0..runs {
        stage.run(turn, runs, "a leader is killed");
        killed.push(millis(nodes.kill_leader(turn).await?));
        stage.run(turn, runs, "a leader hands over");
        handed.push(millis(nodes.hand_over(turn).await?));
    }
    Ok(Sheet::new("lead", machine, Vec::new())
        .runs(runs)
        .spread("killed_ms", Spread::of(killed))
        .spread("handed_over_ms", Spread::of(handed)))
}

impl Nodes<'_> {
    /// From the moment at which the leader is killed until a save through another node is done.
    async fn kill_leader(&mut self, turn: u32) -> Result<Duration, Report> {
        let leader = self.whole().await?;
        let client = self.other(&leader)?;
        let (name, bytes) = (self.site.name(&format!("lead/saved-{turn}"))?, Arc::from(vec![7; SAVE_BYTES]));
        let mut application = Application::new(self.site, client, name, 1, bytes).await?;
        let at = self.all.iter().position(|node| node.name == leader);
        let node = at.and_then(|at| self.all.get_mut(at));
        let node = node.ok_or_else(|| Report::internal(format!("{leader} is not on this machine")))?;
        node.kill()?;
        let begun = Instant::now();
        application.once().await?;
        let took = begun.elapsed();
        self.again.push(node.start()?);
        // It may not be marked down before it is back: it has to answer itself.
        self.site.client_of(&node.endpoint).status().await?;
        Ok(took)
    }

    /// The longest that a claim through another node takes while the leader hands over.
    async fn hand_over(&mut self, turn: u32) -> Result<Duration, Report> {
        let leader = self.whole().await?;
        let client = self.other(&leader)?;
        let mut claimant = Claimant::new(&client, self.site.name(&format!("lead/claimed-{turn}"))?).await?;
        client.drain(&leader, true).await?;
        let handed_over = handed_over(&client, &leader);
        tokio::pin!(handed_over);
        let mut longest = Duration::ZERO;
        loop {
            let asked = Instant::now();
            tokio::select! {
                biased;
                over = &mut handed_over => {
                    over?;
                    // One that is under way counts as well.
                    let longest = longest.max(asked.elapsed());
                    client.drain(&leader, false).await?;
                    return Ok(longest);
                }
                claimed = claimant.once() => claimed?,
            }
            longest = longest.max(asked.elapsed());
        }
    }

    /// A client of a node that does not lead.
    fn other(&self, leader: &NodeName) -> Result<Client, Report> {
        let other = self.all.iter().find(|node| node.name != *leader);
        let other = other.ok_or_else(|| Report::internal("there is no other node"))?;
        Ok(self.site.client_of(&other.endpoint))
    }

    /// Waits until all nodes are up, and tells who leads.
    async fn whole(&self) -> Result<NodeName, Report> {
        let give_up = Instant::now() + WHOLE_MAX;
        loop {
            let nodes = self.site.client.nodes().await?;
            let up = nodes.iter().all(|node| node.state == NodeState::Up);
            if let Some(leader) = nodes.iter().find(|node| node.leader && up) {
                return Ok(leader.name.clone());
            }
            if Instant::now() >= give_up {
                return Err(Report::internal("the cluster is not whole again"));
            }
            sleep(LOOK).await;
        }
    }
}

/// Waits until another node has led for a while.
async fn handed_over(client: &Client, leader: &NodeName) -> Result<(), Report> {
    let give_up = Instant::now() + HAND_OVER_MAX;
    while client.status().await?.leader.is_none_or(|now| now == *leader) {
        if Instant::now() >= give_up {
            return Err(Report::internal(format!("{leader} does not hand over")));
        }
        sleep(LOOK).await;
    }
    sleep(AFTER).await;
    Ok(())
}
