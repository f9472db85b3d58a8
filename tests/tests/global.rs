//! The global tier as a folder: which versions go there, loads that fall back to it, what is damaged or gone, and what goes
//! with its version.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Mutex, MutexGuard, PoisonError};

use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, bins, files, store};
use serde_json::{Value, json};

static CLUSTER: Shared = Shared::by(|| store::with_folder(3, 1, &[], &[]));

/// One cluster of a test's own at a time is load enough.
static TURN: Mutex<()> = Mutex::new(());

/// Two blocks and a bit.
const SIZE: u64 = 2 * files::BLOCK + 300;

fn turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `save NAME`, asked of n1.
fn save(cluster: &Cluster, name: &str, file: &Path, more: &[&str]) -> Run {
    Run::of(cluster.command("n1", ["save", name]).args(more).arg(file))
}

/// The same, of new bytes.
#[track_caller]
fn saved(cluster: &Cluster, name: &str, seed: u64, more: &[&str]) -> PathBuf {
    let file = files::random(&cluster.scratch(), &format!("{}-{seed}", name.replace('/', "-")), SIZE, seed);
    save(cluster, name, &file, more).expect(0);
    file
}

/// Loads at a node, insists that the bytes are these, and gives what it said.
#[track_caller]
fn loads(cluster: &Cluster, at: &str, name: &str, more: &[&str], expected: &Path) -> Value {
    let out = cluster.scratch().join(format!("{}-at-{at}", name.replace('/', "-")));
    let told = Run::of(cluster.command(at, ["load", name, "--force", "--out"]).arg(&out).args(more)).expect(0);
    files::same(&out, expected);
    told.json()
}

fn message(error: &Value) -> &str {
    error["message"].as_str().unwrap()
}

/// The nodes with a durable copy of the newest version.
fn holders(cluster: &Cluster, name: &str) -> Vec<String> {
    let holders = cluster.holders("n1", name).into_iter();
    holders.filter(|(_, state)| state == "durable").map(|(node, _)| node).collect()
}

#[test]
fn a_save_that_waits_for_the_tier_finds_its_plain_bytes_there() {
    let cluster = CLUSTER.get();
    store::until_reached(&cluster, "n1", 4);
    let tier = store::folder(&cluster);
    for (name, size) in [("waits/large", SIZE), ("waits/nothing", 0)] {
        let file = files::random(&cluster.scratch(), &name.replace('/', "-"), size, 1);
        let saved = save(&cluster, name, &file, &["--ack", "global", "--label", "app=pg"]).expect(0).json();
        assert_eq!((&saved["archived"], &saved["ack"]), (&json!(true), &json!("global")), "{saved}");
        let object = store::object(&cluster, "n2", name, 1);
        assert_eq!((&object["state"], &object["published"]), (&json!("durable"), &json!(true)), "{object}");
        let key = object["key"].as_str().unwrap();
        for part in [saved["segment"].as_str().unwrap(), saved["digest"].as_str().unwrap()] {
            assert!(key.contains(part), "no {part} in {key}");
        }

        // Whoever has the folder has the bytes, without any of these programs, and is told what they are.
        files::same(&tier.join(key), &file);
        let table = fs::metadata(tier.join(key.replace("/objects/", "/tables/"))).unwrap();
        assert_eq!(table.len(), size.div_ceil(files::BLOCK).max(1) * 32);
        let manifest = fs::read_to_string(tier.join(key.replace("/objects/", "/manifests/"))).unwrap();
        let (said, check) = manifest.split_once('\n').unwrap();
        let check: Value = serde_json::from_str(check).unwrap();
        assert_eq!(check["blake3"], blake3::hash(said.as_bytes()).to_hex().to_string());
        let said: Value = serde_json::from_str(said).unwrap();
        let expected = json!({
            "name": name, "version": 1, "epoch": 1, "size": size, "digest": saved["digest"], "labels": { "app": "pg" },
        });
        for (field, expected) in expected.as_object().unwrap() {
            assert_eq!(said[field], *expected, "{said}");
        }

        let told = loads(&cluster, "n2", name, &["--from", "global"], &file);
        assert_eq!(told["sources"], json!([{ "node": "global", "bytes": size }]));
    }
    let mark: Value = serde_json::from_slice(&fs::read(tier.join("cairn.json")).unwrap()).unwrap();
    assert_eq!(mark["tier"], store::status(&cluster, "n3")["tier"]);
}

