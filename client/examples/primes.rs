//! A small application that outlives its node: it counts primes, saves how far it is, and resumes wherever it is
//! started next.
//!
//! ```sh
//! export CAIRN_ENDPOINTS=127.0.0.1:7420
//! cargo run -p cairn-client --example primes -- primes/job 3000000
//! ```
//!
//! Kill it, or the whole node; start it again with the endpoint of another node, and it goes on from the newest saved
//! state. Whoever starts it owns the state from then on: one that still runs elsewhere finds its saves refused, and ends.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use std::env;
use std::fs;
use std::io::Write;
use std::time::Duration;

use anyhow::{Context, bail};
use cairn_client::api::Code;
use cairn_client::deliver::Output;
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::load::LoadOptions;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;
use cairn_store::segment::Epoch;

/// So many numbers are tried between two saves.
const STRIDE: u64 = 50_000;

/// What is saved: all primes below `next` are counted.
#[derive(Clone, Copy, Debug, Default)]
struct State {
    next: u64,
    found: u64,
}

impl State {
    fn parse(text: &str) -> anyhow::Result<Self> {
        let (next, found) = text.trim().split_once(' ').context("the state is two numbers")?;
        Ok(Self { next: next.parse()?, found: found.parse()? })
    }

    fn advance(&mut self, end: u64) {
        self.found += (self.next..end).filter(|number| is_prime(*number)).map(|_| 1).sum::<u64>();
        self.next = end;
    }
}

fn is_prime(number: u64) -> bool {
    let mut divisors = (2..).take_while(|divisor| divisor * divisor <= number);
    number >= 2 && divisors.all(|divisor| !number.is_multiple_of(divisor))
}

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let mut words = env::args().skip(1);
    let (Some(name), Some(limit)) = (words.next(), words.next()) else { bail!("usage: primes NAME LIMIT") };
    let (name, limit): (Name, u64) = (name.parse()?, limit.parse()?);
    let endpoints = env::var("CAIRN_ENDPOINTS").unwrap_or_else(|_| "127.0.0.1:7420".into());
    let client = Client::new(endpoints.split(',').map(str::to_owned).collect(), Duration::from_secs(30));

    let (mut state, mut epoch) = resume(&client, &name).await?;
    while state.next < limit {
        state.advance(limit.min(state.next + STRIDE));
        // The epoch makes sure that nobody took the name over meanwhile.
        match save(&client, &name, state, epoch).await {
            Ok(saved) => epoch = Some(saved),
            Err(Fault::Request(error)) if error.code == Code::Conflict => {
                bail!("{name} has another owner now: this run ends ({error})")
            }
            Err(fault) => return Err(fault.into()),
        }
        println!("saved at {}", state.next);
    }
    println!("{} primes below {}", state.found, state.next);
    Ok(())
}

/// The newest saved state, owned from now on; the first one if nothing was saved yet.
async fn resume(client: &Client, name: &Name) -> anyhow::Result<(State, Option<Epoch>)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("state");
    let output = Output::File { path: path.clone(), force: false, link: false };
    let options = LoadOptions { claim: true, output: Some(output), ..LoadOptions::new(name.clone()) };
    match client.load(options).await {
        Ok(loaded) => {
            let state = State::parse(&fs::read_to_string(&path)?)?;
            println!("resumed at {}, from version {}", state.next, loaded.version);
            Ok((state, Some(loaded.epoch)))
        }
        Err(Fault::Request(error)) if error.code == Code::NotFound => Ok((State::default(), None)),
        Err(fault) => Err(fault.into()),
    }
}

/// Writes the state straight into the node's local storage, and has it made a version with copies on other nodes.
async fn save(client: &Client, name: &Name, state: State, epoch: Option<Epoch>) -> Result<Epoch, Fault> {
    let mut file = client.spool().await?.writer()?;
    file.write_all(format!("{} {}\n", state.next, state.found).as_bytes())
        .map_err(|error| cairn_client::fault::FileFault::new("write the state to", file.path(), &error))?;
    let options = SaveOptions { epoch, ..SaveOptions::new(name.clone(), Source::Spooled(file.commit())) };
    Ok(client.save(options).await?.epoch)
}
