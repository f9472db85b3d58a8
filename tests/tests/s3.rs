//! The global tier on a server of S3 that is down, slow, full of errors, killed, emptied, or does not let anybody in.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_tests::store::{self, S3, Tiered};
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files};
use serde_json::{Value, json};

/// One server and one cluster at a time are load enough.
static TURN: Mutex<()> = Mutex::new(());

/// One request.
const SMALL: u64 = 300_000;
/// Three parts.
const LARGE: u64 = 20 * files::BLOCK + 5;
/// Five parts: more than are sent at once.
const HUGE: u64 = 36 * files::BLOCK;

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// An executor and a storage-only node that use this server.
fn two(s3: &S3, settings: &[(&str, &str)]) -> Cluster {
    Tiered { nodes: 1, storage: 1, settings, env: &s3.env(), ..Tiered::at(&s3.url()) }.start()
}

fn file(cluster: &Cluster, name: &str, size: u64, seed: u64) -> PathBuf {
    files::random(&cluster.scratch(), &format!("{}-{seed}", name.replace('/', "-")), size, seed)
}

/// `save NAME`, asked of n1.
fn save(cluster: &Cluster, name: &str, file: &Path, more: &[&str]) -> Run {
    Run::of(cluster.command("n1", ["save", name, "--replicas", "1"]).args(more).arg(file))
}

/// The same, of new bytes, without waiting for the tier.
#[track_caller]
fn saved(cluster: &Cluster, name: &str, size: u64, seed: u64) -> PathBuf {
    let file = file(cluster, name, size, seed);
    save(cluster, name, &file, &[]).expect(0);
    file
}

/// Insists that a save that waits for the tier is refused, with these words, and leaves nothing.
#[track_caller]
fn refused(cluster: &Cluster, words: &str) {
    let file = file(cluster, "asked", SMALL, 99);
    let error = save(cluster, "app/asked", &file, &["--ack", "global"]).expect(7).error();
    assert_eq!((&error["code"], &error["outcome"]), (&json!("durability"), &json!("none")), "{error}");
    let message = error["message"].as_str().unwrap();
    assert!(message.contains("nothing was committed") && message.contains(words), "no {words:?}: {message}");
    cluster.cairn("n1", ["show", "app/asked"]).expect(3);
}

/// Insists that a version is in the tier, in the end, as it was saved. Gives its key.
#[track_caller]
fn arrives(cluster: &Cluster, s3: &S3, name: &str, file: &Path) -> String {
    let key = store::until_archived(cluster, "n1", name, 1);
    files::same(&s3.object(&key), file);
    key
}

/// Loads at a node, insists that the bytes are these, and gives the sources.
#[track_caller]
fn loads(cluster: &Cluster, at: &str, name: &str, more: &[&str], expected: &Path) -> Value {
    let out = cluster.scratch().join(format!("{}-at-{at}", name.replace('/', "-")));
    let told = Run::of(cluster.command(at, ["load", name, "--force", "--out"]).arg(&out).args(more)).expect(0);
    files::same(&out, expected);
    told.json()["sources"].clone()
}

#[track_caller]
fn nothing_is_lost(cluster: &Cluster) {
    let told = store::status(cluster, "n1");
    assert_eq!((&told["lost"], &told["waiting"]), (&json!(0), &json!(0)), "{told}");
}

#[test]
fn versions_go_there_come_back_and_go_with_what_is_removed() {
    let (_turn, s3) = (turn(), S3::start());
    let settings = [("global.sweep_every", "1s")];
    let cluster = Tiered { settings: &settings, env: &s3.env(), ..Tiered::at(&s3.url()) }.start();
    store::until_reached(&cluster, "n1", 4);
    for (name, size) in [("app/small", SMALL), ("app/large", LARGE), ("app/empty", 0)] {
        let file = file(&cluster, name, size, 1);
        let saved = save(&cluster, name, &file, &["--ack", "global"]).expect(0).json();
        assert_eq!(saved["archived"], true, "{saved}");
        arrives(&cluster, &s3, name, &file);
        let sources = loads(&cluster, "n2", name, &["--from", "global"], &file);
        assert_eq!(sources, json!([{ "node": "global", "bytes": size }]));
    }
    let later = saved(&cluster, "app/later", LARGE, 2);
    arrives(&cluster, &s3, "app/later", &later);
    assert_eq!(s3.parts(), 0, "no upload is left over");

    // No node has a copy that verifies.
    let digest = files::digest(&later);
    let held: Vec<String> = cluster.holders("n1", "app/later").into_iter().map(|(node, _)| node).collect();
    for node in &held {
        files::flip(&cluster.copy_on(node, &digest).unwrap(), 0);
    }
    let here = ["n2", "n3"].into_iter().find(|node| !held.iter().any(|holder| holder == node)).unwrap();
    let sources = loads(&cluster, here, "app/later", &[], &later);
    assert_eq!(sources, json!([{ "node": "global", "bytes": LARGE }]));

    assert_eq!(s3.objects().len(), 4);
    cluster.cairn("n1", ["rm", "app/large", "--yes"]).expect(0);
    until("what was removed is gone from there", || (s3.objects().len() == 3).then_some(()));
}

