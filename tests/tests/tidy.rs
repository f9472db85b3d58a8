//! The structure that ARCHITECTURE.md promises: imports run one way, the pure core is pure, files are small.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Each crate, and those it may import.
const EDGES: [(&str, &[&str]); 7] = [
    ("store", &[]),
    ("client", &["store"]),
    ("node", &["store", "client"]),
    ("sim", &["store", "client", "node"]),
    ("tests", &["store", "client", "sim"]),
    ("parsers", &["store", "client", "node"]),
    ("fuzz", &["parsers"]),
];

/// What `tests` may use of `sim`: what was told to clients, and the rules that it is judged by.
const OF_SIM: [&str; 4] = ["expect", "history", "invariants", "linear"];

/// What `store::meta` and `store::plan` may import of their own crate: the vocabulary, and themselves.
const VOCABULARY: [&str; 10] =
    ["name", "id", "lease", "time", "digest", "segment", "archive", "node", "record", "meta"];

/// What has no place in pure code.
const IMPURE: [&str; 12] = [
    "std::fs",
    "std::net",
    "std::time::Instant",
    "std::time::SystemTime",
    "std::thread",
    "std::env",
    "std::process",
    "tokio",
    "HashMap",
    "HashSet",
    "rand::",
    "Uuid::n",
];

/// The only files that may hold `unsafe`: none yet.
const UNSAFE: [&str; 0] = [];

/// From here on a file must be split (tests aside).
const LINES_MAX: usize = 500;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// Where a crate lies.
fn folder(name: &str) -> PathBuf {
    match name {
        "parsers" | "fuzz" => root().join("tests").join(name),
        _ => root().join(name),
    }
}

/// The files of a crate, or of a part of it; not those of crates within.
fn sources(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap().map(Result::unwrap) {
        let path = entry.path();
        if path.is_dir() {
            if !path.join("Cargo.toml").exists() {
                found.extend(sources(&path));
            }
        } else if path.extension().is_some_and(|e| e == "rs") {
            found.push(path);
        }
    }
    found.sort();
    found
}

fn short(path: &Path) -> String {
    path.strip_prefix(root()).unwrap().display().to_string()
}

/// The lines of code, without comments.
fn code(path: &Path) -> Vec<String> {
    let text = fs::read_to_string(path).unwrap();
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(str::to_owned).collect()
}

fn is_test(path: &Path) -> bool {
    path.components().any(|c| c.as_os_str() == "tests") || path.file_name().is_some_and(|name| name == "tests.rs")
}

#[test]
fn crates_import_leftward_only() {
    for (name, allowed) in EDGES {
        let forbidden: Vec<_> =
            EDGES.iter().map(|(other, _)| *other).filter(|o| *o != name && !allowed.contains(o)).collect();
        let manifest = fs::read_to_string(folder(name).join("Cargo.toml")).unwrap();
        for other in &forbidden {
            assert!(!manifest.contains(&format!("cairn-{other}")), "{name}/Cargo.toml depends on cairn-{other}");
            for path in sources(&folder(name)) {
                let import = format!("cairn_{other}");
                let found = code(&path).into_iter().find(|line| line.contains(&import) && !line.contains('"'));
                assert_eq!(found, None, "{} imports {import}", short(&path));
            }
        }
    }
}

#[test]
fn tests_use_only_the_judgement_of_the_simulation() {
    for path in sources(&root().join("tests")).into_iter().filter(|path| !path.ends_with("tidy.rs")) {
        for line in code(&path) {
            let Some((_, used)) = line.split_once("cairn_sim::") else { continue };
            let module = used.split([':', ';', '{']).next().unwrap_or_default();
            assert!(OF_SIM.contains(&module), "{}: uses cairn_sim::{module}", short(&path));
        }
    }
}

#[test]
fn crash_points_are_listed_and_in_no_ordinary_build() {
    let table = fs::read_to_string(root().join("store/src/crash.rs")).unwrap();
    let (_, table) = table.split_once("pub const POINTS").unwrap();
    let named =
        |line: &str| line.trim().strip_prefix("(\"").and_then(|rest| rest.split('"').next()).map(str::to_owned);
    let listed: BTreeSet<String> = table.lines().filter_map(named).collect();
    let mut marked = BTreeSet::new();
    for path in ["store/src", "node/src"].iter().flat_map(|folder| sources(&root().join(folder))) {
        for line in code(&path) {
            let Some((_, rest)) = line.split_once("crash_point!(") else { continue };
            // One place serves the files of copies and snapshots.
            match rest.strip_prefix("&of_file(path, \"") {
                Some(step) => {
                    let step = step.split('"').next().unwrap();
                    marked.extend(["toc", "snapshot"].map(|what| format!("{what}.{step}")));
                }
                None => {
                    marked.extend(rest.strip_prefix('"').and_then(|name| name.split('"').next()).map(str::to_owned))
                }
            }
        }
    }
    assert!(listed.len() > 50);
    assert_eq!(listed, marked, "store/src/crash.rs lists the points that there are");

    // Nothing of it is compiled unless tests are.
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut tree = std::process::Command::new(cargo);
    tree.args(["tree", "--workspace", "--locked", "--offline", "-e", "normal,build", "--prefix", "none"]);
    let told = tree.current_dir(root()).output().unwrap();
    assert!(told.status.success(), "{}", String::from_utf8_lossy(&told.stderr));
    let told = String::from_utf8(told.stdout).unwrap();
    assert!(told.lines().any(|line| line.starts_with("cairn-node ")), "{told}");
    assert!(!told.lines().any(|line| line.starts_with("fail ")), "an ordinary build has crash points");
}

