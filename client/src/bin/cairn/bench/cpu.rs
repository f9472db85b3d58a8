//! What processes used of the processors, by the word of the kernel.

use std::fs;
use std::time::Duration;

/// Of `/proc/PID/stat`; the same on every Linux that we run on (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;
/// The 14th to the 17th field: user and system time, and those of children that have ended. The 2nd ends with `)`.
const FIELDS_AFTER_NAME: std::ops::Range<usize> = 11..15;

/// What this process, its children that have ended, and `others` have used so far; none if one of them is gone.
pub(super) fn used(others: &[u32]) -> Option<Duration> {
    let others = others.iter().map(|pid| of(&pid.to_string()));
    others.chain([of("self")]).sum()
}

fn of(process: &str) -> Option<Duration> {
    let stat = fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(FIELDS_AFTER_NAME)?.iter().map(|field| field.parse::<u64>().ok()).sum::<Option<u64>>()?;
    Some(Duration::from_secs_f64(ticks as f64 / TICKS_PER_SECOND))
}

/// Whether a process of one thread has children that have not ended, or not been missed yet; none if the kernel does not
/// tell.
pub(super) fn has_children(pid: u32) -> Option<bool> {
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).ok()?;
    Some(!children.trim().is_empty())
}

/// The most memory that a process ever had, in bytes; none if it is gone.
pub(super) fn peak_bytes(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_knows_its_own_use() {
        assert!(used(&[]).is_some());
        assert_eq!(used(&[u32::MAX]), None);
        assert!(peak_bytes(std::process::id()).is_some_and(|peak| peak > 100_000));
    }

    #[test]
    fn a_process_has_children_until_they_have_ended() {
        use std::process::{Command, Stdio};
        let mut shell = Command::new("sh").args(["-c", "cat; exit 0"]).stdin(Stdio::piped()).spawn().unwrap();
        // A kernel that does not tell ends both.
        while has_children(shell.id()) == Some(false) {
            std::thread::yield_now();
        }
        drop(shell.stdin.take());
        while has_children(shell.id()) == Some(true) {
            std::thread::yield_now();
        }
        assert!(shell.wait().unwrap().success());
    }
}
