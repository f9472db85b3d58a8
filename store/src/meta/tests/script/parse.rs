//! The words of a script's line.

use std::collections::BTreeMap;
use std::time::Duration;

use super::super::ids;
use super::print::Printer;
use crate::archive::{ObjectReceipt, Policy, Reach};
use crate::digest::Digest;
use crate::meta::backup::{Backup, RestoreStep};
use crate::meta::command::{Command, Commit, Finding, Request, Scope};
use crate::meta::state::COMMIT_WINDOW;
use crate::node::{Profile, Role};
use crate::segment::{Ack, Epoch, Kind, Receipt, Version};
use crate::time::LogTime;

/// How long a request of a script lasts if it does not say.
const REQUEST_LASTS: Duration = Duration::from_secs(60);

/// Words in order, and `key=value` words by key. What is never asked for is an error.
pub(super) struct Words<'a> {
    plain: Vec<&'a str>,
    named: BTreeMap<&'a str, &'a str>,
}

impl<'a> Words<'a> {
    pub(super) fn of(line: &'a str) -> Self {
        let (named, mut plain): (Vec<&str>, Vec<&str>) = line.split_whitespace().partition(|word| word.contains('='));
        if plain.first().is_some_and(|word| word.starts_with('#')) {
            return Self { plain: vec!["#"], named: BTreeMap::new() };
        }
        plain.reverse();
        Self { plain, named: named.into_iter().filter_map(|word| word.split_once('=')).collect() }
    }

    /// The next word without a key; empty if there are no more.
    pub(super) fn first(&mut self) -> &'a str {
        self.plain.pop().unwrap_or_default()
    }

    pub(super) fn or(&mut self, key: &str, default: &'a str) -> &'a str {
        self.named.remove(key).unwrap_or(default)
    }

    pub(super) fn finish(&self) {
        assert!(self.plain.is_empty() && self.named.is_empty(), "unknown words: {:?} {:?}", self.plain, self.named);
    }

    fn get(&mut self, key: &str) -> &'a str {
        self.named.remove(key).unwrap_or_else(|| panic!("{key}= is missing"))
    }

    fn id(&mut self, key: &str, letter: char) -> u64 {
        ids::number(letter, self.get(key))
    }

    fn number(&mut self, key: &str, default: &'a str) -> u64 {
        self.or(key, default).parse().unwrap_or_else(|_| panic!("{key}= is not a number"))
    }

    fn request(&mut self, now: LogTime) -> Request {
        let until = self.named.remove("until").map_or_else(|| now.after(REQUEST_LASTS), time);
        Request { id: ids::request(self.id("by", 'r')), until }
    }
}

/// `1h+2m+3s+4`, in milliseconds.
pub(super) fn time(text: &str) -> LogTime {
    let part = |part: &str| {
        let units = [("h", 3_600_000), ("m", 60_000), ("s", 1_000), ("", 1)];
        let (number, millis) =
            units.iter().find_map(|(unit, millis)| Some((part.strip_suffix(unit)?, *millis))).unwrap();
        number.parse::<u64>().unwrap_or_else(|_| panic!("{text:?} is not a time")) * millis
    };
    LogTime(text.split('+').map(part).sum())
}

/// What the node with this incarnation says of itself.
pub(in super::super) fn profile(number: u64, role: Role) -> Profile {
    Profile {
        name: format!("node-{number}").parse().unwrap(),
        role,
        zone: "z1".into(),
        rpc: format!("10.0.0.{number}:7401"),
        data: format!("10.0.0.{number}:7402"),
        http: format!("10.0.0.{number}:7403"),
        capacity: 1 << 30,
    }
}

