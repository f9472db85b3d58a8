//! Commands that stand in a document, run as they stand there.

use std::path::Path;
use std::process::Command;

use crate::run::Run;

/// The shell blocks of a text, in order, as one script. At least `least` of them.
pub fn blocks(text: &str, least: usize) -> String {
    let blocks: Vec<&str> = text.split("```sh\n").skip(1).filter_map(|block| block.split("```").next()).collect();
    assert!(blocks.len() >= least, "the text has its blocks: {}", blocks.len());
    blocks.join("\n")
}

/// A shell with this script in the root of the sources, and in a network of its own if this user may have one: documents
/// use the default ports. What the script leaves is in a folder that goes with the test.
pub fn run(script: &str, environment: &[(&str, String)]) -> Run {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the sources have a root");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("walk.sh");
    std::fs::write(&file, format!("set -eu\n{script}")).expect("the script");
    let mut words = isolated();
    words.push("bash");
    let mut command = Command::new(words[0]);
    command.args(&words[1..]).arg(&file).current_dir(root).env("TMPDIR", folder.path());
    command.env_remove("CAIRN_ENDPOINTS").env_remove("CAIRN_EPOCH");
    command.envs(environment.iter().map(|(key, value)| (*key, value.as_str())));
    Run::of(&mut command)
}

fn isolated() -> Vec<&'static str> {
    let alone = ["unshare", "--net", "sh", "-c", "ip link set lo up && exec \"$0\" \"$@\""];
    let works = Command::new(alone[0]).args(&alone[1..]).arg("true").output().is_ok_and(|o| o.status.success());
    if works { alone.to_vec() } else { Vec::new() }
}
