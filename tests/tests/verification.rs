//! Wrong bytes are never served: every byte is verified when it is received and when it is loaded.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

use cairn_tests::files::flip;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, Shared, files};
use serde_json::Value;

static CLUSTER: Shared = Shared::new(3, 1);

/// Three blocks and a bit.
const SIZE: u64 = 3 * files::BLOCK + 5;

/// A segment owned by n1 whose only other copy is on the storage node, which every loader asks first.
struct Subject {
    name: String,
    file: PathBuf,
    digest: String,
}

fn subject(cluster: &Cluster, name: &str) -> Subject {
    // Placement balances; sooner or later it is the storage node's turn.
    let mut attempt = 0;
    let (name, file) = until("the storage node is chosen", || {
        attempt += 1;
        let name = format!("{name}-{attempt}");
        let seed = u64::from_le_bytes(blake3::hash(name.as_bytes()).as_bytes()[..8].try_into().unwrap());
        let file = files::random(&cluster.scratch(), &name, SIZE, seed);
        let args = ["save".as_ref(), name.as_ref(), file.as_os_str(), "--replicas".as_ref(), "1".as_ref()];
        let saved = cluster.cairn("n1", args).expect(0).json();
        (saved["replicas"][0]["node"] == "s1").then_some((name, file))
    });
    Subject { digest: files::digest(&file), name, file }
}

impl Subject {
    fn copy(&self, cluster: &Cluster, node: &str) -> PathBuf {
        cluster.copy_on(node, &self.digest).unwrap()
    }

    fn out(&self, cluster: &Cluster) -> PathBuf {
        cluster.scratch().join(format!("{}.out", self.name))
    }

    /// Loads it, insists on the right bytes, and tells how many came from each of these nodes.
    fn load(&self, cluster: &Cluster, node: &str, from: [&str; 2]) -> [u64; 2] {
        let out = self.out(cluster);
        let args = ["load".as_ref(), self.name.as_ref(), "--out".as_ref(), out.as_os_str()];
        let loaded = cluster.cairn(node, args).expect(0).json();
        files::same(&self.file, &out);
        assert_eq!(loaded["digest"], self.digest);
        let sources = loaded["sources"].as_array().unwrap();
        let of = |name: &str| {
            sources.iter().filter(|s| s["node"] == name).map(|s| s["bytes"].as_u64().unwrap()).sum::<u64>()
        };
        let given = from.map(of);
        assert_eq!(given.iter().sum::<u64>(), SIZE, "{sources:?}");
        given
    }

    fn until_state(&self, cluster: &Cluster, node: &str, state: &str) {
        until(&format!("the copy on {node} is {state}"), || {
            let holders = cluster.holders("n2", &self.name);
            holders.contains(&(node.into(), state.into())).then_some(())
        });
    }
}

#[test]
fn a_flipped_bit_at_a_holder_is_found_and_another_source_goes_on() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "flipped");
    flip(&subject.copy(&cluster, "s1"), 2 * files::BLOCK + 77);
    // Two good blocks came before the bad one; they are not sent again.
    assert_eq!(subject.load(&cluster, "n2", ["s1", "n1"]), [2 * files::BLOCK, SIZE - 2 * files::BLOCK]);
    subject.until_state(&cluster, "s1", "corrupt");
    let shown = cluster.show("n3", &subject.name);
    assert_eq!(shown["under_replicated"], true);
    assert!(shown["waiting_for"].as_str().unwrap().contains("s1 is corrupt"), "{shown}");
    assert!(!subject.out(&cluster).with_extension("part").exists());
}

#[test]
fn a_flipped_bit_in_the_table_of_a_copy_is_found() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "table");
    let toc = subject.copy(&cluster, "s1").with_extension("toc");
    let middle = fs::metadata(&toc).unwrap().len() / 2;
    flip(&toc, middle);
    assert_eq!(subject.load(&cluster, "n2", ["s1", "n1"]), [0, SIZE]);
    subject.until_state(&cluster, "s1", "corrupt");
}

#[test]
fn a_copy_that_became_shorter_is_found() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "shorter");
    let copy = subject.copy(&cluster, "s1");
    fs::set_permissions(&copy, fs::Permissions::from_mode(0o644)).unwrap();
    fs::File::options().write(true).open(&copy).unwrap().set_len(SIZE - 1).unwrap();
    assert_eq!(subject.load(&cluster, "n2", ["s1", "n1"]), [0, SIZE]);
    subject.until_state(&cluster, "s1", "corrupt");
}

