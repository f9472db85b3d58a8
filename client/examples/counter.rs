//! A server that counts for its clients, and goes on where its node was lost: no count is lost, and none is made twice.
//!
//! ```sh
//! cairn run app/counter --state /var/lib/counter/state --every never --lease 2s --standby -- counter serve 10.0.0.1:9000
//! counter add 10.0.0.1:9000,10.0.0.2:9000 1000
//! ```
//!
//! Each node has a server of its own under `cairn run`; the one that owns the name serves. A client tries one after the other. The
//! server answers only when its state is saved, under its epoch: so an answer outlives the node, and a server that has lost the
//! name without knowing it cannot answer any more. A client that got no answer asks again under the same number.

#![allow(clippy::print_stdout, reason = "it talks to people")]

use std::collections::BTreeMap;
use std::env;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail, ensure};
use cairn_client::dial::Client;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;
use cairn_store::segment::Epoch;
use serde::{Deserialize, Serialize};
use tokio::fs;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Mutex;
use tokio::time::{sleep, timeout};

/// How long a save may stand still before the client of this server is left without an answer.
const SAVE_MAX: Duration = Duration::from_secs(10);
/// How long a client waits for an answer before it tries the next server.
const ANSWER_MAX: Duration = Duration::from_secs(3);
/// The pause before it does.
const PAUSE: Duration = Duration::from_millis(50);
/// The longest line that is read.
const LINE_BYTES_MAX: usize = 256;

#[tokio::main]
async fn main() -> anyhow::Result<()> {
    let words: Vec<String> = env::args().skip(1).collect();
    match words.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["serve", address] => serve(address).await,
        ["add", servers, times] => add(servers, times.parse()?).await,
        _ => bail!("usage: counter serve HOST:PORT, or counter add HOST:PORT[,HOST:PORT] TIMES"),
    }
}

/// What is saved: the count, and each client's last number with what it was answered.
#[derive(Debug, Default, Serialize, Deserialize)]
struct State {
    count: u64,
    clients: BTreeMap<String, (u64, u64)>,
}

impl State {
    /// Counts once for a client's number, however often it is asked.
    fn add(&mut self, client: &str, number: u64) -> u64 {
        match self.clients.get(client) {
            Some((last, answer)) if *last == number => *answer,
            _ => {
                self.count += 1;
                self.clients.insert(client.into(), (number, self.count));
                self.count
            }
        }
    }
}

struct Server {
    client: Client,
    name: Name,
    epoch: Epoch,
    path: PathBuf,
    state: Mutex<State>,
}

impl Server {
    /// From what the agent says.
    async fn open() -> anyhow::Result<Self> {
        let told =
            |variable: &str| env::var(variable).with_context(|| format!("no {variable}: run it with cairn run"));
        let endpoints = told("CAIRN_ENDPOINTS")?.split(',').map(str::to_owned).collect();
        let path = PathBuf::from(told("CAIRN_STATE")?);
        let state = match fs::read(&path).await {
            Ok(bytes) => serde_json::from_slice(&bytes).context("the state is not one of a counter")?,
            // The first start of all.
            Err(_) if told("CAIRN_VERSION")? == "0" => State::default(),
            Err(error) => return Err(error).context("the state cannot be read"),
        };
        Ok(Self {
            client: Client::new(endpoints, SAVE_MAX),
            name: told("CAIRN_NAME")?.parse()?,
            epoch: Epoch(told("CAIRN_EPOCH")?.parse()?),
            path,
            state: Mutex::new(state),
        })
    }

    /// Counts, and answers when that is safe.
    async fn add(&self, client: &str, number: u64) -> anyhow::Result<u64> {
        let mut state = self.state.lock().await;
        let answer = state.add(client, number);
        // Replaced by a rename: who saves it meanwhile gets the old one or the new one.
        let new = self.path.with_extension("new");
        fs::write(&new, serde_json::to_vec(&*state)?).await?;
        fs::rename(&new, &self.path).await?;
        let source = Source::File { path: self.path.clone(), take: false };
        let options = SaveOptions { epoch: Some(self.epoch), ..SaveOptions::new(self.name.clone(), source) };
        self.client.save(options).await?;
        Ok(answer)
    }

    async fn answer(&self, mut stream: TcpStream) -> anyhow::Result<()> {
        let (read, mut write) = stream.split();
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            ensure!(line.len() <= LINE_BYTES_MAX, "a line is too long");
            let (client, number) = line.split_once(' ').context("a line is CLIENT NUMBER")?;
            let count = self.add(client, number.parse()?).await?;
            write.write_all(format!("{count} {}\n", self.epoch).as_bytes()).await?;
        }
        Ok(())
    }
}

async fn serve(address: &str) -> anyhow::Result<()> {
    let server: &'static Server = Box::leak(Box::new(Server::open().await?));
    let listener = TcpListener::bind(address).await?;
    println!("serves from {} on, in epoch {}", server.state.lock().await.count, server.epoch);
    loop {
        let (stream, _) = listener.accept().await?;
        tokio::spawn(async move {
            if let Err(error) = server.answer(stream).await {
                println!("a client got no answer: {error}");
            }
        });
    }
}

async fn add(servers: &str, times: u64) -> anyhow::Result<()> {
    let servers: Vec<&str> = servers.split(',').collect();
    let me = uuid::Uuid::now_v7().to_string();
    let mut last = (0, 0);
    for number in 1..=times {
        let (count, epoch) = ask_until_answered(&servers, &me, number).await?;
        ensure!(count > last.0 && epoch >= last.1, "answered {count} in epoch {epoch} after {last:?}");
        last = (count, epoch);
        println!("{count} in epoch {epoch}");
    }
    Ok(())
}

/// One server after the other, until one answers.
async fn ask_until_answered(servers: &[&str], client: &str, number: u64) -> anyhow::Result<(u64, u64)> {
    loop {
        for server in servers {
            if let Ok(Ok(answer)) = timeout(ANSWER_MAX, ask(server, client, number)).await {
                return Ok(answer);
            }
        }
        sleep(PAUSE).await;
    }
}

async fn ask(server: &str, client: &str, number: u64) -> anyhow::Result<(u64, u64)> {
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(format!("{client} {number}\n").as_bytes()).await?;
    let line = BufReader::new(stream).lines().next_line().await?.context("no answer")?;
    let (count, epoch) = line.split_once(' ').context("an answer is COUNT EPOCH")?;
    Ok((count.parse()?, epoch.parse()?))
}
