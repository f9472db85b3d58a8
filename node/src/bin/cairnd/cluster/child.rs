//! One node's process, which ends with this one.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};

use cairn_node::config::KEYS;
use cairn_store::node::NodeName;
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::Command;

use super::NodePlan;
use super::plan::is_shared;
use crate::failure::Failure;

/// A node's process. Dropped, it is killed.
pub(super) struct Child {
    pub(super) name: NodeName,
    pub(super) pid: u32,
    pub(super) log: PathBuf,
    process: tokio::process::Child,
    ended: Option<ExitStatus>,
}

impl Child {
    /// Starts the node. Must be called on the thread that lasts as long as this process.
    pub(super) fn spawn(program: &Path, node: &NodePlan, set: &[String]) -> Result<Self, Failure> {
        let opened = File::options().create(true).append(true).open(&node.log);
        let log = opened.map_err(Failure::io(node.log.display()))?;
        let errors = log.try_clone().map_err(Failure::io(node.log.display()))?;
        let mut command = Command::new(program);
        command
            .args(["start", "--die-with-parent", &std::process::id().to_string(), "--config"])
            .arg(&node.file)
            .args(set.iter().flat_map(|flag| ["--set", flag]))
            .stdin(Stdio::null())
            .stdout(log)
            .stderr(errors)
            // Ctrl-C is for this process; it ends the nodes in its own way.
            .process_group(0)
            .kill_on_drop(true);
        // Each node has a file of its own; what is set for all would make them all alike.
        for key in KEYS.iter().filter(|key| !is_shared(key)) {
            command.env_remove(key.variable());
        }
        let process = command.spawn().map_err(Failure::io(format!("cannot start node {}", node.name)))?;
        let pid = process.id().ok_or_else(|| Failure::new(format!("node {} ended at once", node.name)))?;
        Ok(Self { name: node.name.clone(), pid, log: node.log.clone(), process, ended: None })
    }

    pub(super) fn has_ended(&mut self) -> bool {
        if let Ok(Some(status)) = self.process.try_wait() {
            self.ended = Some(status);
        }
        self.ended.is_some()
    }

    /// How it ended, and its log's last line.
    pub(super) fn last_words(&self) -> String {
        let status = self.ended.map_or_else(|| "it runs".into(), |status| status.to_string());
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        match log.lines().rev().find(|line| line.starts_with("error:")) {
            // Its process is gone, so nobody else says it.
            Some(error) if self.ended.is_some_and(|status| !status.success()) => {
                format!("{status}; {}", error.trim_start_matches("error: "))
            }
            _ => status,
        }
    }

    pub(super) fn ask_to_end(&self) {
        // Not reaped yet, so the number is still this process's.
        if let Some(pid) = self.process.id().and_then(|pid| i32::try_from(pid).ok()).and_then(Pid::from_raw) {
            let _ = kill_process(pid, Signal::TERM);
        }
    }

    pub(super) async fn kill(mut self) {
        // Fails only if it is gone already.
        let _ = self.process.kill().await;
    }
}
