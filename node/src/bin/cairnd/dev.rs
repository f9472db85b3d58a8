//! `cairnd dev`: a cluster to try out, until Ctrl-C.

use std::path::PathBuf;

use cairn_store::node::Role;
use tempfile::TempDir;

use crate::args::DevArgs;
use crate::cluster::{BasePort, Cluster, Plan, Wish};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{output, parent, small_runtime};

/// Copies on other nodes that a save wants unless it says otherwise.
const REPLICAS: usize = 2;

pub(crate) fn run(args: DevArgs) -> Result<u8, Failure> {
    if let Some(expected) = args.die_with_parent {
        parent::die_with(expected)?;
    }
    let runtime = small_runtime()?;
    // First of all: whoever is asked to end must still tidy up.
    let signals = runtime.block_on(async { Signals::listen() })?;
    let (dir, temporary) = match args.dir {
        Some(dir) => (dir, None),
        None => {
            let made = temporary_dir()?;
            (made.path().to_path_buf(), Some(made))
        }
    };
    let base = match args.base_port {
        None => BasePort::Default,
        Some(0) => BasePort::Free,
        Some(port) => BasePort::At(port),
    };
    let (executors, storage) = (args.nodes, args.storage_nodes);
    let mut plan = Plan::make(&Wish { dir: &dir, executors, storage, base, capacity: None, set: &args.set })?;
    plan.check_ports()?;
    plan.write()?;
    let ended = runtime.block_on(run_until_signal(plan, signals));
    // In this order: the folder goes only when nothing writes there any more.
    drop(runtime);
    drop(temporary);
    ended
}

pub(crate) fn temporary_dir() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("cairnd-").tempdir();
    let failed = Failure::io("cannot make a temporary folder");
    made.map_err(|error| failed(error).hint("set TMPDIR to a folder that can be written to"))
}

async fn run_until_signal(plan: Plan, mut signals: Signals) -> Result<u8, Failure> {
    let mut cluster = Cluster::new(plan)?;
    let ended = tokio::select! {
        ended = serve(&mut cluster) => ended,
        // To be ended this way is what it is for.
        _ = signals.next() => Ok(0),
    };
    cluster.stop().await;
    ended
}

async fn serve(cluster: &mut Cluster) -> Result<u8, Failure> {
    cluster.start().await?;
    let dir: PathBuf = cluster.plan.dir.clone();
    let record = cluster.record();
    record.write(&dir)?;
    output::line(&record.table());
    output::line(&next_commands(cluster));
    output::line("ready");
    loop {
        let (name, death) = cluster.next_death().await;
        let what_next = match cluster.is_removed(&name) {
            true => "it was removed from the cluster, and stays off; its folder says so".to_owned(),
            false => {
                format!("`cairnd start --config DIR/<name>/cairnd.toml` brings it back; DIR is {}", dir.display())
            }
        };
        output::note(&format!("{death} ({what_next})"));
        cluster.record().write(&dir)?;
    }
}

/// Only what works with the nodes that there are.
fn next_commands(cluster: &Cluster) -> String {
    let nodes: Vec<_> = cluster.plan.nodes.iter().filter(|node| cluster.was_member(node)).collect();
    let others = nodes.len().saturating_sub(1);
    let executors: Vec<_> = nodes.iter().filter(|node| node.role == Role::Executor).collect();
    let first = executors.first().map_or("", |node| node.rpc.as_str());
    let replicas = if others < REPLICAS { format!(" --replicas {others}") } else { String::new() };
    let load = match executors.as_slice() {
        [first, second, _, ..] => {
            let pid = cluster.pid(first).unwrap_or_default();
            let claim = "cairn load greetings/hello --claim --out hello.md --endpoint";
            format!("kill -9 {pid}\n  {claim} {}", second.rpc)
        }
        // Without a majority nothing is decided, so nobody is killed.
        [_, second] => format!("cairn load greetings/hello --out hello.md --endpoint {}", second.rpc),
        _ => "cairn load greetings/hello --out hello.md".into(),
    };
    format!(
        "\nto try out, in another terminal:\n  \
         export CAIRN_ENDPOINTS={first}\n  \
         cairn save greetings/hello README.md{replicas}\n  \
         cairn show greetings/hello\n  \
         {load}\n\
         Ctrl-C ends the cluster.\n"
    )
}