#[test]
fn those_versions_go_there_that_the_segments_policy_names() {
    let cluster = CLUSTER.get();
    let nothing = |name: &str, versions: &[u64]| {
        for version in versions {
            let object = store::object(&cluster, "n1", name, *version);
            assert_eq!(object, Value::Null, "version {version} of {name}");
        }
    };
    let policy = |name: &str| cluster.show("n1", name)["archive"].clone();

    saved(&cluster, "policy/never", 1, &["--archive", "never"]);
    saved(&cluster, "policy/default", 1, &[]);
    store::until_archived(&cluster, "n1", "policy/default", 1);
    assert_eq!((policy("policy/never"), policy("policy/default")), (json!("never"), json!("background")));

    for seed in 1..=3 {
        saved(&cluster, "policy/always", seed, &["--archive", "always", "--keep", "5"]);
    }
    for version in 1..=3 {
        store::until_archived(&cluster, "n1", "policy/always", version);
    }

    for seed in 1..=4 {
        saved(&cluster, "policy/every", seed, &["--archive", "every:2", "--keep", "6"]);
    }
    store::until_archived(&cluster, "n1", "policy/every", 2);
    store::until_archived(&cluster, "n1", "policy/every", 4);
    nothing("policy/every", &[1, 3]);
    // It holds from then on, until another save says otherwise.
    for seed in 5..=6 {
        saved(&cluster, "policy/every", seed, &["--keep", "6"]);
    }
    store::until_archived(&cluster, "n1", "policy/every", 6);
    nothing("policy/every", &[1, 3, 5]);
    assert_eq!(policy("policy/every"), "every:2");
    saved(&cluster, "policy/every", 7, &["--keep", "6", "--archive", "background"]);
    store::until_archived(&cluster, "n1", "policy/every", 7);
    nothing("policy/every", &[3, 5]);

    // By now it had its time; a save that waits for the tier gets there all the same.
    nothing("policy/never", &[1]);
    saved(&cluster, "policy/never", 2, &["--ack", "global"]);
    let object = store::object(&cluster, "n1", "policy/never", 2);
    assert_eq!(object["published"], true, "{object}");
    nothing("policy/never", &[1]);
    assert_eq!(policy("policy/never"), "never");

    let file = files::random(&cluster.scratch(), "policy-wrong", 1000, 9);
    for wrong in ["every:0", "every", "sometimes", ""] {
        save(&cluster, "policy/wrong", &file, &["--archive", wrong]).expect(2);
    }
    cluster.cairn("n1", ["show", "policy/wrong"]).expect(3);
}

#[test]
fn bytes_that_go_there_and_come_back_are_counted() {
    let cluster = CLUSTER.get();
    store::until_reached(&cluster, "n1", 4);
    let (archived, recalled) =
        ("cairn_transfer_bytes_total{direction=\"archived\"}", "cairn_transfer_bytes_total{direction=\"recalled\"}");
    let before = (store::metric(&cluster, "n1", archived), store::metric(&cluster, "n3", recalled));
    let file = saved(&cluster, "counted", 1, &["--ack", "global"]);
    loads(&cluster, "n3", "counted", &["--from", "global"], &file);
    let size = SIZE as f64;
    assert!(store::metric(&cluster, "n1", archived) >= before.0 + size);
    assert!(store::metric(&cluster, "n3", recalled) >= before.1 + size);
    for node in ["n1", "n2", "n3", "s1"] {
        assert_eq!(store::metric(&cluster, node, "cairn_global_reached"), 1.0, "{node}");
        assert!(store::metric(&cluster, node, "cairn_global_failures_total") >= 0.0, "{node}");
    }
}

#[test]
fn the_configuration_says_what_holds_of_segments_for_which_nobody_asked() {
    let _turn = turn();
    let cluster = store::with_folder(1, 0, &[], &[("global.archive", "every:2")]);
    for seed in 1..=2 {
        saved(&cluster, "app/unasked", seed, &["--replicas", "0", "--keep", "5"]);
    }
    saved(&cluster, "app/asked", 1, &["--replicas", "0", "--archive", "always"]);
    store::until_archived(&cluster, "n1", "app/unasked", 2);
    store::until_archived(&cluster, "n1", "app/asked", 1);
    assert_eq!(store::object(&cluster, "n1", "app/unasked", 1), Value::Null);
    assert_eq!(cluster.show("n1", "app/unasked")["archive"], "every:2");
    let told = store::status(&cluster, "n1");
    assert_eq!((&told["archive"], &told["archived"]), (&json!("every:2"), &json!(2)), "{told}");
    assert_eq!((&told["archived_bytes"], &told["waiting"], &told["lost"]), (&json!(2 * SIZE), &json!(0), &json!(0)));
}

