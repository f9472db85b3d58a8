//! `cairn bench`: what the cluster can do, beside what the machine and the peers can do in the same run.
//!
//! - `args`: what can be typed; `size`: how many bytes that means;
//! - `site`: the cluster that is measured, a running one or `cairnd dev` as a child; `ground`: the folder for what is
//!   written on the way;
//! - `transfer`: `bench save` and `bench load`; `small`, `meta`, `memory`, `many`, `repair`, `lead`: the other measurements, a
//!   file each;
//! - `load`: clients that do the same again and again, and how long each time took;
//! - `limit`: the machine's limit for the same work; `rsync`, `etcd`: the peers;
//! - `spread`: medians; `cpu`: what processes used; `machine`: where it was measured; `sheet`: what is printed;
//! - `program`: processes that end with the measurement; `stage`: what goes on now, on a terminal.
//!
//! Contestants run in turn: cairn, limit, peer, cairn, limit, peer, so that what else the machine does is shared by all.
//! However it ends, nothing is left: names are removed, processes end, the folder goes.

mod args;
mod cpu;
mod etcd;
mod ground;
mod lead;
mod limit;
mod load;
mod machine;
mod many;
mod memory;
mod meta;
mod program;
mod repair;
mod rsync;
mod sheet;
mod site;
mod size;
mod small;
mod spread;
mod stage;
mod transfer;

use std::path::Path;

pub(crate) use self::args::BenchCommand;
use self::ground::Ground;
use self::sheet::Sheet;
use self::site::{Shape, Site};
use self::stage::Stage;
use crate::args::Globals;
use crate::interrupted;
use crate::output::Output;
use crate::report::Report;

/// Runs one measurement. A signal ends it early, and then it is tidied all the same.
pub(crate) async fn run(globals: &Globals, command: BenchCommand, output: &Output) -> Result<u8, Report> {
    let interrupted = interrupted();
    tokio::pin!(interrupted);
    // Whatever is missing is said before anything is started.
    let peers = Peers::find(&command)?;
    let stage = Stage::new();
    let common = command.common();
    let prepared = async {
        stage.say("starting");
        match globals.named_endpoints() {
            Some(endpoints) => {
                let site = Site::running(endpoints, globals.timeout()).await?;
                let ground = Ground::make(common.dir.as_deref().unwrap_or(site.beside_spool()))?;
                Ok::<_, Report>((site, ground))
            }
            None => {
                let ground = Ground::make(common.dir.as_deref().unwrap_or(&std::env::temp_dir()))?;
                let shape = shape(&command);
                let site = Site::start(&ground.folder("cluster")?, &shape, globals.timeout()).await?;
                Ok((site, ground))
            }
        }
    };
    let (site, ground) = tokio::select! {
        prepared = prepared => prepared?,
        report = &mut interrupted => return Err(report.without_effect()),
    };
    let measured = tokio::select! {
        measured = measure(&command, &site, &ground, &peers, &stage) => measured,
        report = &mut interrupted => Err(report.without_effect()),
    };
    stage.say("tidying up");
    // In this order: the folder goes when nothing writes there any more.
    let tidied = site.tidy().await;
    drop(ground);
    drop(stage);
    let sheet = measured?;
    output.print(&sheet)?;
    tidied.map(|()| 0)
}

/// What a cluster of our own is like.
fn shape(command: &BenchCommand) -> Shape {
    match command {
        BenchCommand::Many(args) => many::shape(args),
        BenchCommand::Repair(args) => repair::shape(args),
        _ => Shape::default(),
    }
}

async fn measure(
    command: &BenchCommand,
    site: &Site,
    ground: &Ground,
    peers: &Peers,
    stage: &Stage,
) -> Result<Sheet, Report> {
    let rsync = peers.rsync.as_deref();
    match command {
        BenchCommand::Save(args) => transfer::save(args, site, ground, rsync, stage).await,
        BenchCommand::Load(args) => transfer::load(args, site, ground, rsync, stage).await,
        BenchCommand::Small(args) => small::run(args, site, ground, stage).await,
        BenchCommand::Meta(args) => meta::run(args, site, ground, peers.etcd.as_deref(), stage).await,
        BenchCommand::Memory(args) => memory::run(args, site, ground, stage).await,
        BenchCommand::Many(args) => many::run(args, site, ground, stage).await,
        BenchCommand::Repair(args) => repair::run(args, site, ground, stage).await,
        BenchCommand::Lead(args) => lead::run(args, site, ground, stage).await,
    }
}

/// The programs that a measurement is compared with.
#[derive(Default)]
struct Peers {
    rsync: Option<Box<Path>>,
    etcd: Option<Box<Path>>,
}

impl Peers {
    fn find(command: &BenchCommand) -> Result<Self, Report> {
        if command.common().without_peers {
            return Ok(Self::default());
        }
        Ok(match command {
            BenchCommand::Save(_) | BenchCommand::Load(_) => Self { rsync: Some(rsync::find()?), etcd: None },
            BenchCommand::Meta(_) => Self { rsync: None, etcd: Some(etcd::find()?) },
            _ => Self::default(),
        })
    }
}
