//! Which nodes, where, on which ports.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::time::Duration;

use cairn_node::config::{Config, KEYS, Key};
use cairn_node::env::Rng;
use cairn_node::env::real::SystemRng;
use cairn_store::node::{NodeName, Role};

use super::earlier;
use crate::failure::{Failure, USAGE};
use crate::{durable, folder};

/// The first port unless another is chosen: where clients look by default.
const BASE_PORT: u16 = 7420;
/// Ports of one node.
pub(super) const PORTS: u16 = 3;
/// Where free ports are looked for: below those that the kernel gives to connections.
const FREE_PORTS: std::ops::Range<u64> = 10_000..32_000;
const FREE_TRIES: u32 = 200;
/// How often, and how long, to wait for the ports that a cluster keeps.
const PORT_TRIES: u32 = 20;
const PORT_PAUSE: Duration = Duration::from_millis(100);

/// Which ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum BasePort {
    /// Those that the folder has already, else the default.
    Default,
    /// From this one on.
    At(u16),
    /// Any that are free.
    Free,
}

/// What is asked for.
pub(crate) struct Wish<'a> {
    pub(crate) dir: &'a Path,
    pub(crate) executors: u16,
    pub(crate) storage: u16,
    pub(crate) base: BasePort,
    /// `node.capacity` of new executors, in bytes, if not the default.
    pub(crate) capacity: Option<u64>,
    /// What is set of every node's configuration, as `KEY=VALUE`.
    pub(crate) set: &'a [String],
}

/// All nodes, executors first.
pub(crate) struct Plan {
    pub(crate) dir: PathBuf,
    pub(crate) nodes: Vec<NodePlan>,
    /// What is set of every node's configuration while this process runs.
    pub(crate) set: Vec<String>,
    /// Whether the folder says which ports.
    settled: bool,
    /// Keeps other clusters out of the folder.
    lock: Option<File>,
}

/// One node.
#[derive(Clone)]
pub(crate) struct NodePlan {
    pub(crate) name: NodeName,
    pub(crate) role: Role,
    pub(crate) zone: String,
    pub(crate) rpc: String,
    pub(crate) data: String,
    pub(crate) http: String,
    /// Its folder.
    pub(crate) dir: PathBuf,
    /// Its configuration.
    pub(crate) file: PathBuf,
    /// What it tells.
    pub(crate) log: PathBuf,
    /// The configuration's text, unless the file is there.
    draft: Option<String>,
}

impl NodePlan {
    /// Its configuration.
    pub(crate) fn config(&self) -> Result<Config, Failure> {
        read(&self.file)
    }
}

impl Plan {
    /// Plans the nodes. Nothing is written yet.
    pub(crate) fn make(wish: &Wish<'_>) -> Result<Self, Failure> {
        let Wish { executors, storage, base, capacity, set, .. } = *wish;
        check_shareable(set)?;
        let no_path = |e| Failure::new(format!("--dir: {e}")).exit(USAGE).hint("name a folder");
        let dir = std::path::absolute(wish.dir).map_err(no_path)?;
        let lock = earlier::lock(&dir)?;
        let names: Vec<(String, Role)> = (1..=executors)
            .map(|n| (format!("n{n}"), Role::Executor))
            .chain((1..=storage).map(|n| (format!("s{n}"), Role::Storage)))
            .collect();
        let known = earlier::base(&dir, &names)?;
        let base = choose_base(base, known, executors + storage, &dir)?;
        let mut nodes = Vec::new();
        for ((name, role), index) in names.into_iter().zip(0..) {
            let capacity = capacity.filter(|_| role == Role::Executor);
            nodes.push(plan_node(&dir, &name, role, base, index, capacity, set)?);
        }
        Ok(Self { dir, nodes, set: set.to_vec(), settled: known.is_some(), lock })
    }

    /// Whether every port is free. Nodes of an earlier run that was just killed may take a moment to end.
    pub(crate) fn check_ports(&self) -> Result<(), Failure> {
        for _ in 0..if self.settled { PORT_TRIES } else { 0 } {
            if self.try_ports().is_ok() {
                return Ok(());
            }
            std::thread::sleep(PORT_PAUSE);
        }
        self.try_ports()
    }

    fn try_ports(&self) -> Result<(), Failure> {
        let uses = |node: &NodePlan| {
            let addresses = [&node.rpc, &node.data, &node.http].map(String::clone);
            addresses.into_iter().zip(["service", "data plane", "HTTP"])
        };
        // Whoever was removed does not start, and its machine may have joined again elsewhere.
        let starts = |node: &&NodePlan| !folder::is_removed(&node.dir).unwrap_or_default();
        let nodes = self.nodes.iter().filter(starts);
        let all = nodes.flat_map(|node| uses(node).map(move |(address, what)| (node, address, what)));
        for (node, address, what) in all {
            let Err(e) = TcpListener::bind(&address) else { continue };
            let why = match e.kind() {
                ErrorKind::AddrInUse => "is in use".into(),
                _ => format!("cannot be used: {e}"),
            };
            let hint = if self.settled {
                "the cluster in this folder keeps its ports: end what uses them, or use another --dir"
            } else {
                "choose other ports with --base-port P (three for each node), or --base-port 0 for free ones"
            };
            let message = format!("{address} {why}, and node {} needs it for its {what}", node.name);
            return Err(Failure::new(message).hint(hint));
        }
        Ok(())
    }

