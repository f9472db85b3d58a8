//! A node's configuration.

use std::collections::BTreeMap;
use std::path::Path;

use cairn_node::config::{Config, EXAMPLE, KEYS};

use crate::named;

/// A text, as the file; its lines as flags; and as a variable's value.
pub fn run(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    if let Ok(config) = parse(text, &[]) {
        assert!(config.dir.is_absolute());
        // Every value as a flag, without a file: the same configuration.
        let listed = || config.values.listed().map(|(key, value, _)| (key.name, value.text.clone()));
        let flags: Vec<_> = listed().map(|(key, value)| format!("{key}={value}")).collect();
        // An empty socket that nobody asked for is another thing than one that somebody wants not to have.
        let asked = |flag: &String| !flag.starts_with("listen.unix=") || text.contains("unix");
        let flags: Vec<_> = flags.into_iter().filter(asked).collect();
        let again = parse("", &flags).expect("the same values are as good from the command line");
        assert_eq!(
            again.values.listed().map(|(key, value, _)| (key.name, value.text.clone())).collect::<Vec<_>>(),
            listed().collect::<Vec<_>>()
        );
        assert_eq!((again.listen, again.log, again.dir), (config.listen, config.log, config.dir));
    }
    let flags: Vec<_> = text.lines().map(str::to_owned).collect();
    let _ = parse(MINIMAL, &flags);
    // The first letter says which variable has the rest as its value.
    let mut letters = text.chars();
    let key = letters.next().and_then(|letter| KEYS.get(letter as usize % KEYS.len()));
    let variable = key.map(|key| (key.variable(), letters.as_str().to_owned()));
    let _ = Config::parse(MINIMAL, Path::new(FILE), &[], variable);
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
    named([
        ("example", EXAMPLE.as_bytes().to_vec()),
        ("minimal", MINIMAL.as_bytes().to_vec()),
        ("hand", HAND.as_bytes().to_vec()),
        ("size", b"64MiB".to_vec()),
        ("span", b"1m 30s".to_vec()),
        ("address", b"[::1]:7420".to_vec()),
        ("level", b"info,cairn_node[save{request=1}]=debug".to_vec()),
        ("flags", b"raft.heartbeat=150ms\nlog.format=json\nnode.capacity=1.5TB".to_vec()),
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