#[test]
fn a_server_that_is_down_stops_nobody_who_did_not_ask_for_it() {
    let (_turn, mut s3) = (turn(), S3::start());
    s3.kill();
    let cluster = two(&s3, &[]);
    let first = saved(&cluster, "app/first", SMALL, 1);
    store::until_unhealthy(&cluster, "n1", "node n1 does not reach the global tier");
    refused(&cluster, "does not reach its global tier");
    s3.restart();
    arrives(&cluster, &s3, "app/first", &first);
    store::until_healthy(&cluster, "n1");

    s3.kill();
    let second = saved(&cluster, "app/second", LARGE, 2);
    refused(&cluster, "global tier");
    store::until_unhealthy(&cluster, "n1", "node n1 does not reach the global tier");
    loads(&cluster, "n1", "app/first", &[], &first);
    s3.restart();
    arrives(&cluster, &s3, "app/second", &second);
    store::until_healthy(&cluster, "n1");
    nothing_is_lost(&cluster);
}

#[test]
fn a_slow_server_holds_up_only_who_waits_for_it_and_not_for_ever() {
    let (_turn, s3) = (turn(), S3::start());
    let cluster = two(&s3, &[("limits.idle", "4s")]);
    store::until_reached(&cluster, "n1", 2);
    // Minutes for each object.
    s3.faults(json!({ "rate": 1000, "only": "PUT" }));
    let names = ["app/1", "app/2", "app/3", "app/4"];
    let all: Vec<PathBuf> = (1..).zip(names).map(|(seed, name)| saved(&cluster, name, SMALL, seed)).collect();
    refused(&cluster, "did not answer in time");
    for name in names {
        assert_eq!(store::object(&cluster, "n1", name, 1), Value::Null, "{name}");
    }
    s3.heal();
    for (name, file) in names.into_iter().zip(&all) {
        arrives(&cluster, &s3, name, file);
    }
    nothing_is_lost(&cluster);
}

#[test]
fn an_upload_that_the_servers_death_cut_off_is_done_later() {
    let (_turn, mut s3) = (turn(), S3::start());
    let cluster = two(&s3, &[]);
    store::until_reached(&cluster, "n1", 2);
    s3.faults(json!({ "rate": 4 << 20, "only": "PUT" }));
    let file = saved(&cluster, "app/huge", HUGE, 1);
    until("a part has arrived", || (s3.parts() > 0).then_some(()));
    s3.kill();
    assert_eq!(s3.objects(), [""; 0], "not all of them have");
    assert_eq!(store::object(&cluster, "n1", "app/huge", 1), Value::Null);
    s3.heal();
    s3.restart();
    arrives(&cluster, &s3, "app/huge", &file);
    assert_eq!(loads(&cluster, "n1", "app/huge", &["--from", "global"], &file)[0]["node"], "global");
    nothing_is_lost(&cluster);
}

#[test]
fn an_upload_whose_node_dies_is_done_by_another_one() {
    let (_turn, s3) = (turn(), S3::start());
    let cluster = two(&s3, &[("limits.down_after", "2s")]);
    store::until_reached(&cluster, "n1", 2);
    s3.faults(json!({ "rate": 4 << 20, "only": "PUT" }));
    let file = saved(&cluster, "app/huge", HUGE, 1);
    until("a part has arrived", || (s3.parts() > 0).then_some(()));
    // It falls to a node that only stores, if one has a copy.
    cluster.kill("s1");
    assert_eq!(s3.objects(), [""; 0], "not all of them have");
    s3.heal();
    arrives(&cluster, &s3, "app/huge", &file);
}

#[test]
fn whom_the_server_does_not_let_in_says_so() {
    let (_turn, s3) = (turn(), S3::start());
    let wrong = s3.wrong_env();
    let mut cluster = Tiered { nodes: 1, storage: 1, env: &wrong, ..Tiered::at(&s3.url()) }.start();
    let file = saved(&cluster, "app/state", SMALL, 1);
    store::until_unhealthy(&cluster, "n1", "refuses access");
    refused(&cluster, "refuses access");
    let told = store::until_status(&cluster, "n1", "both nodes say why", |told| {
        let nodes = told["nodes"].as_array().unwrap();
        nodes.len() == 2 && nodes.iter().all(|node| node["failure"].to_string().contains("refuses access"))
    });
    assert!(wrong.iter().any(|(_, value)| value == "guessed") && !told.to_string().contains("guessed"), "{told}");
    assert_eq!(s3.objects(), [""; 0]);
    cluster.set_env(s3.env());
    cluster.crash_all_and_restart(1, 1);
    arrives(&cluster, &s3, "app/state", &file);
    store::until_healthy(&cluster, "n1");
}

