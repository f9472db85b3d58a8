//! Every node is stopped and started in turn, as in an upgrade, while applications on all of them save: none of them notices more
//! than a wait.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use cairn_tests::cluster::gone;
use cairn_tests::wait::until;
use cairn_tests::{Cluster, Run, files, run};
use rustix::process::Signal;
use serde_json::Value;

const EXECUTORS: [&str; 3] = ["n1", "n2", "n3"];

/// What one application saved.
struct Saver {
    name: String,
    endpoint: String,
    file: PathBuf,
    /// How many of its saves were acknowledged.
    saves: AtomicU64,
}

impl Saver {
    fn new(cluster: &Cluster, node: &str) -> Self {
        let (name, file) = (format!("app/{node}"), cluster.scratch().join(format!("{node}.state")));
        Self { name, endpoint: cluster.node(node).endpoint, file, saves: AtomicU64::new(0) }
    }

    /// Saves again and again; what it saved last is in its file then.
    fn work(&self, scratch: &Path, ended: &AtomicBool) {
        while !ended.load(Ordering::Relaxed) {
            let number = self.saves.load(Ordering::Relaxed) + 1;
            let next = files::random(scratch, &format!("{}.next", self.name.replace('/', "-")), 100_000, number);
            // With the patience that every command has: no save fails.
            let saved = Run::of(run::cairn(&self.endpoint, ["save", &self.name]).arg(&next)).expect(0).json();
            assert_eq!(saved["version"], number, "each save made one version: {saved}");
            assert_eq!(saved["replicas"].as_array().map(Vec::len), Some(2), "{saved}");
            std::fs::rename(&next, &self.file).unwrap();
            self.saves.store(number, Ordering::Relaxed);
        }
    }
}

/// Whatever happens, the applications end.
struct Ending<'a>(&'a AtomicBool);

impl Drop for Ending<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

#[test]
fn a_rolling_restart_fails_no_save_and_loses_none() {
    let mut cluster = Cluster::start(3, 2);
    let savers: Vec<Saver> = EXECUTORS.iter().map(|node| Saver::new(&cluster, node)).collect();
    let (scratch, ended) = (cluster.scratch(), AtomicBool::new(false));
    let saved = |savers: &[Saver]| savers.iter().map(|saver| saver.saves.load(Ordering::Relaxed)).collect::<Vec<_>>();
    std::thread::scope(|scope| {
        let workers: Vec<_> = savers.iter().map(|saver| scope.spawn(|| saver.work(&scratch, &ended))).collect();
        let _ending = Ending(&ended);
        let leader = cluster.leader("n1");
        // Everybody once, and whoever led at first last: so the lead moves while all work.
        let mut order: Vec<&str> =
            ["n1", "n2", "n3", "s1", "s2"].into_iter().filter(|node| *node != leader).collect();
        order.push(&leader);
        for node in order {
            let before = saved(&savers);
            until("everybody saves", || {
                assert!(!workers.iter().any(|worker| worker.is_finished()), "a save failed");
                saved(&savers).iter().zip(&before).all(|(now, before)| now > before).then_some(())
            });
            let other = EXECUTORS.iter().find(|other| **other != node).unwrap();
            until("it may be stopped", || {
                (cluster.cairn(other, ["node", "check", node, "--maintenance"]).code == 0).then_some(())
            });
            let pid = cluster.node(node).pid;
            cluster.signal(node, Signal::TERM);
            until("it has ended", || gone(pid).then_some(()));
            cluster.revive(node);
        }
        let before = saved(&savers);
        until("everybody saves to the end", || {
            assert!(!workers.iter().any(|worker| worker.is_finished()), "a save failed");
            saved(&savers).iter().zip(&before).all(|(now, before)| now > before).then_some(())
        });
    });
    for saver in &savers {
        let shown = cluster.show("n2", &saver.name);
        assert_eq!(shown["head"], saver.saves.load(Ordering::Relaxed), "{shown}");
        assert_eq!((&shown["epoch"], &shown["under_replicated"]), (&Value::from(1), &Value::from(false)), "{shown}");
        let out = cluster.scratch().join("loaded");
        Run::of(cluster.command("n2", ["load", &saver.name, "--force", "--out"]).arg(&out)).expect(0);
        files::same(&out, &saver.file);
    }
}