    /// Makes the folder, and the configurations that are not there yet.
    pub(crate) fn write(&mut self) -> Result<(), Failure> {
        let failed = Failure::io(format!("cannot make the folder {}", self.dir.display()));
        fs::create_dir_all(&self.dir).map_err(|e| failed(e).hint("give --dir a place where this user may write"))?;
        if self.lock.is_none() {
            self.lock = earlier::lock(&self.dir)?;
        }
        for node in &self.nodes {
            if let (Some(text), Some(folder)) = (&node.draft, node.file.parent()) {
                fs::create_dir_all(folder).map_err(Failure::io(folder.display()))?;
                durable::write(&node.file, text)?;
            }
        }
        Ok(())
    }
}

fn choose_base(wanted: BasePort, known: Option<u16>, nodes: u16, dir: &Path) -> Result<u16, Failure> {
    let ports = nodes * PORTS;
    match (wanted, known) {
        (BasePort::At(wanted), Some(known)) if wanted != known => {
            let message = format!("the cluster in {} uses the ports from {known} on, not {wanted}", dir.display());
            Err(Failure::new(message).exit(USAGE).hint("leave --base-port out, or use another --dir"))
        }
        (BasePort::Free, None) => free_base(ports),
        (BasePort::At(base), _) | (_, Some(base)) => within(base, ports),
        (BasePort::Default, None) => within(BASE_PORT, ports),
    }
}

fn within(base: u16, ports: u16) -> Result<u16, Failure> {
    match base.checked_add(ports - 1) {
        Some(_) => Ok(base),
        None => {
            let last = u16::MAX - (ports - 1);
            Err(Failure::new(format!("there are no {ports} ports from {base} on"))
                .exit(USAGE)
                .hint(format!("choose --base-port {last} or less, or fewer nodes")))
        }
    }
}

fn free_base(ports: u16) -> Result<u16, Failure> {
    let free = |port: u16| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok();
    let rng = SystemRng::default();
    for _ in 0..FREE_TRIES {
        let drawn = FREE_PORTS.start + rng.next() % (FREE_PORTS.end - FREE_PORTS.start);
        let Ok(base) = u16::try_from(drawn) else { continue };
        if (base..base.saturating_add(ports)).all(free) {
            return Ok(base);
        }
    }
    Err(Failure::new(format!("{ports} free ports in a row were not found")).hint("choose them with --base-port P"))
}

fn plan_node(
    dir: &Path,
    name: &str,
    role: Role,
    base: u16,
    index: u16,
    capacity: Option<u64>,
    set: &[String],
) -> Result<NodePlan, Failure> {
    let node_name = name.parse::<NodeName>().map_err(|e| Failure::new(e.to_string()))?;
    let dir = dir.join(name);
    let file = dir.join("cairnd.toml");
    let address = |offset: u16| format!("127.0.0.1:{}", base + index * PORTS + offset);
    let (rpc, data, http, zone) = (address(0), address(1), address(2), index + 1);
    let capacity = capacity.map(|bytes| format!("capacity = {bytes}\n")).unwrap_or_default();
    let text = format!(
        "# Made by `cairnd dev`, and kept as it is from then on.\n\
         [node]\nname = \"{name}\"\nrole = \"{role}\"\nzone = \"z{zone}\"\ndir = \".\"\n{capacity}\n\
         [listen]\nrpc = \"{rpc}\"\ndata = \"{data}\"\nhttp = \"{http}\"\n\n\
         [repair]\nafter = \"10s\"\n\n\
         [limits]\ndown_after = \"2s\"\n"
    );
    // A file that is there may have been edited since.
    let (config, draft) = match file.exists() {
        true => (read_with(&file, set)?, None),
        false => (parse(&text, &file, set)?, Some(text)),
    };
    let [rpc, data, http] = config.listen.advertised;
    let log = dir.join("cairnd.log");
    Ok(NodePlan { name: node_name, role, zone: config.zone, rpc, data, http, dir: config.dir, file, log, draft })
}

pub(super) fn read(file: &Path) -> Result<Config, Failure> {
    read_with(file, &[])
}

fn read_with(file: &Path, set: &[String]) -> Result<Config, Failure> {
    let text = fs::read_to_string(file).map_err(Failure::io(file.display()))?;
    parse(&text, file, set)
}

/// What tells nodes apart is not set for all.
fn check_shareable(set: &[String]) -> Result<(), Failure> {
    let own = |flag: &&String| ["node.", "listen."].iter().any(|group| flag.trim_start().starts_with(group));
    match set.iter().find(own) {
        None => Ok(()),
        Some(flag) => Err(Failure::new(format!("--set {flag}: that is each node's own"))
            .exit(USAGE)
            .hint("edit DIR/<name>/cairnd.toml of the node")),
    }
}

/// As the node itself will: each has a file of its own, and only how it logs may be set for all.
fn parse(text: &str, file: &Path, flags: &[String]) -> Result<Config, Failure> {
    let set = |name: String| std::env::var(&name).ok().map(|text| (name, text));
    let shared = KEYS.iter().filter(|key| is_shared(key)).filter_map(|key| set(key.variable()));
    Ok(Config::parse(text, file, flags, shared)?)
}

/// Whether a variable sets it for every node.
pub(super) fn is_shared(key: &Key) -> bool {
    key.name.starts_with("log.")
}
