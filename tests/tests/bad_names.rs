//! Names that are no names: refused as a usage error, by every command, and nothing comes of it.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;

use cairn_tests::{Cluster, Run, Shared, files};

static CLUSTER: Shared = Shared::new(1, 0);

const ODD: &str = "A-1/b_2/c.3/x..y/9";

fn bad_names() -> Vec<OsString> {
    let texts = [
        "",
        "/",
        "/etc/passwd",
        "a/",
        "a//b",
        ".",
        "..",
        "../a",
        "a/..",
        "a/../b",
        ".hidden",
        "a/.b",
        "a/-b",
        "a b",
        "a\nb",
        "a\u{7f}b",
        "a\u{1b}[31mb",
        "\t",
        "naïve",
        "a:b",
        "a\\b",
        "*",
        "a%2e%2e",
        "a\u{202e}b",
        "日本",
    ];
    let mut names: Vec<OsString> = texts.iter().map(OsString::from).collect();
    names.push("n".repeat(256).into());
    names.push("a/".repeat(200).into());
    names.push(OsString::from_vec(b"not\xff\xfeutf-8".to_vec()));
    names.push(OsString::from_vec(vec![0xc3, 0x28]));
    names
}

fn assert_refused(run: Run, name: &OsStr) {
    assert_eq!(run.code, 2, "{name:?}: {run:?}");
    assert!(run.stdout.is_empty(), "{name:?}: {run:?}");
    let error = run.error();
    assert_eq!((&error["code"], &error["outcome"]), (&"invalid".into(), &"none".into()), "{name:?}");
    assert_eq!(error["retryable"], false);
    assert!(!run.stderr.contains('\u{1b}'), "what was typed does not reach the terminal as it is");
}

fn source(cluster: &Cluster) -> PathBuf {
    files::random(&cluster.scratch(), "state", 1000, 1)
}

#[test]
fn no_command_takes_a_bad_name() {
    let cluster = CLUSTER.get();
    let (file, endpoint) = (source(&cluster), cluster.node("n1").endpoint);
    for name in bad_names() {
        let (name, file) = (name.as_os_str(), file.as_os_str());
        let words = |words: &[&str]| words.iter().map(OsString::from).collect::<Vec<_>>();
        let commands: [(Vec<OsString>, Vec<OsString>); 7] = [
            (words(&["save"]), vec![file.into(), "--replicas".into(), "0".into()]),
            (words(&["load"]), vec![]),
            (words(&["show"]), vec![]),
            (words(&["history"]), vec![]),
            (words(&["rm", "--yes"]), vec![]),
            (words(&["claim"]), vec![]),
            (words(&["release", "--epoch", "1"]), vec![]),
        ];
        for (before, after) in commands {
            let args = before.into_iter().chain([name.to_owned()]).chain(after);
            assert_refused(Run::of(&mut cairn_tests::run::cairn(&endpoint, args)), name);
        }
    }
    let good = ["good/name", &"n".repeat(255), ODD, "0"];
    let listed = cluster.cairn("n1", ["ls"]).expect(0).json();
    let names = listed["segments"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap().to_owned());
    assert_eq!(names.filter(|name| !good.contains(&name.as_str())).collect::<Vec<_>>(), [""; 0]);
}

#[test]
fn the_longest_and_the_oddest_good_names_work() {
    let cluster = CLUSTER.get();
    let file = source(&cluster);
    for name in ["n".repeat(255), ODD.into(), "0".into()] {
        let args = ["save".as_ref(), name.as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
        assert_eq!(cluster.cairn("n1", args).expect(0).json()["name"], name);
        assert_eq!(cluster.show("n1", &name)["name"], name);
        cluster.cairn("n1", ["rm", &name, "--yes"]).expect(0);
    }
}

#[test]
fn a_bad_node_name_is_a_usage_error_too() {
    let cluster = CLUSTER.get();
    for node in ["", "../n1", "n 1", "-n", &"n".repeat(64)] {
        let on = format!("--on={node}");
        assert_refused(cluster.cairn("n1", ["load", "a", &on]), node.as_ref());
        let owner = format!("--owner={node}");
        assert_refused(cluster.cairn("n1", ["ls", &owner]), node.as_ref());
    }
}

#[test]
fn a_name_never_becomes_a_path_on_a_server() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "pathless", 1000, 2);
    let args = ["save".as_ref(), "good/name".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", args).expect(0);
    let node = cluster.node("n1").dir;
    let mut folders = vec![node.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let name = entry.file_name().into_string().unwrap();
            assert!(name != "good" && name != "name", "{}", entry.path().display());
            if entry.path().is_dir() {
                folders.push(entry.path());
            }
        }
    }
}