pub(super) fn command(
    words: &mut Words<'_>,
    now: LogTime,
    printer: &mut Printer,
    backup: Option<&Backup>,
) -> Command {
    match words.first() {
        "tick" => Command::Tick,
        "found" => {
            let (incarnation, profile) = joiner(words);
            Command::Found { cluster: ids::cluster(words.id("cluster", 'k')), incarnation, profile }
        }
        "join" => {
            let (incarnation, profile) = joiner(words);
            Command::Join { incarnation, profile }
        }
        "describe" => {
            let (incarnation, profile) = joiner(words);
            Command::Describe { node: ids::node(words.id("node", 'n')), incarnation, profile }
        }
        verb @ ("up" | "down") => Command::Mark { node: node(words.first()), up: verb == "up" },
        verb @ ("drain" | "undrain") => Command::Drain { node: node(words.first()), draining: verb == "drain" },
        "register" => Command::Register {
            request: words.request(now),
            name: words.get("name").parse().unwrap(),
            segment: ids::segment(words.id("segment", 'S')),
            owner: ids::node(words.id("owner", 'n')),
            kind: if words.or("kind", "file") == "tree" { Kind::Tree } else { Kind::File },
        },
        "commit" => {
            let (request, commit) = (words.request(now), commit(words, now, printer));
            let policy = words.named.remove("archive").map(|policy| match policy {
                // What no command line lets through.
                "every:0" => Policy::Every(0),
                policy => policy.parse().unwrap(),
            });
            let object = words.named.remove("object").map(|text| object(text, now));
            match (policy, object) {
                (None, None) => Command::Commit { request, commit },
                (policy, object) => Command::Save { request, commit, policy, object },
            }
        }
        "reach" => {
            let (node, life) = (words.id("node", 'n'), words.named.remove("incarnation"));
            let reach = match words.get("tier") {
                "none" => None,
                "down" => Some(Reach::Down(None)),
                tier if tier.starts_with("lost-") => {
                    let tier = tier.trim_start_matches("lost-");
                    Some(Reach::Down(Some(ids::tier(ids::number('t', tier)))))
                }
                tier => Some(Reach::Up(ids::tier(ids::number('t', tier)))),
            };
            let incarnation = ids::incarnation(life.map_or(node, |life| ids::number('i', life)));
            Command::Reach { node: ids::node(node), incarnation, reach }
        }
        "deposited" => Command::Deposited {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            digest: printer.know(words.or("bytes", "abc")),
            receipt: object(words.get("object"), now),
        },
        "lose-object" => Command::LoseObject {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            object: ids::copy(words.id("object", 'c')),
            finding: if words.get("finding") == "missing" { Finding::Missing } else { Finding::Corrupt },
        },
        "confirm" => Command::Confirm {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            digest: printer.know(words.or("bytes", "abc")),
            receipt: receipt(words.get("copy"), now),
        },
        "lose" => Command::Lose {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            copy: ids::copy(words.id("copy", 'c')),
            finding: if words.get("finding") == "missing" { Finding::Missing } else { Finding::Corrupt },
        },
        "claim" => {
            let (request, segment) = (words.request(now), ids::segment(words.id("segment", 'S')));
            let (epoch, head) = (Epoch(words.number("epoch", "1")), version(words.get("head")));
            let node = ids::node(words.id("node", 'n'));
            match words.named.remove("lease").map(|span| span.parse::<u64>().unwrap()) {
                None => Command::Claim { request, segment, epoch, head, node },
                Some(ms) => Command::Lease { request, segment, epoch, head, node, span: Duration::from_millis(ms) },
            }
        }
        "renew" => Command::Renew {
            request: words.request(now),
            segment: ids::segment(words.id("segment", 'S')),
            epoch: Epoch(words.number("epoch", "1")),
        },
        "lapse" => Command::Lapse { segment: ids::segment(words.id("segment", 'S')) },
        "release" => Command::Release {
            request: words.request(now),
            segment: ids::segment(words.id("segment", 'S')),
            epoch: Epoch(words.number("epoch", "1")),
        },
        "unregister" => Command::Unregister {
            request: words.request(now),
            segment: ids::segment(words.id("segment", 'S')),
            scope: match words.or("scope", "segment") {
                "segment" => Scope::Segment,
                "if-empty" => Scope::IfEmpty,
                one => Scope::Version(version(one)),
            },
        },
        "expire" => Command::Expire { segment: ids::segment(words.id("segment", 'S')) },
        "pin" => Command::Pin {
            request: words.request(now),
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
        },
        "unpin" => Command::Unpin {
            request: words.request(now),
            segment: ids::segment(words.id("segment", 'S')),
            version: words.named.remove("version").map(version),
        },
        "retire" => Command::Retire {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            copy: ids::copy(words.id("copy", 'c')),
            stay: words.get("stay").split(',').map(|copy| ids::copy(ids::number('c', copy))).collect(),
        },
        "disown" => Command::Disown {
            segment: ids::segment(words.id("segment", 'S')),
            node: ids::node(words.id("node", 'n')),
        },
        "abandon" => Command::Abandon {
            segment: ids::segment(words.id("segment", 'S')),
            version: version(words.get("version")),
            copy: ids::copy(words.id("copy", 'c')),
            force: words.or("force", "no") == "yes",
        },
        "remove" => Command::Remove {
            node: ids::node(words.id("node", 'n')),
            incarnation: ids::incarnation(words.id("incarnation", 'i')),
        },
        verb @ ("restore" | "readmit" | "refile" | "restored") => restore(verb, words, backup.unwrap()),
        "resume" => Command::Resume,
        other => panic!("no such command: {other:?}"),
    }
}

