//! A node's configuration.

use std::collections::BTreeMap;
use std::path::Path;

use cairn_node::config::{Config, EXAMPLE, KEYS, Key, Origin, Value};

use crate::named;

/// A text: as a variable's value or as flags, if its first letter says so, else as the file.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let first = text.chars().next().map_or(0, |letter| letter as usize);
    let rest = || text.chars().skip(1).collect::<String>();
    match first % 4 {
        0 => {
            let variable = KEYS.get(first / 4 % KEYS.len()).map(|key| (key.variable(), rest()));
            let _ = Config::parse(MINIMAL, Path::new(FILE), &[], variable);
        }
        1 => drop(parse(MINIMAL, &rest().lines().map(str::to_owned).collect::<Vec<_>>())),
        _ => file(text),
    }
}

fn file(text: &str) {
    let Ok(config) = parse(text, &[]) else { return };
    assert!(config.dir.is_absolute());
    // Every value as a flag, without a file: the same configuration.
    let listed = || config.values.listed().map(|(key, value, _)| (key.name, value.text.clone()));
    // A socket that nobody asked for is another thing than one of the same name.
    let asked = |key: &Key, value: &Value| key.name != "listen.unix" || value.origin != Origin::Default;
    let flags = config.values.listed().filter(|(key, value, _)| asked(key, value));
    let flags: Vec<_> = flags.map(|(key, value, _)| format!("{}={}", key.name, value.text)).collect();
    let again = parse("", &flags).expect("the same values are as good from the command line");
    assert!(again.values.listed().map(|(key, value, _)| (key.name, value.text.clone())).eq(listed()));
    assert_eq!((again.listen, again.log, again.dir), (config.listen, config.log, config.dir));
}

const FILE: &str = "/etc/cairn/cairnd.toml";
const MINIMAL: &str = "node.name = \"n1\"\nnode.dir = \"data\"\n";

fn parse(text: &str, flags: &[String]) -> Result<Config, cairn_node::config::ConfigError> {
    Config::parse(text, Path::new(FILE), flags, [])
}

/// The example, each section with every key, one that says little, and single values.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let mut sections = BTreeMap::<&str, String>::new();
    for (section, short, default) in KEYS.iter().filter_map(|key| {
        let (section, short) = key.name.split_once('.')?;
        Some((section, short, key.default.unwrap_or("n1")))
    }) {
        let text = sections.entry(section).or_insert_with(|| match section {
            "node" => "[node]\n".into(),
            _ => format!("{MINIMAL}[{section}]\n"),
        });
        text.push_str(&format!("{short} = \"{default}\"\n"));
    }
    let sections = sections.into_iter().map(|(name, text)| (format!("section-{name}"), text.into_bytes()));
    sections.chain(values()).collect()
}

fn values() -> Vec<(String, Vec<u8>)> {
    let value = |name: &str, text: &str| {
        let key = KEYS.iter().position(|key| key.name == name).unwrap();
        let first = char::from(u8::try_from(4 * key).unwrap());
        format!("{first}{text}").into_bytes()
    };
    named([
        ("example", EXAMPLE.as_bytes().to_vec()),
        ("minimal", MINIMAL.as_bytes().to_vec()),
        ("hand", HAND.as_bytes().to_vec()),
        ("size", value("limits.reserve", "64MiB")),
        ("span", value("limits.idle", "1m 30s")),
        ("address", value("listen.rpc", "[::1]:7420")),
        ("level", value("log.level", "info,cairn_node[save]=debug")),
        ("flags", b"\x01raft.heartbeat=150ms\nlog.format=json\nnode.capacity=1.5TB".to_vec()),
    ])
}

const HAND: &str = r#"[node]
name = "h1"
dir = "/var/lib/cairn"
advertise = "10.0.0.1"
[listen]
rpc = "0.0.0.0:7420"
data = "0.0.0.0:7421"
unix = ""
insecure = true
[limits]
reserve = "1GiB"
transfers = 7
"#;
