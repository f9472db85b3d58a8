//! The Kubernetes manifests: valid as they stand, and so are the scripts in them and the commands in those.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use cairn_tests::{Run, bins};

/// Has the schemas of Kubernetes within it.
const VALIDATOR: &str = "kubernetes-validate==1.37.0";

/// A file, what is replaced in it, by what, and what is said of that.
const BROKEN: [(&str, &str, &str, &str); 4] = [
    ("executors.yaml", "  replicas: 3\n", "  replica: 3\n", "'replica' was unexpected"),
    ("executors.yaml", "  replicas: 3\n", "  replicas: 3\n  replicas: 3\n", "'replicas' is given twice"),
    ("cluster.yaml", "kind: Service\n", "kind: Servize\n", "cannot be checked"),
    ("workload.yaml", "/scripts/saver.sh]", "/scripts/server.sh]", "which is in no config map"),
];

/// Every command that the scripts have. One that this test overlooked would be in nobody's check.
const COMMANDS: [&str; 10] = [
    "cairn claim",
    "cairn cluster peers",
    "cairn load",
    "cairn release",
    "cairn renew",
    "cairn run",
    "cairn save",
    "cairnd init",
    "cairnd join",
    "cairnd start",
];

/// What may stand before a command.
const BEFORE: [&str; 5] = ["exec", "if", "until", "while", "!"];

/// A script that stands in a manifest.
struct Script {
    file: String,
    name: String,
    text: String,
}

/// What the help of a command tells.
struct Help {
    subcommands: BTreeSet<String>,
    flags: BTreeSet<String>,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/kubernetes")
}

/// The text of every manifest, by the name of its file.
fn manifests() -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    for entry in fs::read_dir(folder()).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.extension().is_some_and(|extension| extension == "yaml") {
            found.insert(entry.file_name().into_string().unwrap(), fs::read_to_string(path).unwrap());
        }
    }
    assert!(found.len() >= 8, "{:?}", found.keys());
    found
}

/// How far a line is from the margin.
fn depth(line: &str) -> usize {
    line.len() - line.trim_start().len()
}

/// Every script: the block under a key that ends with `.sh`.
fn scripts() -> Vec<Script> {
    let mut found = Vec::new();
    for (file, text) in manifests() {
        let lines: Vec<&str> = text.lines().collect();
        for (index, line) in lines.iter().enumerate() {
            let Some(name) = line.trim().strip_suffix(": |").filter(|name| name.ends_with(".sh")) else { continue };
            let below = lines[index + 1..].iter();
            let block: Vec<&str> =
                below.copied().take_while(|next| next.trim().is_empty() || depth(next) > depth(line)).collect();
            let filled = block.iter().filter(|line| !line.trim().is_empty());
            let margin = filled.map(|line| depth(line)).min().unwrap_or(0);
            let text = block.iter().flat_map(|line| [line.get(margin..).unwrap_or_default(), "\n"]).collect();
            found.push(Script { file: file.clone(), name: name.to_owned(), text });
        }
    }
    assert!(found.len() >= 8, "there are {}", found.len());
    found
}

/// Every call of the two programs: the words of each, without those that belong to another command.
fn calls(script: &Script) -> Vec<Vec<String>> {
    let text = script.text.replace("\\\n", " ");
    let mut found = Vec::new();
    for line in text.lines().filter(|line| !line.trim_start().starts_with('#')) {
        for command in line.split(['(', ')', ';', '|', '&']) {
            let words = command.split_whitespace().filter(|word| !BEFORE.contains(word));
            let words: Vec<String> = words.take_while(|word| *word != "--").map(str::to_owned).collect();
            if words.first().is_some_and(|first| first == "cairn" || first == "cairnd") {
                found.push(words);
            }
        }
    }
    found
}

fn help(program: &str, path: &[String]) -> Help {
    let program = if program == "cairnd" { bins::cairnd() } else { bins::cairn() };
    let told = Run::of(Command::new(program).args(path).arg("--help")).expect(0).text();
    let (_, listed) = told.split_once("\nCommands:\n").unwrap_or_default();
    let listed = listed.lines().take_while(|line| !line.is_empty()).filter(|line| depth(line) == 2);
    let subcommands = listed.filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect();
    // Of what follows after two spaces nothing is a flag of its own.
    let named = told.lines().filter_map(|line| line.trim_start().split("  ").next());
    let words = named.filter(|named| named.starts_with('-')).flat_map(|named| named.split([' ', ',', '=']));
    let flags = words.filter(|word| word.starts_with('-')).map(str::to_owned).collect();
    Help { subcommands, flags }
}

