//! `cairnd dev`: a cluster to try out, until Ctrl-C.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::args::DevArgs;
use crate::cluster::{BasePort, Cluster, Plan, Wish};
use crate::failure::Failure;
use crate::signals::Signals;
use crate::{output, small_runtime};

pub(crate) fn run(args: DevArgs) -> Result<u8, Failure> {
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
    let plan =
        Plan::make(&Wish { dir: &dir, executors: args.nodes, storage: args.storage_nodes, base, capacity: None })?;
    plan.check_ports()?;
    let ended = small_runtime()?.block_on(run_until_signal(plan));
    // Only now that no node writes there.
    drop(temporary);
    ended
}

pub(crate) fn temporary_dir() -> Result<TempDir, Failure> {
    let made = tempfile::Builder::new().prefix("cairnd-").tempdir();
    made.map_err(Failure::io("cannot make a temporary folder"))
}

async fn run_until_signal(plan: Plan) -> Result<u8, Failure> {
    let mut signals = Signals::listen()?;
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
        let death = cluster.next_death().await;
        let back = "`cairnd start --config DIR/<name>/cairnd.toml` brings it back";
        output::note(&format!("{death} ({back}; DIR is {})", dir.display()));
        cluster.record().write(&dir)?;
    }
}

fn next_commands(cluster: &Cluster) -> String {
    let endpoint = |at: usize| cluster.plan.nodes.get(at).map_or("", |node| node.rpc.as_str());
    let (first, second) = (endpoint(0), endpoint(1.min(cluster.plan.nodes.len().saturating_sub(1))));
    let pid = cluster.plan.nodes.first().and_then(|node| cluster.pid(node)).unwrap_or_default();
    format!(
        "\nto try out, in another terminal:\n  \
         export CAIRN_ENDPOINTS={first}\n  \
         cairn save greetings/hello README.md\n  \
         cairn show greetings/hello\n  \
         kill -9 {pid}\n  \
         cairn load greetings/hello --claim --out hello.md --endpoint {second}\n\
         Ctrl-C ends the cluster.\n"
    )
}