#[test]
fn meta_and_plan_are_pure() {
    for folder in ["meta", "plan"] {
        let files: Vec<_> =
            sources(&root().join("store/src").join(folder)).into_iter().filter(|path| !is_test(path)).collect();
        assert!(files.len() > 5, "store/src/{folder} is not where it was");
        for path in files {
            for line in code(&path).iter().take_while(|line| !line.contains("#[cfg(test)]")) {
                for impure in IMPURE {
                    assert!(!line.contains(impure), "{}: {impure} in {line:?}", short(&path));
                }
                let Some(import) = line.trim().strip_prefix("use crate::") else { continue };
                let module = import.split([':', ';', '{']).next().unwrap_or_default();
                let own = module == folder;
                let allowed = VOCABULARY.contains(&module) && (module != "meta" || folder == "meta");
                assert!(own || allowed, "{}: imports crate::{module}", short(&path));
            }
        }
    }
}

#[test]
fn nothing_is_unsafe_or_unfinished() {
    for (name, _) in EDGES {
        for path in sources(&folder(name)) {
            if path.ends_with("tidy.rs") {
                continue;
            }
            for line in code(&path) {
                let keyword = line.contains("unsafe {") || line.contains("unsafe fn") || line.contains("unsafe impl");
                assert!(!keyword || UNSAFE.contains(&short(&path).as_str()), "{}: {line}", short(&path));
                for unfinished in ["todo!(", "unimplemented!(", "#[ignore"] {
                    assert!(!line.contains(unfinished), "{}: {unfinished}", short(&path));
                }
            }
        }
    }
}

#[test]
fn files_are_small_and_roots_have_maps() {
    // The fuzz targets are a line each.
    for (name, _) in EDGES.iter().filter(|(name, _)| *name != "fuzz") {
        for path in sources(&folder(name).join("src")).into_iter().filter(|path| !is_test(path)) {
            let text = fs::read_to_string(&path).unwrap();
            let lines = text.lines().take_while(|line| !line.contains("#[cfg(test)]\nmod tests {")).count();
            assert!(lines <= LINES_MAX, "{} has {lines} lines: split it", short(&path));
            assert!(text.starts_with("//!"), "{} does not say what it is for", short(&path));
        }
    }
}

/// The bugs that the simulation is to catch are patches: each must still fit the sources.
#[test]
fn every_plant_fits() {
    let mut count = 0;
    for entry in fs::read_dir(root().join("sim/plants")).unwrap().map(Result::unwrap) {
        let (path, text) = (entry.path(), fs::read_to_string(entry.path()).unwrap());
        count += 1;
        let rule = text.lines().next().unwrap();
        assert!(rule.contains(": "), "{}: its first line is not RULE: BUG", short(&path));
        if let Some(story) = text.lines().find_map(|line| line.strip_prefix("Scenario: ")) {
            let stories = fs::read_to_string(root().join("sim/src/scenarios.rs")).unwrap();
            assert!(stories.contains(&format!("play!({story},")), "{}: there is no story {story}", short(&path));
        }
        for file in text.split("\n--- a/").skip(1) {
            let (name, hunks) = file.split_once('\n').unwrap();
            let source = fs::read_to_string(root().join(name)).unwrap();
            for hunk in hunks.split("\n@@ ").skip(1) {
                let lines = hunk.lines().skip(1).filter_map(|line| line.strip_prefix([' ', '-']));
                let before: String = lines.flat_map(|line| [line, "\n"]).collect();
                let places = source.matches(&before).count();
                assert!(places == 1, "{} fits in {places} places of {name}:\n{before}", short(&path));
            }
        }
    }
    assert!(count >= 16, "there are {count}");
}

#[test]
fn the_machine_it_was_written_on_is_not_in_it() {
    let mut texts = Vec::new();
    for name in ["README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"] {
        texts.push(root().join(name));
    }
    for (name, _) in EDGES {
        texts.extend(sources(&folder(name)));
    }
    for path in texts.into_iter().filter(|path| !path.ends_with("tidy.rs")) {
        let text = fs::read_to_string(&path).unwrap();
        for place in ["/root/", "/home/", "/work/"] {
            assert!(!text.contains(place), "{} names {place}", short(&path));
        }
    }
}
