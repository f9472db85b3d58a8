//! Every key there is.

/// One key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Key {
    /// Its full name, `section.key`.
    pub name: &'static str,
    /// Its default as text; none if it must be set. An empty text stands for what [`Key::about`] says.
    pub default: Option<&'static str>,
    /// What it is, in a line.
    pub about: &'static str,
}

impl Key {
    /// The variable that sets it.
    pub fn variable(&self) -> String {
        format!("CAIRN_{}", self.name.replace('.', "_").to_uppercase())
    }
}

const fn key(name: &'static str, default: Option<&'static str>, about: &'static str) -> Key {
    Key { name, default, about }
}

/// Every key there is, in the order of the example file.
pub const KEYS: &[Key] = &[
    key("node.name", None, "unique in the cluster"),
    key("node.role", Some("executor"), "\"executor\" runs applications, \"storage\" only holds copies"),
    key("node.zone", Some(""), "nodes of one zone are lost together; by default each is its own"),
    key("node.dir", None, "where everything lies; relative to the configuration file"),
    key("node.capacity", Some(""), "how many bytes of copies it takes; by default all of the file system"),
    key("node.advertise", Some(""), "the host under which others reach this node; by default that of listen.*"),
    key("listen.rpc", Some("127.0.0.1:7420"), "the service"),
    key("listen.data", Some("127.0.0.1:7421"), "the data plane"),
    key("listen.http", Some("127.0.0.1:7422"), "health and metrics, over HTTP"),
    key("listen.unix", Some("cairnd.sock"), "the service, for this machine; relative to node.dir; \"\" for none"),
    key("listen.insecure", Some("false"), "whether other addresses than loopback are allowed"),
    key("log.level", Some("info"), "off, error, warn, info, debug or trace; or directives"),
    key("log.format", Some("text"), "\"text\" or \"json\""),
    key("raft.heartbeat", Some("150ms"), "how often the leader is heard"),
    key("raft.election_min", Some("600ms"), "after this silence at the soonest a follower stands for election"),
    key("raft.election_max", Some("1200ms"), "after this silence at the latest"),
    key("raft.snapshot_every", Some("20000"), "a snapshot of the metadata after so many entries"),
    key(
        "repair.after",
        Some("10m"),
        "copies on a node that is down for so long are made again, and another one votes",
    ),
    key("repair.transfers", Some("2"), "copies at once that a node takes for repairs"),
    key("repair.rate", Some("32MiB"), "bytes a second that this node takes for repairs"),
    key("repair.scrub_every", Some("7d"), "every copy on this node is read through and verified once in so long"),
    key("repair.scrub_rate", Some("32MiB"), "bytes a second that are read for it at most"),
    key("global.url", Some(""), "an object store that gets copies: file://, s3://, gs:// or az://; none by default"),
    key("global.archive", Some("background"), "which versions go there: always, background, every:K or never"),
    key("global.rate", Some("64MiB"), "bytes a second that this node sends there for that"),
    key("global.transfers", Some("2"), "versions at once that this node sends there for that"),
    key("global.sweep_every", Some("1h"), "what nothing refers to is looked for there so often"),
    key("global.backup_every", Some("1h"), "the metadata of the cluster are put there so often"),
    key("global.backups", Some("24"), "so many of these are kept"),
    key("limits.transfers", Some("64"), "payloads at once, in and out each"),
    key("limits.connections", Some("4096"), "connections at once, on each port; some 40 KiB each"),
    key("limits.reserve", Some("64MiB"), "bytes of disk that saves leave free"),
    key("limits.idle", Some("15s"), "a transfer that moves nothing for so long is given up"),
    key("limits.handshake", Some("5s"), "how long connecting and the first words of a connection may take"),
    key("limits.down_after", Some("3s"), "a node that is silent for so long is marked down"),
];
