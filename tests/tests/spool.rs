//! An application, a process of its own, puts its state into its node's local storage and registers it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeMap;
use std::fs;
use std::io::Write;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use cairn_client::api::{Code, Progress, SaveRequest, Saved};
use cairn_client::dial::Client;
use cairn_client::fault::Fault;
use cairn_client::request;
use cairn_client::save::{SaveOptions, Source};
use cairn_client::spool::Spooled;
use cairn_store::segment::{Ack, Kind};
use cairn_tests::wait::until;
use cairn_tests::{Cluster, NodeProcess, Run, Shared, bins, files};
use rustix::process::Signal;

static CLUSTER: Shared = Shared::new(4, 1);

fn over_tcp(node: &NodeProcess) -> Client {
    Client::new(vec![node.endpoint.clone()], Duration::from_secs(30))
}

fn over_unix(node: &NodeProcess) -> Client {
    Client::new(vec![format!("unix:{}", node.dir.join("cairnd.sock").display())], Duration::from_secs(30))
}

fn copying(path: &Path) -> Source {
    Source::File { path: path.into(), take: false }
}

/// That `saved` is `file`, on its owner and on every replica, each with a copy of its own.
fn is_kept(cluster: &Cluster, saved: &Saved, file: &Path, replicas: usize) {
    assert_eq!(saved.digest.to_string(), files::digest(file));
    assert_eq!((saved.owner.as_ref().unwrap().as_str(), saved.replicas.len()), ("n1", replicas));
    let nodes = saved.replicas.iter().map(|r| r.node.as_str()).chain([saved.owner.as_ref().unwrap().as_str()]);
    for node in nodes {
        let copy = cluster.copy_on(node, &saved.digest.to_string());
        files::same(&copy.unwrap_or_else(|| panic!("no copy on {node}")), file);
    }
}

fn is_tidy(cluster: &Cluster, node: &str, before: &[String]) {
    let left: Vec<_> = cluster.spooled(node).into_iter().filter(|name| !before.contains(name)).collect();
    assert_eq!(left, [""; 0], "the spool of {node} is not tidy");
}

#[tokio::test]
async fn a_program_saves_over_the_unix_socket() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "over-unix", 3_000_001, 1);
    let client = over_unix(&cluster.node("n1"));
    let saved = client.save(SaveOptions::new("over/unix".parse().unwrap(), copying(&file))).await.unwrap();
    is_kept(&cluster, &saved, &file, 2);
    assert!(file.exists(), "a copy was asked for");
}

#[tokio::test]
async fn a_program_saves_over_loopback_tcp() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "over-tcp", 3_000_001, 2);
    let client = over_tcp(&cluster.node("n1"));
    let saved = client.save(SaveOptions::new("over/tcp".parse().unwrap(), copying(&file))).await.unwrap();
    is_kept(&cluster, &saved, &file, 2);
    let shown = client.show(&"over/tcp".parse().unwrap()).await.unwrap();
    assert_eq!((shown.segment, shown.summary.head), (saved.segment, Some(saved.version)));
}

#[tokio::test]
async fn a_program_writes_straight_into_local_storage_and_registers_what_lies_there() {
    let cluster = CLUSTER.get();
    let client = over_unix(&cluster.node("n1"));
    let spool = client.spool().await.unwrap();
    assert_eq!(spool.dir(), cluster.node("n1").dir.join("spool"));
    let bytes = fs::read(files::random(&cluster.scratch(), "straight", 2_345_678, 3)).unwrap();

    let mut file = spool.writer().unwrap();
    file.write_all(&bytes).unwrap();
    let spooled = file.commit();
    let (path, inode) = (spooled.path().to_owned(), fs::metadata(spooled.path()).unwrap().ino());
    assert!(cluster.spooled("n1").contains(&spooled.name().to_owned()));
    let saved = client.save(SaveOptions::new("straight".parse().unwrap(), Source::Spooled(spooled))).await.unwrap();

    is_kept(&cluster, &saved, &cluster.scratch().join("straight"), 2);
    assert!(!path.exists(), "it is the service's now");
    let own = cluster.copy_on("n1", &saved.digest.to_string()).unwrap();
    assert_eq!(fs::metadata(own).unwrap().ino(), inode, "the very file became the owner's copy");
}

