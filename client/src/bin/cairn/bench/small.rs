//! `cairn bench small`: small files, saved again and again, as an application does that checkpoints often.

use std::io::Write;
use std::sync::Arc;

use cairn_client::dial::Client;
use cairn_client::fault::{Fault, FileFault};
use cairn_client::save::{SaveOptions, Source};
use cairn_client::spool::Spool;
use cairn_store::name::Name;

use super::args::SmallArgs;
use super::ground::Ground;
use super::limit;
use super::load::{Repeat, Tally, repeat};
use super::machine::Machine;
use super::sheet::Sheet;
use super::site::Site;
use super::spread::Spread;
use super::stage::Stage;
use crate::report::Report;

/// An application on a node: it writes into the spool there, and saves.
pub(super) struct Application {
    client: Client,
    spool: Spool,
    name: Name,
    replicas: u8,
    bytes: Arc<[u8]>,
}

impl Application {
    /// One that asks `client`. It saves once, which registers the name.
    pub(super) async fn new(
        site: &Site,
        client: Client,
        name: Name,
        replicas: u8,
        bytes: Arc<[u8]>,
    ) -> Result<Self, Report> {
        let spool = site.spool_of(&client).await?;
        let mut application = Self { client, spool, name, replicas, bytes };
        application.once().await?;
        Ok(application)
    }
}

impl Repeat for Application {
    async fn once(&mut self) -> Result<(), Report> {
        let mut file = self.spool.writer().map_err(Fault::from)?;
        file.write_all(&self.bytes)
            .map_err(|error| Fault::from(FileFault::new("write to", self.spool.dir(), &error)))?;
        let source = Source::Spooled(file.commit());
        let options = SaveOptions { replicas: self.replicas, ..SaveOptions::new(self.name.clone(), source) };
        self.client.save(options).await?;
        Ok(())
    }
}

pub(super) async fn run(args: &SmallArgs, site: &Site, ground: &Ground, stage: &Stage) -> Result<Sheet, Report> {
    let machine = Machine::look(ground.dir());
    let file = ground.random("source", args.size).await?;
    let bytes: Arc<[u8]> = std::fs::read(&file).map_err(super::ground::failed("read", &file))?.into();
    let mut applications = Vec::new();
    for (nth, client) in site.clients(args.clients).enumerate() {
        let name = site.name(&format!("small/{nth}"))?;
        applications.push(Application::new(site, client, name, args.replicas, bytes.clone()).await?);
    }
    let (mut saves, mut limits) = (Vec::new(), Vec::new());
    for turn in 0..args.runs.runs {
        stage.run(turn, args.runs.runs, "cairn");
        ground.settle().await?;
        saves.push(repeat(&mut applications, args.span.duration()).await?);
        if args.replicas == 0 {
            continue;
        }
        stage.run(turn, args.runs.runs, "the machine's limit");
        ground.settle().await?;
        let (file, dir, span) = (file.clone(), ground.dir().to_owned(), args.span.duration());
        let shape = (args.clients, args.replicas);
        let took = ground.blocking(move |stop| limit::send_again(&file, &dir, shape, span, stop)).await?;
        limits.push(Tally::of(took, span)?);
    }
    let of = |tallies: &[Tally], value: fn(&Tally) -> f64| Spread::of(tallies.iter().map(value));
    let rates = (of(&saves, |t| t.per_second), of(&limits, |t| t.per_second));
    let facts = vec![
        ("size_bytes", args.size.into()),
        ("copies", args.replicas.into()),
        ("clients", args.clients.into()),
        ("seconds", args.span.seconds.into()),
    ];
    Ok(Sheet::new("small", machine, facts)
        .runs(args.runs.runs)
        .spread("saves_per_second", rates.0)
        .spread("p50_ms", of(&saves, |t| t.p50_ms))
        .spread("p99_ms", of(&saves, |t| t.p99_ms))
        .spread("limit_per_second", rates.1)
        .spread("limit_p50_ms", of(&limits, |t| t.p50_ms))
        .ratio("limit_ratio", rates.1, rates.0))
}
