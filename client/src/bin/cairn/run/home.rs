//! The node of this machine, through which an agent saves and owns.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_client::api::{Code, Error, Hello};
use cairn_client::dial::Client;
use cairn_client::spool::Spool;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use tokio::time::{Instant, sleep};

use super::lock::Lock;
use crate::report::Report;

/// How long what an earlier agent ran may take to be killed.
const UNGUARDED_MAX: Duration = Duration::from_secs(20);
/// How often it is looked whether it is.
const LOOK: Duration = Duration::from_millis(20);

/// A node on this machine.
pub(super) struct Home {
    /// Its name.
    pub(super) node: NodeName,
    /// Its address, then the others that were given: any of them takes renewals.
    pub(super) endpoints: Vec<String>,
    spool: PathBuf,
}

impl Home {
    /// The first of these nodes that is on this machine. Those that do not answer in `patience` are passed over.
    pub(super) async fn find(endpoints: &[String], patience: Duration) -> Result<Self, Report> {
        let (mut stranger, mut silent) = (None, None);
        for endpoint in endpoints {
            let hello = match Client::new(vec![endpoint.clone()], patience).hello().await {
                Ok(hello) => hello,
                Err(error) => {
                    silent = Some(error);
                    continue;
                }
            };
            let Some(spool) = recognise(&hello)? else {
                stranger = Some(hello);
                continue;
            };
            if hello.role == Role::Storage {
                let message = format!("{} is a storage-only node: no application runs there", hello.node);
                return Err(Error::new(Code::Conflict, message).hint("see `cairn node ls`").into());
            }
            let others = endpoints.iter().filter(|other| *other != endpoint).cloned();
            let endpoints = std::iter::once(endpoint.clone()).chain(others).collect();
            return Ok(Self { node: hello.node, endpoints, spool: spool.dir().into() });
        }
        // One that may be here, and does not answer yet, may do so later.
        Err(match (silent, stranger) {
            (Some(error), _) => error.into(),
            (None, Some(hello)) => {
                let message = format!("{} is not on this machine: its spool is not here", hello.node);
                Report::invalid(
                    message,
                    "run the agent beside the node of its machine: see --endpoint and CAIRN_ENDPOINTS",
                )
            }
            (None, None) => Report::invalid("no endpoint to ask", "see --endpoint and CAIRN_ENDPOINTS"),
        })
    }

    /// Who asks this very node.
    pub(super) fn client(&self, timeout: Duration) -> Client {
        Client::new(self.endpoints.iter().take(1).cloned().collect(), timeout)
    }

    /// Who asks any of the nodes.
    pub(super) fn any(&self, timeout: Duration) -> Client {
        Client::new(self.endpoints.clone(), timeout)
    }

    /// Makes this process the one agent of a name on this node.
    pub(super) fn lock(&self, name: &Name) -> Result<Lock, Report> {
        let path = Lock::path(&self.spool, "run", name);
        let taken = Lock::take(&path).map_err(|error| {
            let message = format!("cannot lock {}: {error}", path.display());
            Report {
                hint: Some("this user needs write access to the node's spool".into()),
                ..Report::internal(message)
            }
        })?;
        taken.ok_or_else(|| {
            let message = format!("another agent runs {name} on {} already", self.node);
            Error::new(Code::Conflict, message).hint("one agent of a name on each node; see `ps`").into()
        })
    }

    /// Makes this process the one agent of a path, on whatever node.
    pub(super) fn lock_state(&self, state: &Path) -> Result<Lock, Report> {
        let mut name = OsString::from(".");
        name.push(state.file_name().unwrap_or_default());
        name.push(".agent");
        let path = state.with_file_name(name);
        let taken = Lock::take(&path).map_err(|error| {
            let message = format!("cannot lock {}: {error}", path.display());
            let hint = "this user needs write access to the folder of the state";
            Report { hint: Some(hint.into()), ..Report::internal(message) }
        })?;
        taken.ok_or_else(|| {
            let message = format!("another agent has its state at {} already", state.display());
            Error::new(Code::Conflict, message).hint("give each agent a path of its own").into()
        })
    }

    /// Waits until what an earlier agent of a name ran here is gone: until then its state is not to be touched.
    pub(super) async fn until_unguarded(&self, name: &Name) -> Result<(), Report> {
        let (path, start) = (self.guard_lock(name), Instant::now());
        loop {
            let taken = Lock::take(&path)
                .map_err(|error| Report::internal(format!("cannot lock {}: {error}", path.display())))?;
            if taken.is_some() {
                return Ok(());
            }
            if start.elapsed() >= UNGUARDED_MAX {
                let message = format!("what an earlier agent of {name} ran on {} is still there", self.node);
                return Err(Error::new(Code::Conflict, message).hint("see `ps`: its guard is killing it").into());
            }
            sleep(LOOK).await;
        }
    }

    /// The file that the guard of a name locks.
    pub(super) fn guard_lock(&self, name: &Name) -> PathBuf {
        Lock::path(&self.spool, "guard", name)
    }
}

fn recognise(hello: &Hello) -> Result<Option<Spool>, Report> {
    Spool::recognise(&hello.spool, hello.incarnation).map_err(|error| {
        let message = format!("cannot use the spool of {}, {}: {error}", hello.node, hello.spool.display());
        Report { hint: Some("this user needs access to it".into()), ..Report::internal(message) }
    })
}