/// A save of `spooled` through the node at the other end, whoever's spool it is in.
async fn ask_for(client: &Client, name: &str, file: &str) -> Result<Saved, cairn_client::api::Error> {
    let request = SaveRequest {
        request: request::new_id(),
        wait: Duration::from_secs(30),
        name: name.parse().unwrap(),
        file: file.into(),
        kind: Kind::File,
        replicas: 1,
        ack: Ack::All,
        keep: 2,
        if_version: None,
        epoch: None,
        labels: BTreeMap::new(),
        archive: None,
    };
    loop {
        let ask = |rpc: cairn_client::api::CairnClient, context| {
            let request = request.clone();
            async move { rpc.save(context, request).await }
        };
        if let Progress::Done(saved) = client.call(true, ask).await? {
            return Ok(saved);
        }
    }
}

async fn spooled_on(client: &Client, bytes: &[u8]) -> Spooled {
    let mut file = client.spool().await.unwrap().writer().unwrap();
    file.write_all(bytes).unwrap();
    file.commit()
}

#[tokio::test]
async fn local_storage_belongs_to_its_node_alone() {
    let cluster = CLUSTER.get();
    let (one, two) = (over_tcp(&cluster.node("n1")), over_tcp(&cluster.node("n2")));
    let spooled = spooled_on(&one, b"of n1").await;
    let absolute = spooled.path().to_str().unwrap().to_owned();
    let beside = format!("../../n1/spool/{}", spooled.name());
    for file in [spooled.name(), &absolute, &beside, "..", ".node", "", "../cairnd.toml"] {
        let refused = ask_for(&two, "not/of-n2", file).await.unwrap_err();
        assert_eq!(refused.code, Code::Invalid, "{file:?}: {refused}");
        assert!(refused.hint.is_some());
    }
    cluster.cairn("n2", ["show", "not/of-n2"]).expect(3);
    let saved = ask_for(&one, "of/n1", spooled.name()).await.unwrap();
    assert_eq!((saved.owner.as_ref().unwrap().as_str(), saved.size), ("n1", 5));
}

#[test]
fn a_shell_saves() {
    let cluster = CLUSTER.get();
    let before = cluster.spooled("n3");
    let file = files::random(&cluster.scratch(), "by-shell", 1_500_000, 4);
    let script = r#"cairn save jobs/nightly "$FILE" --label app=shell && cairn -o json show jobs/nightly"#;
    let path = format!("{}:/usr/bin:/bin", bins::cairn().parent().unwrap().display());
    let mut shell = Command::new("sh");
    shell.args(["-euc", script]).env("PATH", path).env("FILE", &file);
    shell.env("CAIRN_ENDPOINTS", &cluster.node("n3").endpoint).env_remove("CAIRN_EPOCH");
    let run = Run::of(&mut shell).expect(0);
    let text = run.text();
    let (table, json) = text.split_once('{').unwrap();
    assert!(table.contains(&files::digest(&file)) && table.contains("n3"), "{table}");
    let shown: serde_json::Value = serde_json::from_str(&format!("{{{json}")).unwrap();
    assert_eq!((&shown["owner"], &shown["head"]), (&"n3".into(), &1.into()));
    assert_eq!(shown["labels"], serde_json::json!({"app": "shell"}));
    assert!(file.exists());
    is_tidy(&cluster, "n3", &before);
}

#[test]
fn what_is_moved_is_taken_and_not_copied() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "moved", 1_234_567, 5);
    let (digest, inode) = (files::digest(&file), fs::metadata(&file).unwrap().ino());
    let run = cluster.cairn("n1", ["save".as_ref(), "moved".as_ref(), file.as_os_str(), "--move".as_ref()]);
    assert_eq!(run.expect(0).json()["digest"], digest);
    assert!(!file.exists(), "it was to be moved");
    let own = cluster.copy_on("n1", &digest).unwrap();
    assert_eq!(fs::metadata(own).unwrap().ino(), inode, "the very file became the owner's copy");
}

#[test]
fn a_move_that_is_asked_for_again_has_the_same_result() {
    let cluster = CLUSTER.get();
    let path = cluster.scratch().join("again");
    let save_as = |id| {
        let mut command = cluster.command("n1", ["save", "again", "--move", "--request-id", id]);
        Run::of(command.arg(&path))
    };
    let save = || save_as("nightly");
    let keys =
        |saved: serde_json::Value| (saved["version"].clone(), saved["segment"].clone(), saved["digest"].clone());
    let missing = save_as("too early").expect(1).error();
    assert!(missing["message"].as_str().unwrap().contains("No such file"), "{missing}");
    files::random(&cluster.scratch(), "again", 1_234_567, 9);
    // A refusal is the last word on its request.
    let refused = save_as("too early").expect(4).error();
    assert!(refused["message"].as_str().unwrap().contains("was refused before"), "{refused}");
    assert!(path.exists());
    let first = keys(save().expect(0).json());
    assert!(!path.exists());
    assert_eq!(keys(save().expect(0).json()), first);
    // The same id for other bytes would be silently lost.
    let other = files::random(&cluster.scratch(), "again", 1_234_567, 10);
    let digest = files::digest(&other);
    let error = save().expect(4).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"conflict".into(), &"none".into()), "{error}");
    assert_eq!(files::digest(&other), digest);
    assert_eq!(cluster.show("n2", "again")["head"], 1);
}

