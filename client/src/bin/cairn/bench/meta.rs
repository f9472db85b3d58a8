//! `cairn bench meta`: what one decision of the cluster takes, without bytes: a claim, beside a put of etcd.

use std::path::Path;
use std::time::Duration;

use cairn_client::api::{CairnClient, ClaimRequest};
use cairn_client::dial::{CONNECT_MAX, Client, channel, dial};
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_store::name::Name;

use super::args::MetaArgs;
use super::etcd::{Etcd, Put};
use super::ground::Ground;
use super::limit;
use super::load::{Repeat, Tally, repeat};
use super::machine::Machine;
use super::sheet::Sheet;
use super::site::Site;
use super::spread::Spread;
use super::stage::Stage;
use crate::report::Report;

/// How long a claim may take. The cluster remembers answers for as long as somebody may ask again, and no longer.
const CLAIM_MAX: Duration = Duration::from_secs(5);

/// One who claims a name of its own, on a connection of its own.
pub(super) struct Claimant {
    rpc: CairnClient,
    name: Name,
}

impl Claimant {
    pub(super) async fn new(client: &Client, name: Name) -> Result<Self, Report> {
        // The name has to exist: its version has no bytes, and no other copy.
        let source = Source::stream(std::io::empty());
        client.save(SaveOptions { replicas: 0, ..SaveOptions::new(name.clone(), source) }).await?;
        let endpoint = client.endpoints().first().map(String::as_str).unwrap_or_default();
        let dialled = dial(client.connector(), endpoint, CONNECT_MAX).await;
        let stream = dialled.map_err(|error| Report::internal(format!("cannot reach {endpoint}: {error}")))?;
        Ok(Self { rpc: channel(stream), name })
    }
}

impl Repeat for Claimant {
    async fn once(&mut self) -> Result<(), Report> {
        let (request, name) = (request::new_id(), self.name.clone());
        let request = ClaimRequest { request, wait: CLAIM_MAX, name, lease: None, if_epoch: None, create: None };
        let answer = self.rpc.claim(tarpc::context::current(), request).await;
        answer.map_err(|error| Report::internal(format!("a claim got no answer: {error}")))??;
        Ok(())
    }
}

/// What one client did, and what many did.
#[derive(Default)]
struct Tallies {
    one: Vec<Tally>,
    many: Vec<Tally>,
}

impl Tallies {
    async fn add(
        &mut self,
        one: &mut Vec<impl Repeat>,
        many: &mut Vec<impl Repeat>,
        args: &MetaArgs,
    ) -> Result<(), Report> {
        self.one.push(repeat(one, args.span.duration()).await?);
        self.many.push(repeat(many, args.span.duration()).await?);
        Ok(())
    }
}

pub(super) async fn run(
    args: &MetaArgs,
    site: &Site,
    ground: &Ground,
    etcd: Option<&Path>,
    stage: &Stage,
) -> Result<Sheet, Report> {
    let (machine, runs) = (Machine::look(ground.dir()), args.runs.runs);
    let mut claimants = Vec::new();
    for (nth, client) in site.clients(args.clients + 1).enumerate() {
        claimants.push(Claimant::new(&client, site.name(&format!("meta/{nth}"))?).await?);
    }
    // The first endpoint's, in both.
    let mut claimant: Vec<_> = claimants.drain(..1).collect();
    let etcd = match etcd {
        Some(program) => Some(Etcd::start(program, ground).await?),
        None => None,
    };
    let (mut puts, mut put) = (Vec::new(), Vec::new());
    if let Some(etcd) = &etcd {
        for nth in 0..args.clients {
            puts.push(Put::new(etcd.endpoint(nth as usize), nth).await?);
        }
        put.push(Put::new(etcd.endpoint(0), args.clients).await?);
    }
    let (mut claims, mut peer, mut limits) = (Tallies::default(), Tallies::default(), Vec::new());
    for turn in 0..runs {
        stage.run(turn, runs, "cairn");
        ground.settle().await?;
        claims.add(&mut claimant, &mut claimants, args).await?;
        stage.run(turn, runs, "the machine's limit");
        let (log, span) = (ground.dir().join("log"), Duration::from_secs(1));
        let took = ground.blocking(move |stop| limit::append_again(&log, span, stop)).await?;
        limits.push(Tally::of(took, span)?);
        if etcd.is_some() {
            stage.run(turn, runs, "etcd");
            ground.settle().await?;
            peer.add(&mut put, &mut puts, args).await?;
        }
    }
    let of = |tallies: &[Tally], value: fn(&Tally) -> f64| Spread::of(tallies.iter().map(value));
    let rates = (of(&claims.many, |t| t.per_second), of(&peer.many, |t| t.per_second));
    let (p50, limit) = (of(&claims.one, |t| t.p50_ms), of(&limits, |t| t.p50_ms));
    let facts = vec![("clients", args.clients.into()), ("seconds", args.span.seconds.into())];
    Ok(Sheet::new("meta", machine, facts)
        .runs(runs)
        .spread("claims_per_second", rates.0)
        .spread("p50_ms", of(&claims.many, |t| t.p50_ms))
        .spread("p99_ms", of(&claims.many, |t| t.p99_ms))
        .spread("one_client_claims_per_second", of(&claims.one, |t| t.per_second))
        .spread("one_client_p50_ms", p50)
        .spread("one_client_p99_ms", of(&claims.one, |t| t.p99_ms))
        .spread("limit_p50_ms", limit)
        .ratio("limit_ratio", p50, limit)
        .spread("etcd_puts_per_second", rates.1)
        .spread("etcd_p50_ms", of(&peer.many, |t| t.p50_ms))
        .spread("etcd_one_client_puts_per_second", of(&peer.one, |t| t.per_second))
        .spread("etcd_one_client_p50_ms", of(&peer.one, |t| t.p50_ms))
        .ratio("etcd_ratio", rates.0, rates.1))
}
