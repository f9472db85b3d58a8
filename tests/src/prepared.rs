//! Clusters whose nodes have settings of their own.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::Path;

use crate::cluster::Cluster;

/// Ports below those that the kernel gives to connections.
const PORTS: std::ops::Range<u16> = 10_000..32_000;

/// Starts a cluster like [`Cluster::start`], with `(node, key, value)` set in the nodes' configurations beforehand.
pub fn start(nodes: u32, storage: u32, settings: &[(&str, &str, &str)]) -> Cluster {
    let dir = tempfile::tempdir().expect("a temporary folder");
    configure(dir.path(), nodes, storage, settings);
    Cluster::start_in(dir, nodes, storage)
}

/// Writes the nodes' configurations, on ports that are free, and starts nothing. A node's folder may be there already.
pub fn configure(dir: &Path, nodes: u32, storage: u32, settings: &[(&str, &str, &str)]) {
    let executors = (1..=nodes).map(|n| (format!("n{n}"), "executor"));
    let names: Vec<_> = executors.chain((1..=storage).map(|n| (format!("s{n}"), "storage"))).collect();
    let mut ports = free_ports(u16::try_from(names.len() * 3).expect("a small cluster"));
    for (name, role) in &names {
        let mut address = || format!("127.0.0.1:{}", ports.next().expect("three ports a node"));
        let mut keys = BTreeMap::from([
            ("node.name", name.clone()),
            ("node.role", (*role).to_owned()),
            ("node.zone", format!("zone-of-{name}")),
            ("node.dir", ".".to_owned()),
            ("limits.down_after", "10s".to_owned()),
            ("listen.rpc", address()),
            ("listen.data", address()),
            ("listen.http", address()),
        ]);
        keys.extend(settings.iter().filter(|(of, ..)| of == name).map(|(_, key, value)| (*key, (*value).to_owned())));
        let text: String = keys.iter().map(|(key, value)| format!("{key} = \"{value}\"\n")).collect();
        std::fs::create_dir_all(dir.join(name)).expect("the node's folder");
        std::fs::write(dir.join(name).join("cairnd.toml"), text).expect("the node's configuration");
    }
}

/// So many ports in a row that are free just now.
pub fn free_ports(count: u16) -> std::ops::Range<u16> {
    let free = |port: u16| TcpListener::bind(("127.0.0.1", port)).is_ok();
    let draws =
        std::iter::repeat_with(|| uuid::Uuid::now_v7().as_u128() % u128::from(PORTS.end - PORTS.start - count));
    let bases = draws.take(200).map(|drawn| PORTS.start + u16::try_from(drawn).expect("below the range's length"));
    let base = bases.into_iter().find(|base| (*base..base + count).all(free)).expect("free ports");
    base..base + count
}
