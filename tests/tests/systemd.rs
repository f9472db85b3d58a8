//! The units of `deploy/systemd`: what `systemd-analyze` finds in them, and whether the programs understand them.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use cairn_tests::{Run, bins};
use tempfile::TempDir;

const UNITS: [&str; 2] = ["cairnd.service", "cairn-run@.service"];

/// From this version on `systemd-analyze` looks at files where no systemd runs.
const OFFLINE_SINCE: u32 = 250;

/// The most exposure that is allowed, in tenths: 0 is none, 100 all there is.
const EXPOSURE_MAX_TENTHS: u32 = 20;

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().join("deploy/systemd")
}

fn text(file: &str) -> String {
    fs::read_to_string(folder().join(file)).unwrap()
}

/// What stands behind `KEY=` in a unit's only line with that key.
fn value(unit: &str, key: &str) -> String {
    let text = text(unit);
    let found: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(key)?.strip_prefix('=')).collect();
    assert_eq!(found.len(), 1, "{unit}: {key}");
    found[0].to_owned()
}

/// The program that a unit starts, where it was built.
fn program(unit: &str) -> PathBuf {
    match value(unit, "ExecStart").split_whitespace().next() {
        Some("/usr/bin/cairnd") => bins::cairnd(),
        Some("/usr/bin/cairn") => bins::cairn(),
        other => panic!("{unit} starts {other:?}"),
    }
}

/// The units, with their programs where they were built.
fn units_of_this_build() -> TempDir {
    let dir = tempfile::tempdir().unwrap();
    for unit in UNITS {
        let line = value(unit, "ExecStart");
        let (_, words) = line.split_once(' ').unwrap();
        let here = format!("ExecStart={} {words}", program(unit).display());
        let text = text(unit).replace(&format!("ExecStart={line}"), &here);
        assert!(text.contains(&here) && !text.contains("/usr/bin/cairn"), "{unit} names a program twice");
        fs::write(dir.path().join(unit), text).unwrap();
    }
    dir
}

/// Whether there is a `systemd-analyze` that is new enough; says so if not.
#[allow(clippy::print_stderr, reason = "a test that is skipped says so")]
fn can_analyze() -> bool {
    let told = Command::new("systemd-analyze").arg("--version").output();
    let told = told.map(|output| String::from_utf8_lossy(&output.stdout).into_owned()).unwrap_or_default();
    // "systemd 252 (252.38-1~deb12u1)"; others write "257.5".
    let digits = |word: &str| word.chars().take_while(char::is_ascii_digit).collect::<String>();
    let version = told.split_whitespace().nth(1).and_then(|word| digits(word).parse::<u32>().ok());
    let can = version.is_some_and(|version| version >= OFFLINE_SINCE);
    if !can {
        eprintln!("skipped: there is no systemd-analyze of systemd {OFFLINE_SINCE} or newer here");
    }
    can
}

fn analyze<const N: usize>(words: [&str; N]) -> Command {
    let mut command = Command::new("systemd-analyze");
    command.args(words).arg("--no-pager").env_remove("SYSTEMD_UNIT_PATH");
    command.env("LC_ALL", "C.UTF-8").env("SYSTEMD_LOG_LEVEL", "notice").env("SYSTEMD_LOG_TARGET", "console");
    command
}

/// What `PROGRAM WORDS… --help` lists.
fn flags(program: &Path, words: &[&str]) -> BTreeSet<String> {
    let help = Run::of(Command::new(program).args(words).arg("--help")).expect(0).text();
    let words = help.split(|c: char| !c.is_ascii_alphanumeric() && c != '-');
    words.filter(|word| word.starts_with("--")).map(str::to_owned).collect()
}

/// Every flag in a command line, up to what is not ours any more.
fn asked(line: &str) -> Vec<&str> {
    let ours = line.split_whitespace().take_while(|word| *word != "--");
    ours.filter(|word| word.starts_with("--")).collect()
}

#[test]
fn verify_finds_nothing() {
    if !can_analyze() {
        return;
    }
    let dir = units_of_this_build();
    for unit in UNITS {
        let mut command = analyze(["verify", "--recursive-errors=no"]);
        let run = Run::of(command.arg(dir.path().join(unit))).expect(0);
        // Units of this machine that ours name are not ours to judge.
        let said = [run.text(), run.stderr].concat();
        let of_ours: Vec<&str> = said.lines().filter(|line| line.contains("cairn")).collect();
        assert!(of_ours.is_empty(), "{unit}: {said}");
    }
}

#[test]
fn the_units_expose_little() {
    if !can_analyze() {
        return;
    }
    let dir = units_of_this_build();
    for unit in UNITS {
        let mut command = analyze(["security", "--offline=true"]);
        command.arg(format!("--threshold={EXPOSURE_MAX_TENTHS}")).arg(dir.path().join(unit));
        let run = Run::of(&mut command).expect(0);
        let told = run.text();
        // "→ Overall exposure level for cairnd.service: 1.1 OK :-)"
        let line = told.lines().find(|line| line.contains("Overall exposure level")).unwrap_or_default();
        let level = line.split_once(": ").and_then(|(_, rest)| rest.split_whitespace().next()?.parse::<f64>().ok());
        assert!(level.is_some_and(|level| level * 10.0 <= f64::from(EXPOSURE_MAX_TENTHS)), "{unit}: {told}");
    }
}

#[test]
fn the_programs_know_every_flag() {
    for unit in UNITS {
        let line = value(unit, "ExecStart");
        let (asked, command) = (asked(&line), line.split_whitespace().nth(1).unwrap());
        assert!(!asked.is_empty(), "{unit}: {line}");
        let known = flags(&program(unit), &[command]);
        for flag in asked {
            assert!(known.contains(flag), "{unit}: `{command} --help` does not list {flag}: {known:?}");
        }
    }
    // What the page has the agent told.
    let (page, known) = (text("README.md"), flags(&bins::cairn(), &["run"]));
    let told: Vec<&str> =
        page.lines().filter_map(|line| line.strip_prefix("CAIRN_RUN_OPTIONS=")).flat_map(asked).collect();
    assert!(!told.is_empty());
    for flag in told {
        assert!(known.contains(flag), "README.md: `run --help` does not list {flag}: {known:?}");
    }
}

#[test]
fn what_a_person_must_mend_is_not_tried_again() {
    let gone = tempfile::tempdir().unwrap();
    let config = gone.path().join("cairnd.toml");
    let mut start = Command::new(bins::cairnd());
    start.args(["start", "--config"]).arg(&config);
    let mut run = Command::new(bins::cairn());
    // As the unit does it if no command is set.
    run.args(["run", "app/state", "--state"]).arg(gone.path().join("state")).arg("--");
    for (unit, command, code) in [(UNITS[0], &mut start, 78), (UNITS[1], &mut run, 2)] {
        let code = Run::of(command).expect(code).code.to_string();
        let prevented = value(unit, "RestartPreventExitStatus");
        assert!(prevented.split_whitespace().any(|word| word == code), "{unit}: {code} is not among {prevented}");
    }
}
