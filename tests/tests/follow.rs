//! One request, followed over all nodes by its id: in the owner's log, in each receiver's, in the loader's and in that
//! of the node that gives the bytes. As text, and as JSON.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use cairn_tests::wait::until;
use cairn_tests::{Cluster, files, prepared};
use serde_json::Value;

const ID: &str = "0198c0de-0000-7000-8000-00000000f01d";

/// The lines of a node's log that name the request and say this of it, once there are any.
fn lines(cluster: &Cluster, node: &str, id: &str, message: &str) -> Vec<String> {
    let path = cluster.node(node).dir.join("cairnd.log");
    until(&format!("{node} says {message:?} of {id}"), || {
        let log = std::fs::read_to_string(&path).unwrap();
        let said: Vec<_> = log.lines().filter(|l| l.contains(id) && l.contains(message)).map(str::to_owned).collect();
        (!said.is_empty()).then_some(said)
    })
}

/// Saves on n1, loads on n4, and shows each node's line of it to `check`.
fn follow(format: &str, check: impl Fn(&str, &str) -> String) -> Cluster {
    let every = ["n1", "n2", "n3", "n4"].map(|node| (node, "log.format", format));
    let cluster = prepared::start(4, 0, &every);
    let file = files::random(&cluster.scratch(), "state", 2 * files::BLOCK + 5, 1);
    let args = ["--request-id", ID, "--replicas", "2"];
    let mut save = cluster.command("n1", ["save".as_ref(), "app/state".as_ref(), file.as_os_str()]);
    let saved = cairn_tests::Run::of(save.args(args)).expect(0).json();
    check(&lines(&cluster, "n1", ID, "save begins")[0], ID);
    check(&lines(&cluster, "n1", ID, "save committed")[0], ID);
    let receivers: Vec<&str> =
        saved["replicas"].as_array().unwrap().iter().map(|r| r["node"].as_str().unwrap()).collect();
    assert_eq!(receivers.len(), 2);
    for receiver in &receivers {
        let said = lines(&cluster, receiver, ID, "a copy was received and is durable");
        assert_eq!(said.len(), 1, "{said:?}");
        check(&said[0], ID);
    }

    // Nobody has chosen this id: the loader's own line tells it.
    let loader = ["n2", "n3", "n4"].into_iter().find(|node| !receivers.contains(node)).unwrap();
    let loaded = cluster.cairn(loader, ["load", "app/state"]).expect(0).json();
    let line = &lines(&cluster, loader, "app/state", "loaded")[0];
    let id = check(line, "app/state");
    let giver = loaded["sources"][0]["node"].as_str().unwrap();
    check(&lines(&cluster, giver, &id, "a copy was given to a loader")[0], &id);
    cluster
}

#[test]
fn a_request_is_followed_through_the_logs_as_text() {
    follow("text", |line, part| {
        assert!(line.contains(" INFO ") && line.contains(part), "{line}");
        let (_, id) = line.split_once("request=").unwrap();
        id.split_whitespace().next().unwrap().to_owned()
    });
}

#[test]
fn a_request_is_followed_through_the_logs_as_json() {
    let parsed =
        |line: &str| -> Value { serde_json::from_str(line).unwrap_or_else(|e| panic!("not JSON ({e}): {line}")) };
    let cluster = follow("json", |line, part| {
        let line = parsed(line);
        assert_eq!(line["level"], "INFO", "{line}");
        let fields = &line["fields"];
        assert!(fields["request"] == part || fields["name"] == part, "{line}");
        fields["request"].as_str().unwrap().to_owned()
    });
    for node in cluster.nodes() {
        let log = std::fs::read_to_string(node.dir.join("cairnd.log")).unwrap();
        // The last line may be on its way.
        let (whole, _) = log.rsplit_once('\n').unwrap();
        whole.lines().for_each(|line| assert!(parsed(line).is_object(), "{line}"));
    }
}
