//! Every kind of request, once: save, show, watch, load, claim.
//!
//! ```sh
//! cargo run -p cairn-client --example tour -- 127.0.0.1:7420 127.0.0.1:7423
//! ```
//!
//! The first endpoint is of a node on this machine, the second of another node.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use std::env;
use std::io::Write;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_client::claim::ClaimOptions;
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::load::LoadOptions;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_client::watch::News;
use cairn_store::name::Name;

const TIMEOUT: Duration = Duration::from_secs(30);

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = env::args().skip(1);
    let mut node = || Some(Client::new(vec![words.next()?], TIMEOUT));
    let (here, there) = node().zip(node()).context("usage: tour ENDPOINT ENDPOINT")?;
    let name: Name = format!("tour/{}", request::new_id()).parse()?;

    // Save: the application writes into its node's local storage; nothing is copied on this machine.
    let mut file = here.spool().await?.writer()?;
    file.write_all(b"the state")?;
    let saved = here.save(SaveOptions::new(name.clone(), Source::Spooled(file.commit()))).await?;
    println!("version {} of {} bytes is durable on {} nodes", saved.version, saved.size, saved.replicas.len() + 1);

    // Show: what the cluster knows of it.
    let shown = there.show(&name).await?;
    let owner = saved.owner.map_or_else(|| "a node that was removed since".into(), |owner| owner.to_string());
    println!("{name} belongs to {owner}");

    // Load, on another node: verified bytes, into a stream or a file. Claim: this node is the owner from now on.
    let bytes = Arc::new(Mutex::new(Vec::new()));
    let output = Output::Stream(bytes.clone());
    let options = LoadOptions { claim: true, output: Some(output), ..LoadOptions::new(name.clone()) };
    let loaded = there.load(options).await?;
    ensure!(bytes.lock().is_ok_and(|bytes| *bytes == b"the state"), "the bytes are what was saved");
    println!("epoch {} belongs to {}", loaded.epoch, loaded.node);

    // Watch: what happened since that revision, on whatever node.
    let mut watch = here.watch(name.as_str(), Some(shown.revision));
    loop {
        match watch.next().await? {
            News::Event(event) if event.epoch == loaded.epoch => break println!("the change of owner was told"),
            News::Event(event) => println!("{:?} at revision {}", event.change, event.revision),
            News::Relist(_) => break println!("the history is gone: list the segments anew"),
        }
    }

    // Claim, without bytes: back again. Then all of it goes.
    println!("epoch {} belongs to {}", here.claim(ClaimOptions::new(name.clone())).await?.epoch, owner);
    here.remove(request::new_id(), &name, None).await?;
    Ok(())
}
