//! What is wrong with the store.

use std::collections::BTreeMap;
use std::time::Duration;

/// One thing that is wrong with it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is not reached: every call fails at once.
    Down,
    /// No call is answered until this is over. What was to be changed may be changed all the same.
    Silent,
    /// Every call takes so much longer.
    Slow(Duration),
    /// One call of so many fails, as where too much is asked.
    Flaky(u32),
    /// It lets nobody in.
    Denied,
    /// Of changes some are told to have failed, and are done: at once, or later.
    Lost,
    /// Some uploads break off, in the middle or at their end: nothing of them can be seen.
    Broken,
    /// Some of what arrives is not what was sent.
    Garbled,
    /// It is as if nothing had ever been there.
    Gone,
}

impl Fault {
    /// One of each kind.
    pub const ALL: [Self; 9] = [
        Self::Down,
        Self::Silent,
        Self::Slow(Duration::from_millis(700)),
        Self::Flaky(5),
        Self::Denied,
        Self::Lost,
        Self::Broken,
        Self::Garbled,
        Self::Gone,
    ];
}

/// What is wrong now, and for whom.
#[derive(Debug, Default)]
pub(super) struct Faults {
    all: Option<Fault>,
    machines: BTreeMap<String, Fault>,
    /// Calls that might have failed as one of many.
    calls: u32,
}

impl Faults {
    pub(super) fn set(&mut self, machine: Option<&str>, fault: Fault) {
        match machine {
            Some(machine) => drop(self.machines.insert(machine.to_owned(), fault)),
            None => self.all = Some(fault),
        }
    }

    /// What is wrong for a machine.
    pub(super) fn of(&self, machine: &str) -> Option<Fault> {
        self.machines.get(machine).copied().or(self.all)
    }

    /// What its next call meets.
    pub(super) fn meet(&mut self, machine: &str) -> Option<Fault> {
        let fault = self.of(machine)?;
        if let Fault::Flaky(nth) = fault {
            self.calls = self.calls.wrapping_add(1);
            return self.calls.is_multiple_of(nth.max(1)).then_some(fault);
        }
        Some(fault)
    }
}