/// A Python that has the validator; none, and a word about it, where it cannot be had.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn validator(dir: &Path) -> Option<PathBuf> {
    let python = dir.join("bin/python");
    let mut make = Command::new("python3");
    make.args(["-m", "venv"]).arg(dir);
    let mut install = Command::new(&python);
    install.args(["-m", "pip", "install", "--quiet", "--retries", "1", "--timeout", "20", VALIDATOR]);
    for command in [&mut make, &mut install] {
        match command.stdin(Stdio::null()).output() {
            Ok(output) if output.status.success() => {}
            why => {
                eprintln!("skipped: {VALIDATOR} cannot be had here (needs python3, its venv, and PyPI): {why:?}");
                return None;
            }
        }
    }
    Some(python)
}

/// Writes manifests into `dir`, and has them checked.
fn validate(python: &Path, dir: &Path, manifests: &BTreeMap<String, String>) -> Run {
    fs::create_dir_all(dir).unwrap();
    let mut command = Command::new(python);
    command.arg(folder().join("validate"));
    for (file, text) in manifests {
        let path = dir.join(file);
        fs::write(&path, text).unwrap();
        command.arg(path);
    }
    Run::of(&mut command)
}

#[test]
fn every_document_is_valid_and_a_broken_one_is_refused() {
    let scratch = tempfile::tempdir().unwrap();
    let Some(python) = validator(&scratch.path().join("python")) else { return };
    let dir = scratch.path().join("manifests");
    let whole = manifests();
    let told = validate(&python, &dir, &whole).expect(0).text();
    let documents = whole.values().flat_map(|text| text.lines()).filter(|line| line.starts_with("kind: ")).count();
    assert!(told.starts_with(&format!("{documents} documents are valid for Kubernetes 1.29 and 1.37")), "{told}");

    for (file, from, to, why) in BROKEN {
        let mut broken = whole.clone();
        let text = broken.get_mut(file).unwrap();
        assert!(text.contains(from), "{file} has no {from:?} any more");
        *text = text.replacen(from, to, 1);
        let refused = validate(&python, &dir, &broken).expect(1).stderr;
        assert!(refused.contains(file) && refused.contains(why), "{to:?} in {file}: {refused}");
    }
}

#[test]
fn every_script_can_be_read_by_a_shell_and_containers_run_nothing_else() {
    let scratch = tempfile::tempdir().unwrap();
    let path = scratch.path().join("script.sh");
    let read = |text: &str| {
        fs::write(&path, text).unwrap();
        Run::of(Command::new("sh").arg("-n").arg(&path))
    };
    let scripts = scripts();
    for Script { file, name, text } in &scripts {
        let run = read(text);
        assert_eq!(run.code, 0, "{file}: {name}: {}", run.stderr);
        assert_ne!(read(&format!("{text}if true\n")).code, 0, "{file}: {name}: whatever is read");
    }

    // What stood in a command itself would not be checked.
    for (file, text) in manifests() {
        assert!(!text.contains("args:"), "{file} has arguments");
        for line in text.lines().filter(|line| line.trim_start().starts_with("command:")) {
            // Whether it is mounted there, the validator knows.
            let known = scripts.iter().any(|script| line.ends_with(&format!("/{}]", script.name)));
            assert!(known || line.contains("[test, "), "{file}: {line}");
        }
    }
}

#[test]
fn every_command_and_flag_in_the_scripts_exists() {
    let mut met = BTreeSet::new();
    for script in scripts() {
        for call in calls(&script) {
            let (program, words) = call.split_first().unwrap();
            let (mut path, mut told) = (Vec::new(), help(program, &[]));
            for word in words {
                if told.subcommands.contains(word) {
                    path.push(word.clone());
                    told = help(program, &path);
                }
            }
            let command = format!("{program} {}", path.join(" "));
            for flag in words.iter().filter(|word| word.starts_with('-')) {
                let flag = flag.split('=').next().unwrap_or_default();
                assert!(told.flags.contains(flag), "{}: {}: {command} has no {flag}", script.file, script.name);
            }
            met.insert(command);
        }
    }
    assert_eq!(met.iter().map(String::as_str).collect::<Vec<_>>(), COMMANDS);
}
