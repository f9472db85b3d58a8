//! `cairn bench memory`: the most that each node ever had in memory, with a large segment saved and loaded.

use cairn_client::load::LoadOptions;
use cairn_client::save::{SaveOptions, Source};
use serde_json::json;

use super::args::MemoryArgs;
use super::cpu;
use super::ground::Ground;
use super::machine::Machine;
use super::sheet::{Sheet, number};
use super::site::Site;
use super::spread::millis;
use super::stage::Stage;
use crate::report::Report;

pub(super) async fn run(args: &MemoryArgs, site: &Site, ground: &Ground, stage: &Stage) -> Result<Sheet, Report> {
    let machine = Machine::look(ground.dir());
    stage.say("making a file");
    let (name, left) = (site.name("memory")?, site.copies().len());
    let source = Source::File { path: ground.random("source", args.size).await?, take: true };
    stage.say("saving");
    site.client.save(SaveOptions { replicas: 1, ..SaveOptions::new(name.clone(), source) }).await?;
    stage.say("loading");
    let node = site.client_of(&site.without_copy(&name).await?.endpoint);
    node.load(LoadOptions::new(name.clone())).await?;
    let peaks = site.nodes().iter().map(|node| (&node.name, node.pid.and_then(cpu::peak_bytes)));
    let peaks: Vec<_> = peaks.collect();
    let most = peaks.iter().map(|(_, peak)| *peak).collect::<Option<Vec<_>>>().and_then(|p| p.into_iter().max());
    let each: Vec<_> = peaks.iter().map(|(node, peak)| json!({"node": node, "peak_bytes": peak})).collect();
    site.remove(&name, left).await?;
    let each = Some(each).filter(|each| !each.is_empty());
    Ok(Sheet::new("memory", machine, vec![("size_bytes", args.size.into()), ("copies", 1.into())])
        .one("peak_bytes", most)
        .one("nodes", each)
        .one("ready_ms", number(site.ready().map(millis))))
}
