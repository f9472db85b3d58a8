//! An application of the demo, in a process of its own: all it knows is its node's address.

use std::ffi::OsStr;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;

use cairn_client::api::{Loaded, Saved};
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::load::LoadOptions;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;
use serde::{Deserialize, Serialize};
use tokio::process::Command;

use crate::args::{AppArgs, AppCommand};
use crate::failure::Failure;
use crate::{output, parent, small_runtime};

/// How long it goes on without progress: after a kill a new leader must be found meanwhile.
const PATIENCE: Duration = Duration::from_secs(60);

/// What the application tells of what it did, as JSON on its standard output.
#[derive(Debug, Serialize, Deserialize)]
pub(super) struct Told {
    pub(super) pid: u32,
    pub(super) version: u64,
    pub(super) epoch: u64,
    pub(super) size: u64,
    pub(super) digest: String,
    pub(super) owner: String,
    /// The nodes that got copies, or that gave one.
    pub(super) nodes: Vec<String>,
    /// The copy in the node's local storage.
    pub(super) path: Option<PathBuf>,
}

/// What the application's process does.
pub(crate) fn run(args: AppArgs) -> Result<(), Failure> {
    parent::die_with(args.die_with_parent)?;
    let told = small_runtime()?.block_on(async {
        let client = Client::new(vec![args.endpoint], PATIENCE);
        match args.command {
            AppCommand::Save { name, file } => save(&client, name, file).await,
            AppCommand::Load { name, file } => load(&client, name, file).await,
        }
    })?;
    output::line(&serde_json::to_string(&told).map_err(|e| Failure::new(e.to_string()))?);
    Ok(())
}

async fn save(client: &Client, name: Name, path: PathBuf) -> Result<Told, Failure> {
    let options = SaveOptions::new(name, Source::File { path, take: false });
    let Saved { version, epoch, size, digest, owner, replicas, .. } = client.save(options).await?;
    Ok(Told {
        pid: std::process::id(),
        version: version.0,
        epoch: epoch.0,
        size,
        digest: digest.to_string(),
        owner: owner.map(|owner| owner.to_string()).unwrap_or_default(),
        nodes: replicas.iter().map(|replica| replica.node.to_string()).collect(),
        path: None,
    })
}

async fn load(client: &Client, name: Name, path: PathBuf) -> Result<Told, Failure> {
    let output = Some(Output::File { path, force: false, link: false });
    let options = LoadOptions { claim: true, output, ..LoadOptions::new(name) };
    let Loaded { version, epoch, size, digest, owner, sources, path, .. } = client.load(options).await?;
    Ok(Told {
        pid: std::process::id(),
        version: version.0,
        epoch: epoch.0,
        size,
        digest: digest.to_string(),
        owner: owner.map_or_else(|| "nobody".into(), |owner| owner.to_string()),
        nodes: sources.iter().filter_map(|source| Some(source.node.as_ref()?.to_string())).collect(),
        path: Some(path),
    })
}

/// Starts an application beside a node, and waits for what it tells. Dropped meanwhile, it is killed.
pub(super) async fn start(endpoint: &str, words: &[&OsStr]) -> Result<Told, Failure> {
    let program = std::env::current_exe().map_err(Failure::io("cannot find this program's own file"))?;
    let mut command = Command::new(program);
    command
        .args(["demo-app", "--endpoint", endpoint, "--die-with-parent", &std::process::id().to_string()])
        .args(words)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let ended = command.output().await.map_err(Failure::io("cannot start the application"))?;
    if !ended.status.success() {
        let why = String::from_utf8_lossy(&ended.stderr).trim_end().to_owned();
        return Err(Failure::new(format!("the application failed: {}", why.trim_start_matches("error: "))));
    }
    serde_json::from_slice(&ended.stdout).map_err(|e| Failure::new(format!("the application said nonsense: {e}")))
}