#[test]
fn what_no_node_can_give_any_more_comes_from_the_tier_and_is_held_again() {
    let _turn = turn();
    let cluster = store::with_folder(3, 1, &[], &[]);
    store::until_reached(&cluster, "n1", 4);
    let file = saved(&cluster, "app/lost", 1, &["--replicas", "1"]);
    store::until_archived(&cluster, "n1", "app/lost", 1);
    let (digest, held) = (files::digest(&file), holders(&cluster, "app/lost"));
    assert_eq!(held.len(), 2, "{held:?}");
    let here = ["n2", "n3"].into_iter().find(|node| !held.iter().any(|holder| holder == node)).unwrap();
    // One copy goes bad in its last block, and the other one is gone.
    files::flip(&cluster.copy_on(&held[0], &digest).unwrap(), SIZE - 1);
    let gone = cluster.copy_on(&held[1], &digest).unwrap();
    fs::remove_file(gone.with_extension("toc")).unwrap();
    fs::remove_file(gone).unwrap();

    let told = loads(&cluster, here, "app/lost", &[], &file);
    let whole = 2 * files::BLOCK;
    let sources = json!([{ "node": held[0], "bytes": whole }, { "node": "global", "bytes": SIZE - whole }]);
    assert_eq!(told["sources"], sources, "from the block where the last one stopped");
    until("the new copy is held", || holders(&cluster, "app/lost").contains(&here.to_owned()).then_some(()));
    until("all copies are made again", || {
        (cluster.show("n1", "app/lost")["under_replicated"] == false).then_some(())
    });
    let again = loads(&cluster, here, "app/lost", &[], &file);
    assert_eq!(again["sources"], json!([{ "node": here, "bytes": SIZE }]));
}

#[test]
fn a_damaged_object_is_never_served_and_another_one_takes_its_place() {
    let _turn = turn();
    let cluster = store::with_folder(3, 1, &[], &[]);
    store::until_reached(&cluster, "n1", 4);
    let tier = store::folder(&cluster);
    let mut damaged = Vec::new();
    for (seed, how) in (1..).zip(["altered", "cut", "gone", "table"]) {
        let file = saved(&cluster, how, seed, &["--replicas", "1"]);
        let key = store::until_archived(&cluster, "n1", how, 1);
        let object = tier.join(&key);
        match how {
            "altered" => files::flip(&object, files::BLOCK + 1),
            "cut" => fs::File::options().write(true).open(&object).unwrap().set_len(SIZE - 1).unwrap(),
            "gone" => fs::remove_file(&object).unwrap(),
            _ => files::flip(&tier.join(key.replace("/objects/", "/tables/")), 0),
        }
        damaged.push((how, file, key));
    }
    for (how, file, _) in &damaged {
        let error = cluster.cairn("n2", ["load", *how, "--from", "global"]).expect(6).error();
        assert_eq!(error["code"], "corrupt", "{how}: {error}");
        assert!(message(&error).contains("the global tier"), "{how}: {error}");
        // Whoever has a good copy delivers it.
        let told = loads(&cluster, "n2", how, &[], file);
        assert!(!told["sources"].to_string().contains("global"), "{how}: {told}");
    }
    for (how, file, key) in &damaged {
        let anew = store::until_archived_as(&cluster, "n1", how, 1, |found| found != key);
        files::same(&tier.join(anew), file);
        let told = loads(&cluster, "n3", how, &["--from", "global"], file);
        assert_eq!(told["sources"], json!([{ "node": "global", "bytes": SIZE }]), "{how}");
    }
    store::until_healthy(&cluster, "n1");
    assert_eq!(store::status(&cluster, "n1")["lost"], 0);
}

