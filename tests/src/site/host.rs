//! One node: where it lies, how it is started, and its process.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context, ensure};
use cairn_client::dial::Client;
use cairn_store::node::{NodeName, Role};
use rustix::process::{Pid, Signal, kill_process};

use crate::bins;
use crate::cluster::gone;
use crate::wait::{until, within};

/// How long a node may take to end by itself.
const END: Duration = Duration::from_secs(30);
/// How much of a log its last words are, in lines.
const WORDS: usize = 12;

/// Where a node listens, and the host that it tells others.
#[derive(Clone, Debug)]
pub struct Addresses {
    /// The service, as clients reach it.
    pub rpc: String,
    /// The data plane.
    pub data: String,
    /// Health and metrics.
    pub http: String,
    /// If that is not loopback.
    pub advertise: Option<String>,
}

/// One node.
pub struct Host {
    /// Its name.
    pub name: NodeName,
    /// What it may be asked to do.
    pub role: Role,
    /// Where it listens.
    pub addresses: Addresses,
    /// Its folder.
    pub dir: PathBuf,
    /// What stands before the program on the command line.
    pub before: Vec<OsString>,
    /// What every process of it has in its environment.
    pub env: Vec<(String, String)>,
    place: PathBuf,
    process: Process,
    /// Where in its log the words of the newest process begin.
    words_at: u64,
}

enum Process {
    None,
    Own(Child),
    /// Of a parent that is not us.
    Other(i32),
}

/// Which kind of counter of a node's `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Sort {
    /// Bytes that `sendfile` sent.
    Sendfile,
    /// Bytes that went past the page cache.
    Direct,
}

impl Sort {
    fn metric(self) -> &'static str {
        match self {
            Self::Sendfile => "cairn_sendfile_bytes_total",
            Self::Direct => "cairn_direct_write_bytes_total",
        }
    }
}

impl Host {
    /// Writes its configuration into `root/<name>`; its folder is `node_dir` there.
    pub(super) fn new(
        root: &Path,
        name: NodeName,
        role: Role,
        addresses: Addresses,
        settings: &[(&str, &str)],
        node_dir: &str,
    ) -> anyhow::Result<Self> {
        let place = root.join(name.as_str());
        let all = |address: &str| match (&addresses.advertise, address.rsplit_once(':')) {
            (Some(_), Some((_, port))) => format!("0.0.0.0:{port}"),
            _ => address.to_owned(),
        };
        let mut keys = BTreeMap::from([
            ("node.name", name.to_string()),
            ("node.role", role.to_string()),
            ("node.zone", format!("zone-of-{name}")),
            ("node.dir", node_dir.to_owned()),
            ("listen.rpc", all(&addresses.rpc)),
            ("listen.data", all(&addresses.data)),
            ("listen.http", all(&addresses.http)),
        ]);
        keys.extend(addresses.advertise.iter().map(|host| ("node.advertise", host.clone())));
        keys.extend(addresses.advertise.iter().map(|_| ("listen.insecure", "true".to_owned())));
        keys.extend(settings.iter().map(|(key, value)| (*key, (*value).to_owned())));
        let value = |key: &str, value: &str| match key {
            "listen.insecure" => format!("{key} = {value}\n"),
            _ => format!("{key} = \"{value}\"\n"),
        };
        let text: String = keys.iter().map(|(key, text)| value(key, text)).collect();
        fs::create_dir_all(&place)?;
        fs::write(place.join("cairnd.toml"), text)?;
        let dir = place.join(node_dir).components().collect();
        let (before, env) = (Vec::new(), Vec::new());
        Ok(Self { name, role, addresses, dir, before, env, place, process: Process::None, words_at: 0 })
    }

    /// A host whose network is its own.
    ///
    /// # Errors
    /// A configuration that cannot be written.
    pub fn apart(
        root: &Path,
        name: NodeName,
        role: Role,
        address: &str,
        before: Vec<OsString>,
        settings: &[(&str, &str)],
    ) -> anyhow::Result<Self> {
        let at = |port: u16| format!("{address}:{port}");
        let advertise = Some(address.to_owned());
        let addresses = Addresses { rpc: at(7420), data: at(7421), http: at(7422), advertise };
        Ok(Self { before, ..Self::new(root, name, role, addresses, settings, ".")? })
    }

    /// `cairnd VERB --config …`, where the node lives.
    pub fn cairnd(&self, verb: &str) -> Command {
        let mut words = self.before.iter().cloned().chain([bins::cairnd().into_os_string()]);
        let mut command = Command::new(words.next().unwrap_or_default());
        command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH");
        command.args(words).arg(verb).arg("--config").arg(self.place.join("cairnd.toml"));
        command
    }

