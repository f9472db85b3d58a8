//! Nodes that are emptied: when it begins and ends, and how far it is.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use cairn_client::api::{BLOCKS_MAX, Block, Code, Drain, Error};
use cairn_store::id::SegmentId;
use cairn_store::meta::{Command, Rejection, State};
use cairn_store::node::{Member, NodeName};
use cairn_store::plan::drain::ties;
use cairn_store::plan::repair::{Plan, Rule, Step};
use cairn_store::segment::Version;

use super::Service;
use super::answer::no_such_node;
use super::repairs::why;
use crate::work::repair::survey_of;

impl Service {
    pub(super) async fn drain_node(&self, node: NodeName, draining: bool, wait: Duration) -> Result<(), Error> {
        let deadline = self.deadline(wait);
        let state = self.core.read(deadline).await?.state;
        let member = state.node_named(&node).ok_or_else(|| no_such_node(&node))?;
        let reply = self.core.propose(Command::Drain { node: member.id, draining }, deadline).await?;
        reply.map(drop).map_err(|rejection| refused(&node, &rejection))
    }

    pub(super) async fn how_drained(&self, node: NodeName, foretell: bool, wait: Duration) -> Result<Drain, Error> {
        let state = self.core.read(self.deadline(wait)).await?.state;
        let member = state.node_named(&node).ok_or_else(|| no_such_node(&node))?.clone();
        let begun = member.draining;
        let foretold = || state.foretell_drain(member.id).map_err(|rejection| refused(&node, &rejection));
        let asked = if foretell { foretold()? } else { state };
        let after = self.core.limits.repair_after;
        let told = self.blocking(move || {
            let rule = Rule { most: BLOCKS_MAX, ..Rule::default() };
            tell(&asked, &member, &survey_of(&asked, after, &rule, member.id))
        });
        let told = told.await?;
        // What is foretold has not begun.
        Ok(Drain { draining: begun, ..told })
    }
}

/// Why a node is not emptied, or not removed.
pub(super) fn refused(node: &NodeName, rejection: &Rejection) -> Error {
    match rejection {
        Rejection::NoSuchNode(_) => no_such_node(node),
        Rejection::LastNode => Error::new(Code::Conflict, format!("{node} is the last node that takes copies"))
            .hint("let another node join first (`cairnd join`), or `cairn node undrain` one"),
        Rejection::Recovering => Error::new(Code::Conflict, format!("{node} stays for now: {rejection}"))
            .hint("see `cairn cluster recovery`; --end ends it, when all is there"),
        rejection => Error::new(Code::Conflict, format!("{node}: {rejection}")),
    }
}

fn tell(state: &State, member: &Member, plan: &Plan) -> Drain {
    let steps: BTreeMap<(SegmentId, Version), &Step> =
        plan.steps.iter().map(|step| ((step.case().segment, step.case().version), step)).collect();
    let stuck: BTreeMap<(SegmentId, Version), &'static str> =
        plan.stuck.iter().map(|stuck| ((stuck.of.segment, stuck.of.version), why(stuck.why))).collect();
    let name_of = |id| state.members.get(&id).map_or_else(|| "another node".into(), |m| m.profile.name.to_string());
    let segments = || state.segments.values().map(Arc::as_ref);
    let copies = ties(segments(), member.id, |node| state.stays(node)).map(|tie| {
        let key = (tie.segment, tie.version);
        let reason = match (stuck.get(&key), steps.get(&key)) {
            (Some(why), _) => (*why).to_owned(),
            (None, Some(Step::Make { to, .. })) => format!("a copy is to be made on {}", name_of(*to)),
            (None, Some(Step::Retire { .. })) => "enough other copies are there; they are verified first".into(),
            (None, None) => "it waits for its turn, or for nodes that are down for a moment".into(),
        };
        let stuck = stuck.contains_key(&key);
        Block { name: tie.name, version: Some(tie.version), size: tie.size, stuck, reason }
    });
    let owned = state.owned_by(member.id).map(|segment| {
        let lease = state.lease(segment.id).map(|lease| lease.remaining(state.time));
        let reason = match lease {
            None => "the node owns it; that ends in a moment".into(),
            Some(left) => format!(
                "the node owns it under a lease, for another {} if that is not renewed: end what runs there",
                humantime::format_duration(left)
            ),
        };
        Block { name: segment.name.clone(), version: None, size: 0, stuck: lease.is_some(), reason }
    });
    // Whoever stays keeps what it has. Else what is stuck comes first; there may be a million of either.
    let draining = state.members.get(&member.id).is_some_and(|member| member.draining);
    let (mut blocks, mut others) = (Vec::new(), Vec::new());
    for block in copies.chain(owned).take_while(|_| draining) {
        let list = if block.stuck { &mut blocks } else { &mut others };
        if list.len() < BLOCKS_MAX {
            list.push(block);
        }
    }
    blocks.append(&mut others);
    blocks.truncate(BLOCKS_MAX);
    let usage = state.usage_of(member.id);
    let count = |n: usize| u64::try_from(n).unwrap_or(u64::MAX);
    Drain {
        node: member.profile.name.clone(),
        draining,
        copies: usage.copies,
        bytes: usage.bytes,
        owned: count(state.owned_by(member.id).count()),
        blocks,
    }
}