#[test]
fn nodes_without_a_tier_have_one_that_has_it_do_it() {
    let _turn = turn();
    let cluster = store::with_folder(3, 1, &["s1"], &[]);
    let told = store::until_reached(&cluster, "n1", 1);
    assert_eq!((&told["nodes"][0]["node"], told["nodes"].as_array().unwrap().len()), (&json!("s1"), 1));
    let file = files::random(&cluster.scratch(), "state", SIZE, 1);
    let saved_here = save(&cluster, "app/state", &file, &["--ack", "global", "--replicas", "1"]).expect(0).json();
    assert_eq!(saved_here["archived"], true, "{saved_here}");
    let key = store::object(&cluster, "n1", "app/state", 1)["key"].as_str().unwrap().to_owned();
    files::same(&store::folder(&cluster).join(key), &file);
    // In the background too, of what it holds.
    saved(&cluster, "app/later", 2, &["--replicas", "3"]);
    store::until_archived(&cluster, "n1", "app/later", 1);

    let error = cluster.cairn("n2", ["load", "app/state", "--from", "global", "--timeout", "3s"]).expect(5).error();
    assert!(message(&error).contains("this node has no global tier"), "{error}");
    let digest = files::digest(&file);
    let mut held = holders(&cluster, "app/state");
    held.sort();
    assert_eq!(held, ["n1", "s1"]);
    for node in &held {
        files::flip(&cluster.copy_on(node, &digest).unwrap(), 0);
    }
    let told = loads(&cluster, "n2", "app/state", &[], &file);
    let sources = told["sources"].as_array().unwrap();
    assert!(sources.iter().all(|source| source["node"] == "s1" || source["node"] == "n1"), "{told}");
    assert_eq!(sources.iter().map(|source| source["bytes"].as_u64().unwrap()).sum::<u64>(), SIZE, "{told}");
    until("s1 holds a good copy again", || holders(&cluster, "app/state").contains(&"s1".to_owned()).then_some(()));
}

#[test]
fn what_nothing_refers_to_goes_and_what_is_pinned_stays() {
    let _turn = turn();
    let cluster = store::with_folder(1, 0, &[], &[("global.sweep_every", "1s")]);
    store::until_reached(&cluster, "n1", 1);
    let tier = store::folder(&cluster);
    let mut keys = Vec::new();
    for version in 1..=4 {
        saved(&cluster, "app/state", version, &["--replicas", "0", "--archive", "always", "--keep", "2"]);
        keys.push(store::until_archived(&cluster, "n1", "app/state", version));
        if version == 1 {
            cluster.cairn("n1", ["pin", "app/state", "--version", "1"]).expect(0);
        }
    }
    // Of a segment that nobody knows, so that it may be one whose save goes on; and what is none of ours.
    let segment = cluster.show("n1", "app/state")["segment"].as_str().unwrap().to_owned();
    let stray = tier.join(keys[0].replace(&segment, &uuid::Uuid::now_v7().to_string()));
    let foreign = stray.with_file_name("README");
    fs::create_dir_all(stray.parent().unwrap()).unwrap();
    for file in [&stray, &foreign] {
        fs::write(file, "x").unwrap();
    }

    let parts = |key: &String| {
        let there = |part: &str| tier.join(key.replace("/objects/", part)).exists();
        ["/objects/", "/tables/", "/manifests/"].into_iter().filter(|part| there(part)).count()
    };
    until("the version that is not kept is gone", || (parts(&keys[1]) == 0).then_some(()));
    assert_eq!(keys.iter().map(parts).collect::<Vec<_>>(), [3, 0, 3, 3]);
    cluster.cairn("n1", ["unpin", "app/state", "--version", "1"]).expect(0);
    until("what only a pin kept is gone", || (parts(&keys[0]) == 0).then_some(()));
    assert_eq!(keys.iter().map(parts).collect::<Vec<_>>(), [0, 0, 3, 3]);
    cluster.cairn("n1", ["rm", "app/state", "--yes"]).expect(0);
    until("nothing of the segment is left", || {
        (!store::below(&tier).iter().any(|path| path.contains(&segment))).then_some(())
    });
    assert!(stray.exists() && foreign.exists() && tier.join("cairn.json").exists());
}