/// A step of what the backup asks for; `revision=` is that of another one.
fn restore(verb: &str, words: &mut Words<'_>, backup: &Backup) -> Command {
    let is_meant = |step: &RestoreStep| match step {
        RestoreStep::Begin { .. } => verb == "restore",
        RestoreStep::Segments { .. } => verb == "readmit",
        RestoreStep::Archives { .. } => verb == "refile",
        RestoreStep::End { .. } => verb == "restored",
    };
    let mut step = backup.steps().unwrap().find(is_meant).unwrap();
    let (RestoreStep::Begin { source, .. }
    | RestoreStep::Segments { source, .. }
    | RestoreStep::Archives { source, .. }
    | RestoreStep::End { source }) = &mut step;
    if let Some(revision) = words.named.remove("revision") {
        source.revision = revision.parse().unwrap();
    }
    if let (RestoreStep::Begin { floor, .. }, Some(other)) = (&mut step, words.named.remove("floor")) {
        *floor = Epoch(other.parse().unwrap());
    }
    step.into()
}

fn commit(words: &mut Words<'_>, now: LogTime, printer: &mut Printer) -> Commit {
    let labels = words.or("labels", "").split(',').filter_map(|label| label.split_once(':'));
    Commit {
        segment: ids::segment(words.id("segment", 'S')),
        owner: node(words.or("owner", "n1")),
        epoch: Epoch(words.number("epoch", "1")),
        after: version(words.get("after")),
        size: words.number("size", "100"),
        digest: printer.know(words.or("bytes", "abc")),
        receipts: words.get("copies").split(',').filter(|one| *one != "none").map(|one| receipt(one, now)).collect(),
        wanted: u8::try_from(words.number("wanted", "1")).unwrap(),
        ack: match words.or("ack", "all") {
            "all" => Ack::All,
            "quorum" => Ack::Quorum,
            "one" => Ack::One,
            "local" => Ack::Local,
            "global" => Ack::Global,
            other => panic!("no such ack: {other:?}"),
        },
        keep: u32::try_from(words.number("keep", "1")).unwrap(),
        labels: labels.map(|(key, value)| (key.into(), value.into())).collect(),
    }
}

/// `c1/n1`, with an open receipt, or `c1/n1@TIME`.
fn receipt(text: &str, now: LogTime) -> Receipt {
    let (copy, until) = text.split_once('@').map_or((text, now.after(COMMIT_WINDOW)), |(c, until)| (c, time(until)));
    let (copy, holder) = copy.split_once('/').unwrap_or_else(|| panic!("{text:?} should be a copy, c1/n1"));
    Receipt { copy: ids::copy(ids::number('c', copy)), node: node(holder), until }
}

/// `c1/t1`, with an open receipt, or `c1/t1@TIME`.
fn object(text: &str, now: LogTime) -> ObjectReceipt {
    let (object, until) =
        text.split_once('@').map_or((text, now.after(COMMIT_WINDOW)), |(o, until)| (o, time(until)));
    let (object, tier) = object.split_once('/').unwrap_or_else(|| panic!("{text:?} should be an object, c1/t1"));
    ObjectReceipt { object: ids::copy(ids::number('c', object)), tier: ids::tier(ids::number('t', tier)), until }
}

fn joiner(words: &mut Words<'_>) -> (crate::id::Incarnation, Profile) {
    let number = words.id("incarnation", 'i');
    let role = if words.or("role", "executor") == "storage" { Role::Storage } else { Role::Executor };
    let mut profile = profile(number, role);
    profile.name = words.named.remove("name").map_or(profile.name, |name| name.parse().unwrap());
    profile.zone = words.named.remove("zone").map_or(profile.zone, Into::into);
    (ids::incarnation(number), profile)
}

fn node(text: &str) -> crate::id::NodeId {
    ids::node(ids::number('n', text))
}

pub(super) fn version(text: &str) -> Version {
    Version(ids::number('v', text))
}

impl Printer {
    /// The digest of these bytes, which the printer can name from now on.
    fn know(&mut self, bytes: &str) -> Digest {
        let digest = Digest::of(bytes.as_bytes());
        self.bytes.push((digest, bytes.into()));
        digest
    }
}
