//! All processes that descend from this one, however they forked.
//!
//! This process adopts what loses its parent (`PR_SET_CHILD_SUBREAPER`), so without children it has no descendants.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::time::Duration;

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, WaitStatus, getpid, kill_process, set_child_subreaper, wait};

/// How soon it is looked again whether all are gone; each pause is twice the one before, up to the longest.
const LOOK_MIN: Duration = Duration::from_millis(5);
const LOOK_MAX: Duration = Duration::from_secs(1);

/// From now on this process adopts its descendants.
pub(super) fn adopt() -> rustix::io::Result<()> {
    set_child_subreaper(Some(getpid()))
}

/// The end of a child that has ended.
pub(super) enum Reaped {
    Child(Pid, WaitStatus),
    /// None has ended.
    Nobody,
    /// There are no children, and so no descendants.
    Childless,
}

/// Takes note of one child that has ended.
pub(super) fn reap() -> Reaped {
    loop {
        match wait(WaitOptions::NOHANG) {
            Ok(Some((pid, status))) => return Reaped::Child(pid, status),
            Ok(None) => return Reaped::Nobody,
            Err(Errno::INTR) => {}
            Err(_) => return Reaped::Childless,
        }
    }
}

/// Kills all descendants, and waits until the last one is gone; tells each child that it saw end.
pub(super) async fn end(mut ended: impl FnMut(Pid, WaitStatus)) {
    let mut pause = LOOK_MIN;
    loop {
        for pid in descendants(getpid()) {
            // Who is gone already is not missed.
            let _ = kill_process(pid, Signal::KILL);
        }
        loop {
            match reap() {
                Reaped::Child(pid, status) => ended(pid, status),
                Reaped::Nobody => break,
                Reaped::Childless => return,
            }
        }
        tokio::time::sleep(pause).await;
        pause = (pause * 2).min(LOOK_MAX);
    }
}

/// Every process whose parents lead to `root`, but for `root` itself and those that have ended.
pub(super) fn descendants(root: Pid) -> Vec<Pid> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<i32>().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        if let Some(parent) = living_child_of(&stat) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let (mut found, mut next) = (BTreeSet::new(), vec![root.as_raw_nonzero().get()]);
    while let Some(parent) = next.pop() {
        for child in children.get(&parent).into_iter().flatten() {
            if found.insert(*child) {
                next.push(*child);
            }
        }
    }
    found.into_iter().filter_map(Pid::from_raw).collect()
}

/// The parent, by the line of `/proc/PID/stat`; none of who has ended. The program's name, in parentheses, may hold anything.
fn living_child_of(stat: &str) -> Option<i32> {
    let (_, rest) = stat.rsplit_once(") ")?;
    let mut words = rest.split(' ');
    let state = words.next()?;
    words.next()?.parse().ok().filter(|_| state != "Z")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_s_name_may_hold_anything() {
        assert_eq!(living_child_of("7 (a) Z 1) S 5 7 7 0"), Some(5));
        assert_eq!(living_child_of("7 (sh) Z 5 7 7 0"), None);
        assert_eq!(living_child_of(""), None);
    }

    #[test]
    fn a_grandchild_is_found() {
        let mut child = std::process::Command::new("sh").args(["-c", "sleep 100 & wait"]).spawn().unwrap();
        let root = i32::try_from(child.id()).ok().and_then(Pid::from_raw).unwrap();
        let all = loop {
            let all = descendants(root);
            if !all.is_empty() {
                break all;
            }
        };
        for pid in all {
            kill_process(pid, Signal::KILL).unwrap();
        }
        assert!(child.wait().unwrap().success(), "the shell waits for what it started");
    }
}