#[test]
fn what_was_moved_comes_back_when_the_save_fails() {
    let cluster = CLUSTER.get();
    let before = cluster.spooled("n2");
    let file = files::random(&cluster.scratch(), "given-back", 1_234_567, 6);
    let (digest, seen) = (files::digest(&file), fs::metadata(&file).unwrap());
    let args = ["save".as_ref(), "given/back".as_ref(), file.as_os_str(), "--move".as_ref()];
    let mut command = cluster.command("n2", args);
    let error = Run::of(command.args(["--replicas", "7"])).expect(7).error();
    assert_eq!((&error["code"], &error["outcome"]), (&"durability".into(), &"none".into()));
    let now = fs::metadata(&file).unwrap();
    assert_eq!((now.ino(), now.mode(), now.gid()), (seen.ino(), seen.mode(), seen.gid()));
    assert_eq!(files::digest(&file), digest);
    is_tidy(&cluster, "n2", &before);
    cluster.cairn("n2", ["show", "given/back"]).expect(3);
}

#[test]
fn what_was_to_be_moved_is_not_lost_with_its_client() {
    let cluster = Cluster::start(3, 0);
    let file = files::random(&cluster.scratch(), "killed", 1_234_567, 12);
    let digest = files::digest(&file);
    // A target that says nothing keeps the save from its end.
    cluster.signal("n3", Signal::STOP);
    let mut command = cluster.command("n1", ["save", "killed", "--move"]);
    let mut client = command.arg(&file).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the save begins", || (!cluster.spooled("n1").is_empty()).then_some(()));
    client.kill().unwrap();
    client.wait().unwrap();
    assert_eq!(files::digest(&file), digest);
    cluster.signal("n3", Signal::CONT);
}

/// A save by a client that sees another machine's file system looks like this to the client: the spool that the node
/// tells of is not there, or belongs to another node.
#[tokio::test]
async fn an_application_on_another_machine_is_told_where_to_save() {
    let cluster = Cluster::start(1, 0);
    let node = cluster.node("n1");
    let file = files::random(&cluster.scratch(), "far", 1000, 7);
    let mark = node.dir.join("spool/.node");
    let right = fs::read_to_string(&mark).unwrap();
    fs::remove_file(&mark).unwrap();
    for foreign in [None, Some(uuid::Uuid::now_v7().to_string()), Some(String::new()), Some("x".repeat(1 << 16))] {
        if let Some(text) = foreign {
            fs::write(&mark, text).unwrap();
        }
        let args = ["save".as_ref(), "far".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
        let error = cluster.cairn("n1", args).expect(2).error();
        assert!(error["hint"].as_str().unwrap().contains("--endpoint"), "{error}");
        assert_eq!((&error["code"], &error["outcome"]), (&"invalid".into(), &"none".into()));
        let options = SaveOptions { replicas: 0, ..SaveOptions::new("far".parse().unwrap(), copying(&file)) };
        let fault = over_unix(&node).save(options).await.unwrap_err();
        assert!(matches!(&fault, Fault::Request(error) if error.code == Code::Invalid), "{fault}");
        cluster.cairn("n1", ["show", "far"]).expect(3);
    }
    // The same save succeeds once the storage is the node's own again.
    fs::write(&mark, right).unwrap();
    let args = ["save".as_ref(), "far".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", args).expect(0);
}

#[test]
fn an_application_that_dies_leaves_the_service_as_it_was() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "dies", 64 << 20, 8);
    let mut command = cluster.command("n4", ["save".as_ref(), "dies".as_ref(), file.as_os_str()]);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap();
    until("the application has begun", || (!cluster.spooled("n4").is_empty()).then_some(()));
    child.kill().unwrap();
    child.wait().unwrap();
    // Whether the service was asked already or not: it answers, and the name can be used.
    let args = ["save".as_ref(), "dies".as_ref(), file.as_os_str()];
    let saved = cluster.cairn("n4", args).expect(0).json();
    assert_eq!(saved["digest"], files::digest(&file));
    assert!([1, 2].map(serde_json::Value::from).contains(&saved["version"]), "{saved}");
}