#[test]
fn a_folder_that_is_gone_is_told_holds_up_nobody_else_and_heals_by_itself() {
    let _turn = turn();
    let cluster = store::with_folder(1, 1, &[], &[("global.sweep_every", "1s")]);
    store::until_reached(&cluster, "n1", 2);
    let more = ["--replicas", "1"];
    let before = saved(&cluster, "app/before", 1, &more);
    let key = store::until_archived(&cluster, "n1", "app/before", 1);
    let (tier, aside) = (store::folder(&cluster), cluster.dir().join("aside"));
    fs::rename(&tier, &aside).unwrap();

    let file = files::random(&cluster.scratch(), "refused", 1000, 9);
    let refused = |name: &str| {
        let error = save(&cluster, name, &file, &["--replicas", "1", "--ack", "global"]).expect(7).error();
        assert_eq!((&error["code"], &error["outcome"]), (&json!("durability"), &json!("none")), "{error}");
        assert!(message(&error).contains("global tier"), "{error}");
        assert!(message(&error).contains("nothing was committed"), "{error}");
    };
    refused("app/new");
    cluster.cairn("n1", ["show", "app/new"]).expect(3);
    refused("app/before");
    assert_eq!(cluster.show("n1", "app/before")["head"], 1);
    // Who does not ask for it saves, and takes the name that was freed.
    let waits: Vec<PathBuf> =
        (2..).zip(["app/new", "app/after"]).map(|(seed, name)| saved(&cluster, name, seed, &more)).collect();

    store::until_unhealthy(&cluster, "n1", "node n1 does not reach the global tier");
    let told = store::until_status(&cluster, "n1", "nobody reaches the tier", |told| store::reached(told) == 0);
    for node in told["nodes"].as_array().unwrap() {
        assert!(node["failure"].is_string() && node["url"].is_string(), "{told}");
    }
    assert_eq!((&told["waiting"], &told["waiting_bytes"], &told["lost"]), (&json!(2), &json!(2 * SIZE), &json!(0)));
    assert!(told["oldest_ms"].is_u64() && told["tier"].is_string(), "{told}");
    let metric = |name: &str| store::metric(&cluster, "n1", name);
    assert_eq!((metric("cairn_global_reached"), metric("cairn_global_backlog_versions")), (0.0, 2.0));
    assert_eq!(metric("cairn_global_backlog_bytes"), (2 * SIZE) as f64);
    assert!(metric("cairn_global_backlog_seconds") > 0.0);

    // An empty folder in its place is none: nothing is mounted there.
    fs::create_dir(&tier).unwrap();
    cluster.cairn("n1", ["load", "app/before", "--from", "global", "--timeout", "5s"]).expect(5);
    refused("app/newer");
    assert_eq!(store::below(&tier), [""; 0]);
    loads(&cluster, "n1", "app/before", &[], &before);

    fs::remove_dir(&tier).unwrap();
    fs::rename(&aside, &tier).unwrap();
    for (name, file) in ["app/new", "app/after"].into_iter().zip(&waits) {
        let key = store::until_archived(&cluster, "n1", name, 1);
        files::same(&tier.join(key), file);
    }
    store::until_healthy(&cluster, "n1");
    let told = store::until_reached(&cluster, "n1", 2);
    assert_eq!((&told["archived"], &told["waiting"], &told["lost"]), (&json!(3), &json!(0), &json!(0)), "{told}");
    assert_eq!(store::object(&cluster, "n1", "app/before", 1)["key"], key);
    assert_eq!((metric("cairn_global_reached"), metric("cairn_global_backlog_versions")), (1.0, 0.0));
    assert_eq!((metric("cairn_global_backlog_bytes"), metric("cairn_global_backlog_seconds")), (0.0, 0.0));
}

#[test]
fn a_stopped_nodes_check_reads_what_its_state_refers_to_there() {
    let _turn = turn();
    let mut cluster = store::with_folder(1, 0, &[], &[]);
    saved(&cluster, "app/state", 1, &["--replicas", "0"]);
    let key = store::until_archived(&cluster, "n1", "app/state", 1);
    cluster.crash_all();
    let config = cluster.node("n1").dir.join("cairnd.toml");
    let check = || {
        let mut command = Command::new(bins::cairnd());
        Run::of(command.args(["fsck", "-o", "json", "--global", "--config"]).arg(&config).stdin(Stdio::null()))
    };
    let told = check().expect(0).json();
    assert_eq!((&told["global"]["objects"], &told["global"]["bytes"]), (&json!(1), &json!(SIZE)), "{told}");
    files::flip(&store::folder(&cluster).join(&key), SIZE - 1);
    let told = check().expect(6).json();
    let mut findings = told["findings"].as_array().unwrap().iter();
    assert!(findings.any(|found| found["bad"] == true && found["path"] == key.as_str()), "{told}");
}

