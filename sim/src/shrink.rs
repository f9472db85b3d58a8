//! Makes a failure small: leaves out steps and faults as long as it stays the same failure.

use std::io::Write as _;
use std::process::{Command, ExitCode};

use cairn_sim::chaos::Plan;

use crate::parts::Parts;
use crate::watchdog::{SEED_MAX, watched};

/// The first characters of a failure decide whether it is the same.
const ALIKE_CHARS: usize = 60;

/// Prints the smallest set of parts that was found, and how to replay it.
pub(crate) fn shrink(seed: u64) -> anyhow::Result<ExitCode> {
    let mut parts = Parts::below(Plan::of(seed).parts());
    let mut out = std::io::stdout();
    let Some(failure) = failure(seed, &parts)? else {
        writeln!(out, "seed {seed} does not fail")?;
        return Ok(ExitCode::SUCCESS);
    };
    let wanted = alike(&failure);
    writeln!(out, "{} parts: {failure}", parts.len())?;
    let mut size = parts.len().div_ceil(2);
    while size > 0 {
        let (before, mut place) = (parts.len(), 0);
        while place < parts.len() {
            let fewer = parts.without(place, size);
            if self::failure(seed, &fewer)?.is_some_and(|failure| alike(&failure) == wanted) {
                parts = fewer;
                writeln!(out, "{} parts", parts.len())?;
            } else {
                place += size;
            }
        }
        // Once more at the smallest size, as long as it helps.
        size = if size == 1 && parts.len() < before { 1 } else { size / 2 };
    }
    writeln!(out, "replay it with `cairn-sim replay {seed} --only {parts} --trace`")?;
    Ok(ExitCode::SUCCESS)
}

/// How a plan of these parts fails; none if it does not.
fn failure(seed: u64, parts: &Parts) -> anyhow::Result<Option<String>> {
    let mut child = Command::new(std::env::current_exe()?);
    let (played, hung) = watched(child.args(["replay", &seed.to_string(), "--only", &parts.to_string()]))?;
    if hung {
        return Ok(Some(format!("FAIL: it hung for {SEED_MAX:?}")));
    }
    let said = String::from_utf8_lossy(&played.stdout);
    let told = said.lines().rev().find(|line| line.starts_with("FAIL")).map(str::to_owned);
    Ok(match played.status.success() {
        true => None,
        false => Some(told.unwrap_or_else(|| String::from_utf8_lossy(&played.stderr).into_owned())),
    })
}

/// A failure without what differs from run to run: numbers and ids, and the hash of the trace.
fn alike(failure: &str) -> String {
    let text = failure.split_once(": ").map_or(failure, |(_, text)| text);
    // What the oracle saw begins with when.
    let text = if text.starts_with("after ") { text.split_once(": ").map_or(text, |(_, text)| text) } else { text };
    text.chars().filter(|c| !c.is_ascii_digit()).take(ALIKE_CHARS).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_is_the_same_with_other_numbers() {
        let one = "FAIL seed 7 trace 00ff: after 3.2s: n1 has another state at revision 12 than others";
        let other = "FAIL seed 7 trace 11ee: after 9s: n2 has another state at revision 7 than others";
        assert_eq!(alike(one), alike(other));
        assert_ne!(alike(one), alike("FAIL seed 7 trace 00ff: A: version 1 of a was acknowledged"));
    }
}