#[test]
fn a_server_that_fails_now_and_then_or_throttles_gets_everything_in_the_end() {
    let (_turn, s3) = (turn(), S3::start());
    let cluster = two(&s3, &[]);
    store::until_reached(&cluster, "n1", 2);
    let faults = [
        json!({ "status": 503, "every": 3 }),
        json!({ "status": 429, "every": 2 }),
        json!({ "status": 500, "every": 4, "only": "PUT" }),
    ];
    for (round, fault) in (1..).zip(faults) {
        s3.faults(fault);
        let of = |(seed, size): (u64, u64)| {
            let name = format!("round-{round}/{seed}");
            let file = saved(&cluster, &name, size, 10 * round + seed);
            (name, file)
        };
        let all: Vec<(String, PathBuf)> = (1..).zip([SMALL, LARGE, 1, SMALL]).map(of).collect();
        for (name, file) in &all {
            arrives(&cluster, &s3, name, file);
        }
        let (name, file) = &all[1];
        loads(&cluster, "n1", name, &["--from", "global"], file);
    }
    s3.heal();
    store::until_healthy(&cluster, "n1");
    nothing_is_lost(&cluster);
}

#[test]
fn what_was_done_and_not_answered_does_no_harm() {
    let (_turn, s3) = (turn(), S3::start());
    let cluster = two(&s3, &[]);
    store::until_reached(&cluster, "n1", 2);
    s3.faults(json!({ "lost": true, "every": 2, "only": "PUT" }));
    let small = saved(&cluster, "app/small", SMALL, 1);
    arrives(&cluster, &s3, "app/small", &small);

    // The object is whole, and nobody hears of it.
    let before = s3.objects().len();
    s3.faults(json!({ "lost": true, "only": "POST", "key_contains": "uploadId=" }));
    let large = saved(&cluster, "app/large", LARGE, 2);
    until("the server has made it an object", || (s3.objects().len() > before).then_some(()));
    s3.heal();
    arrives(&cluster, &s3, "app/large", &large);
    for (name, file) in [("app/small", &small), ("app/large", &large)] {
        loads(&cluster, "n1", name, &["--from", "global"], file);
    }
    nothing_is_lost(&cluster);
}

#[test]
fn a_bucket_that_is_gone_is_told_and_nothing_is_given_up() {
    let (_turn, s3) = (turn(), S3::start());
    // What is missing would be noticed at once.
    let cluster = two(&s3, &[("global.sweep_every", "1s")]);
    store::until_reached(&cluster, "n1", 2);
    let before = saved(&cluster, "app/before", SMALL, 1);
    let key = arrives(&cluster, &s3, "app/before", &before);
    s3.take_bucket();
    refused(&cluster, "global tier");
    let after = saved(&cluster, "app/after", SMALL, 2);
    store::until_unhealthy(&cluster, "n1", "node n1 does not reach the global tier");
    cluster.cairn("n1", ["load", "app/before", "--from", "global", "--timeout", "5s"]).expect(5);
    loads(&cluster, "n1", "app/before", &[], &before);
    refused(&cluster, "global tier");

    s3.give_bucket();
    arrives(&cluster, &s3, "app/after", &after);
    store::until_healthy(&cluster, "n1");
    nothing_is_lost(&cluster);
    assert_eq!(arrives(&cluster, &s3, "app/before", &before), key, "it is the same object");
    loads(&cluster, "n1", "app/before", &["--from", "global"], &before);
}

#[test]
fn what_was_altered_cut_or_broken_off_there_is_never_served() {
    let (_turn, s3) = (turn(), S3::start());
    let cluster = two(&s3, &[]);
    store::until_reached(&cluster, "n1", 2);
    let mut damaged = Vec::new();
    for (seed, (name, size)) in (1..).zip([("app/altered", LARGE), ("app/cut", LARGE), ("app/short", SMALL)]) {
        let file = saved(&cluster, name, size, seed);
        let key = arrives(&cluster, &s3, name, &file);
        damaged.push((name, file, key));
    }

    // An answer that breaks off is not the object's fault.
    let (name, file, key) = &damaged[0];
    s3.faults(json!({ "cut": 65_536, "only": "GET", "key_contains": "/objects/" }));
    cluster.cairn("n1", ["load", *name, "--from", "global", "--timeout", "5s"]).expect(5);
    s3.heal();
    loads(&cluster, "n1", name, &["--from", "global"], file);
    assert_eq!(arrives(&cluster, &s3, name, file), *key, "it is the same object");

    for (name, _, key) in &damaged {
        let object = s3.object(key);
        let cut = |left: u64| File::options().write(true).open(&object).unwrap().set_len(left).unwrap();
        match *name {
            "app/altered" => files::flip(&object, LARGE - 1),
            "app/cut" => cut(LARGE / 2),
            _ => cut(SMALL - 1),
        }
    }
    for (name, file, _) in &damaged {
        let error = cluster.cairn("n1", ["load", *name, "--from", "global"]).expect(6).error();
        assert_eq!(error["code"], "corrupt", "{name}: {error}");
        let sources = loads(&cluster, "n1", name, &[], file);
        assert!(!sources.to_string().contains("global"), "{name}: {sources}");
    }
    for (name, file, key) in &damaged {
        let anew = store::until_archived_as(&cluster, "n1", name, 1, |found| found != key);
        files::same(&s3.object(&anew), file);
        loads(&cluster, "n1", name, &["--from", "global"], file);
    }
    nothing_is_lost(&cluster);
}
