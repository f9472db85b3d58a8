//! Runs the golden scripts.

mod parse;
mod print;

use std::path::{Path, PathBuf};

use self::parse::Words;
pub(super) use self::parse::profile;
use self::print::Printer;
use super::ids;
use crate::meta::apply::Position;
use crate::meta::backup::Backup;
use crate::meta::command::{Command, Entry, Reply, Stamp};
use crate::meta::event::Watched;
use crate::meta::history::History;
use crate::meta::invariant::violations;
use crate::meta::state::State;
use crate::node::Role;
use crate::time::{LogTime, WallTime};

#[test]
fn golden_scripts() {
    let mut wrong = Vec::new();
    for path in scripts() {
        let expected = std::fs::read_to_string(&path).unwrap();
        let printed = Script::default().run(&expected);
        if printed != expected && std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &printed).unwrap();
        } else if printed != expected {
            wrong.push(difference(&path, &expected, &printed));
        }
    }
    assert!(wrong.is_empty(), "{} scripts differ (UPDATE=1 rewrites them)\n\n{}", wrong.len(), wrong.join("\n"));
}

fn scripts() -> Vec<PathBuf> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/meta/testscripts");
    let mut paths: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "txt"));
    paths.sort();
    assert!(!paths.is_empty());
    paths
}

fn difference(path: &Path, expected: &str, printed: &str) -> String {
    let same = expected.lines().zip(printed.lines()).take_while(|(a, b)| a == b).count();
    let part = |text: &str| text.lines().skip(same.saturating_sub(2)).take(6).collect::<Vec<_>>().join("\n");
    let name = path.file_name().unwrap_or_default().display();
    format!("--- {name}:{} should be\n{}\n+++ is\n{}\n", same + 1, part(expected), part(printed))
}

struct Script {
    state: State,
    history: History,
    printer: Printer,
    /// The number of the cluster that it is about.
    cluster: u64,
    /// What the one before it knew.
    backup: Option<Backup>,
}

impl Default for Script {
    fn default() -> Self {
        let (state, history, printer) = (State::default(), History::default(), Printer::default());
        Self { state, history, printer, cluster: 1, backup: None }
    }
}

impl Script {
    /// The script with what it prints now.
    fn run(mut self, script: &str) -> String {
        let mut printed = String::new();
        for line in script.lines().filter(|line| !line.starts_with(' ')) {
            printed.push_str(line);
            printed.push('\n');
            for output in self.line(line) {
                printed.push_str("  ");
                printed.push_str(&output);
                printed.push('\n');
            }
        }
        printed
    }

    fn line(&mut self, line: &str) -> Vec<String> {
        let mut words = Words::of(line);
        match words.first() {
            "" | "#" => Vec::new(),
            ">" => self.step(words),
            "cluster" => self.set_up(words),
            "restart" => self.restart(),
            "another" => self.found_another(words),
            "watch" => {
                let from = words.or("from", "1").parse().unwrap();
                words.finish();
                self.printer.events(&self.history, from)
            }
            question => {
                let answer = self.printer.answer(&self.state, question, &mut words);
                words.finish();
                answer
            }
        }
    }

    /// `> CLOCK[@TERM] COMMAND KEY=VALUE…`. The term is 1 if it is not given, and `stamp=` is another one.
    fn step(&mut self, mut words: Words<'_>) -> Vec<String> {
        let at = words.first();
        let (clock, term) = at.split_once('@').unwrap_or((at, "1"));
        let (clock, term) = (parse::time(clock), term.parse().unwrap());
        let stamp = Stamp { clock, term: words.or("stamp", "").parse().unwrap_or(term) };
        let now = if stamp.term == term { self.state.time.max(clock) } else { self.state.time };
        let command = parse::command(&mut words, now, &mut self.printer, self.backup.as_ref());
        words.finish();
        let reply = self.apply(term, stamp, command);
        let mut output = vec![self.printer.reply(&reply)];
        output.extend(violations(&self.state).into_iter().map(|what| format!("BROKEN: {what}")));
        output
    }

    /// `cluster executors=3 storage=1`: the members of most scripts, all up, at log time 0.
    fn set_up(&mut self, mut words: Words<'_>) -> Vec<String> {
        let executors: u64 = words.or("executors", "3").parse().unwrap();
        let storage: u64 = words.or("storage", "0").parse().unwrap();
        words.finish();
        for number in 1..=executors + storage {
            let role = if number <= executors { Role::Executor } else { Role::Storage };
            let (incarnation, profile) = (ids::incarnation(number), profile(number, role));
            let command = match number {
                1 => Command::Found { cluster: ids::cluster(self.cluster), incarnation, profile },
                _ => Command::Join { incarnation, profile },
            };
            self.apply(1, Stamp::default(), command).unwrap();
            self.apply(1, Stamp::default(), Command::Mark { node: ids::node(number), up: true }).unwrap();
        }
        Vec::new()
    }

    /// `another cluster=k2 executors=2`: a new cluster, which has what this one knew as a backup.
    fn found_another(&mut self, mut words: Words<'_>) -> Vec<String> {
        let backup = Backup { taken: WallTime(7), state: self.state.clone() };
        let bytes: Vec<u8> = backup.records().flat_map(Result::unwrap).collect();
        self.backup = Some(Backup::read(&mut &bytes[..]).unwrap());
        assert_eq!(self.backup, Some(backup));
        self.state = State::default();
        self.history = History::default();
        self.cluster = ids::number('k', words.or("cluster", "k2"));
        self.set_up(words)
    }

    /// Goes through a snapshot, as a node does that starts again.
    fn restart(&mut self) -> Vec<String> {
        let bytes: Vec<u8> = self.state.records().flat_map(Result::unwrap).collect();
        let restored = State::read(&mut &bytes[..]).unwrap();
        assert_eq!(restored, self.state);
        self.state = restored;
        self.history = History::after(self.state.revision);
        Vec::new()
    }

    fn apply(&mut self, term: u64, stamp: Stamp, command: Command) -> Reply {
        let position = Position { term, index: self.state.revision + 1 };
        let entry = Entry { stamp, at: WallTime(stamp.clock.0), command };
        let before = Watched::of(&self.state);
        let reply = self.state.apply(position, &entry);
        self.history.record(&before, &self.state, entry.at);
        reply
    }
}

/// The log time, for people: hours, minutes, seconds and milliseconds.
fn clock(time: LogTime) -> String {
    let mut left = time.0;
    let mut parts = Vec::new();
    for (unit, millis) in [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("", 1)] {
        if left >= millis {
            parts.push(format!("{}{unit}", left / millis));
            left %= millis;
        }
    }
    if parts.is_empty() { "0".into() } else { parts.join("+") }
}