#[test]
fn without_a_tier_whoever_asks_for_it_is_told() {
    let _turn = turn();
    let cluster = Cluster::start(1, 0);
    let file = files::random(&cluster.scratch(), "state", 1000, 1);
    for (more, code) in [(["--archive", "always"], 2), (["--archive", "every:2"], 2), (["--ack", "global"], 7)] {
        let asked = [&["--replicas", "0"], &more[..]].concat();
        let error = save(&cluster, "app/state", &file, &asked).expect(code).error();
        assert!(message(&error).contains("no node of this cluster has a global tier"), "{error}");
        assert!(error["hint"].as_str().unwrap().contains("global.url"), "{error}");
        cluster.cairn("n1", ["show", "app/state"]).expect(3);
    }
    let done = save(&cluster, "app/state", &file, &["--replicas", "0", "--archive", "never"]).expect(0).json();
    assert_eq!(done["archived"], false, "{done}");
    assert_eq!(store::object(&cluster, "n1", "app/state", 1), Value::Null);
    let told = store::status(&cluster, "n1");
    assert_eq!((&told["tier"], &told["nodes"], &told["waiting"]), (&Value::Null, &json!([]), &json!(0)), "{told}");
    let mut keys: Vec<&str> = told.as_object().unwrap().keys().map(String::as_str).collect();
    keys.sort_unstable();
    let all =
        ["archive", "archived", "archived_bytes", "lost", "nodes", "oldest_ms", "tier", "waiting", "waiting_bytes"];
    assert_eq!(keys, all);
    let run = cluster.cairn("n1", ["load", "app/state", "--from", "global", "--timeout", "3s"]);
    assert!(run.code == 3 && message(&run.error()).contains("is not in the global tier"), "{run:?}");
    assert_eq!(store::metric(&cluster, "n1", "cairn_global_reached"), 0.0);
    assert_eq!(store::metric(&cluster, "n1", "cairn_global_backlog_versions"), 0.0);
    store::until_healthy(&cluster, "n1");
}

#[test]
fn what_cannot_be_a_tier_is_said_before_the_node_starts() {
    let dir = tempfile::tempdir().unwrap();
    let config = dir.path().join("cairnd.toml");
    let check = |name: &str, global: &str| {
        fs::write(&config, format!("[node]\nname = \"{name}\"\ndir = \"data\"\n[global]\n{global}\n")).unwrap();
        let mut command = Command::new(bins::cairnd());
        Run::of(command.args(["config", "check", "--config"]).arg(&config).stdin(Stdio::null()))
    };
    for (url, why) in [
        ("/srv/tier", "no URL"),
        ("srv/tier", "no URL"),
        ("ftp://somewhere/tier", "file:///FOLDER, s3://BUCKET/PREFIX"),
        ("file://somewhere/tier", "file:///FOLDER"),
        ("http://somewhere/tier", "no store that is known"),
        ("s3://key:secret@bucket/tier", "credentials do not belong into a URL"),
        ("s3://bucket/tier?aws_secret_access_key=secret", "aws_secret_access_key does not belong into a URL"),
        ("s3://bucket/tier?colour=red", "no option colour"),
        ("file:///srv/tier?region=us-east-1", "a folder has no options"),
    ] {
        let told = check("n1", &format!("url = \"{url}\"")).expect(78).stderr;
        assert!(told.contains("global.url") && told.contains(why), "{url}: {told}");
        assert!(told.contains("hint: ") && told.contains("docs/global.md"), "{url}: {told}");
    }
    for (global, why) in [
        ("archive = \"sometimes\"", "every:K"),
        ("archive = \"every:0\"", "every:K"),
        ("backups = \"0\"", "global.backups"),
        ("sweep_every = \"soon\"", "global.sweep_every"),
        ("uri = \"file:///srv/tier\"", "global.url"),
    ] {
        let told = check("n1", global).expect(78).stderr;
        assert!(told.contains(why), "{global}: {told}");
    }
    // As a source of bytes it would stand for the tier.
    assert!(check("global", "").expect(78).stderr.contains("global tier"));
    for url in [
        "",
        "file:///srv/tier",
        "s3://bucket",
        "s3://bucket/tier?endpoint=http://127.0.0.1:9000&region=us-east-1&allow_http=true",
        "s3://bucket/tier?aws_endpoint=https://127.0.0.1:9000&aws_region=eu-west-1",
    ] {
        check("n1", &format!("url = \"{url}\"")).expect(0);
    }
}