    /// Starts its process, which ends with this thread.
    ///
    /// # Errors
    /// It cannot be started.
    pub fn spawn(&mut self, env: &[(&str, &str)]) -> anyhow::Result<()> {
        ensure!(!self.runs(), "{} runs already", self.name);
        let log = fs::File::options().create(true).append(true).open(self.log())?;
        self.words_at = log.metadata()?.len();
        let mut command = self.cairnd("start");
        command.args(["--die-with-parent", &std::process::id().to_string()]);
        command.envs(self.env.iter().map(|(key, value)| (key, value))).envs(env.iter().copied());
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log);
        self.process = Process::Own(command.spawn().with_context(|| format!("cannot start {}", self.name))?);
        Ok(())
    }

    /// A process that somebody else started.
    pub(super) fn adopt(&mut self, pid: i32) {
        self.process = Process::Other(pid);
    }

    /// Its process, while it runs.
    pub fn pid(&self) -> Option<i32> {
        match &self.process {
            Process::None => None,
            Process::Own(child) => i32::try_from(child.id()).ok(),
            Process::Other(pid) => Some(*pid),
        }
    }

    /// Whether it has a process, which may have ended since: [`Host::ended`] tells.
    pub fn runs(&self) -> bool {
        !matches!(self.process, Process::None)
    }

    /// How its process ended, if it just did. Told once.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        let status = match &mut self.process {
            Process::None => None,
            Process::Own(child) => child.try_wait().ok().flatten(),
            // How is only told to its parent.
            Process::Other(pid) => gone(*pid).then(ExitStatus::default),
        }?;
        self.process = Process::None;
        Some(status)
    }

    /// Sends its process a signal.
    pub fn signal(&self, signal: Signal) {
        if let Some(pid) = self.pid().and_then(Pid::from_raw) {
            let _ = kill_process(pid, signal);
        }
    }

    pub(super) fn send_kill(&self) {
        self.signal(Signal::KILL);
    }

    /// Kills its process, and waits until it is gone.
    pub fn kill(&mut self) {
        self.send_kill();
        match std::mem::replace(&mut self.process, Process::None) {
            Process::None => {}
            Process::Own(mut child) => drop(child.wait()),
            Process::Other(pid) => until("the node is gone", || gone(pid).then_some(())),
        }
    }

    /// Asks it to end, and waits for it.
    ///
    /// # Errors
    /// It does not, or ends with an error.
    pub fn stop(&mut self) -> anyhow::Result<()> {
        self.signal(Signal::TERM);
        let status = within(END, "the node has ended", || match self.runs() {
            true => Ok(self.ended()),
            false => Ok(Some(ExitStatus::default())),
        });
        let status = status.with_context(|| self.name.clone())?;
        ensure!(status.success(), "{} ended with {status}: {}", self.name, self.last_words());
        Ok(())
    }

    /// Waits until all of its threads stand still, in whatever they are doing: what an fsync has begun, it has ended.
    ///
    /// # Errors
    /// They do not.
    pub fn hold(&self) -> anyhow::Result<()> {
        self.signal(Signal::STOP);
        let Some(pid) = self.pid() else { return Ok(()) };
        within(END, "every thread stands still", || {
            let tasks = fs::read_dir(format!("/proc/{pid}/task"))?;
            let still = tasks.flatten().all(|task| {
                let stat = fs::read_to_string(task.path().join("stat")).unwrap_or_default();
                // A thread that has just gone is as still as can be.
                stat.is_empty() || stat.rsplit(") ").next().is_some_and(|rest| rest.starts_with(['T', 'Z', 'X']))
            });
            Ok(still.then_some(()))
        })
    }

    /// A client of this node alone.
    pub fn client(&self, timeout: Duration) -> Client {
        Client::new(vec![self.addresses.rpc.clone()], timeout)
    }

    /// What its processes told.
    pub fn log(&self) -> PathBuf {
        self.place.join("cairnd.log")
    }

    /// What its newest process told.
    pub fn words(&self) -> String {
        let mut told = Vec::new();
        if let Ok(mut log) = fs::File::open(self.log()) {
            let _ = log.seek(SeekFrom::Start(self.words_at)).and_then(|_| log.read_to_end(&mut told));
        }
        String::from_utf8_lossy(&told).into_owned()
    }

    /// The end of that.
    pub fn last_words(&self) -> String {
        let told = self.words();
        let lines: Vec<&str> = told.lines().collect();
        lines[lines.len().saturating_sub(WORDS)..].join("\n")
    }

    /// What it counted since it was started; 0 if it does not answer.
    pub fn counted(&self, sort: Sort) -> u64 {
        let text = get(&self.addresses.http, "/metrics").unwrap_or_default();
        let line = text.lines().find_map(|line| line.strip_prefix(sort.metric()));
        line.and_then(|value| value.trim().parse::<f64>().ok()).map_or(0, |value| value as u64)
    }
}

/// The body of an HTTP answer.
fn get(address: &str, path: &str) -> anyhow::Result<String> {
    let limit = Some(Duration::from_secs(3));
    let mut stream = TcpStream::connect_timeout(&address.parse()?, Duration::from_secs(1))?;
    stream.set_read_timeout(limit)?;
    stream.set_write_timeout(limit)?;
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n").as_bytes())?;
    let mut text = String::new();
    stream.read_to_string(&mut text)?;
    Ok(text)
}