#[test]
fn a_flipped_bit_in_the_owners_own_copy_is_found() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "own");
    let own = subject.copy(&cluster, "n1");
    flip(&own, 0);
    let bad = files::digest(&own);
    assert_eq!(subject.load(&cluster, "n1", ["s1", "n1"]), [SIZE, 0]);
    // The good copy has taken the bad one's place with that; nothing else has to be asked for.
    let holders = cluster.holders("n2", &subject.name);
    assert!(holders.contains(&("n1".into(), "durable".into())), "{holders:?}");
    assert_eq!(cluster.show("n2", &subject.name)["under_replicated"], false);
    assert_ne!(subject.copy(&cluster, "n1"), own, "under another id");
    fs::remove_file(subject.out(&cluster)).unwrap();
    assert_eq!(subject.load(&cluster, "n1", ["s1", "n1"]), [0, SIZE]);
    let quarantine = cluster.node("n1").dir.join("quarantine");
    until("the bad copy is gone", || {
        let names = fs::read_dir(&quarantine).unwrap().map(|entry| entry.unwrap().path());
        let bad = |path: &PathBuf| files::digest_of(path).is_ok_and(|digest| digest == bad);
        names.into_iter().all(|path| !bad(&path)).then_some(())
    });
}

#[test]
fn the_loss_of_the_only_copy_is_told() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "only", SIZE, 77);
    let args = ["save".as_ref(), "only".as_ref(), file.as_os_str(), "--replicas".as_ref(), "0".as_ref()];
    cluster.cairn("n1", args).expect(0);
    flip(&cluster.copy_on("n1", &files::digest(&file)).unwrap(), 5);
    cluster.cairn("n1", ["load", "only"]).expect(6);
    let shown = cluster.show("n2", "only");
    assert_eq!(shown["under_replicated"], true, "{shown}");
    assert!(shown["waiting_for"].as_str().unwrap().contains("n1 is corrupt"), "{shown}");
    let told = || {
        let health = cluster.cairn("n3", ["cluster", "health"]).expect(1).json();
        // Beside those of other tests.
        let lost = |reason: &&Value| reason.to_string().contains("under-replicated, and no good copy is left");
        let told = health["reasons"].as_array().unwrap().iter().find(lost);
        assert!(told.is_some_and(|reason| reason.to_string().contains("version 1 of only")), "{health}");
    };
    told();

    // An older version that is kept is told of as well.
    cluster.cairn("n1", ["pin", "only", "--version", "1"]).expect(0);
    let next = files::random(&cluster.scratch(), "only-next", SIZE, 78);
    Run::of(cluster.command("n1", ["save", "only"]).arg(&next)).expect(0);
    assert_eq!(cluster.show("n2", "only")["under_replicated"], false);
    told();
}

#[test]
fn a_deleted_copy_is_missing() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "deleted");
    fs::remove_file(subject.copy(&cluster, "s1")).unwrap();
    assert_eq!(subject.load(&cluster, "n2", ["s1", "n1"]), [0, SIZE]);
    subject.until_state(&cluster, "s1", "missing");
}

#[test]
fn a_deleted_copy_is_found_missing_before_anybody_asks_for_it() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "unasked");
    fs::remove_file(subject.copy(&cluster, "s1")).unwrap();
    subject.until_state(&cluster, "s1", "missing");
}

#[test]
fn when_no_copy_verifies_nothing_is_delivered() {
    let cluster = CLUSTER.get();
    let subject = subject(&cluster, "lost");
    for node in ["n1", "s1"] {
        flip(&subject.copy(&cluster, node), SIZE - 1);
    }
    let out = subject.out(&cluster);
    for node in ["n2", "n1"] {
        let args = ["load".as_ref(), subject.name.as_ref(), "--out".as_ref(), out.as_os_str()];
        let failed = cluster.cairn(node, args).expect(6);
        assert!(failed.stdout.is_empty());
        let error = failed.error();
        assert_eq!((&error["code"], &error["retryable"]), (&"corrupt".into(), &false.into()), "{error}");
    }
    let piped = cluster.cairn("n3", ["load", &subject.name, "--out", "-"]).expect(6);
    assert!(piped.stdout.is_empty(), "not a byte that does not verify");
    assert!(!out.exists());
    subject.until_state(&cluster, "n1", "corrupt");
    subject.until_state(&cluster, "s1", "corrupt");
    for node in ["n2", "n1"] {
        let error = cluster.cairn(node, ["load", &subject.name]).expect(6).error();
        let message = error["message"].as_str().unwrap();
        for holder in ["n1: ", "s1: "] {
            let told = message.split(holder).nth(1).unwrap_or_default().split(';').next().unwrap();
            assert!(told.contains("in quarantine"), "{holder}{message}");
        }
    }
    let health = cluster.cairn("n3", ["cluster", "health"]).expect(1).json();
    let reasons = health["reasons"].as_array().unwrap();
    assert!(reasons.iter().any(|r: &Value| r.as_str().unwrap().contains("corrupt")), "{reasons:?}");
}
