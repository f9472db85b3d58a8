//! What a run did, counted: for the summary over many seeds.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use serde::{Deserialize, Serialize};

/// What crashes do to writes that no fsync covered.
pub const LOSSES: [&str; 2] = ["LostWrites", "TornWrites"];

/// The counts of one run. Clones count together.
#[derive(Clone, Debug, Default)]
pub struct Tally(Rc<RefCell<Counts>>);

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counts {
    /// Faults that struck, by kind.
    pub faults: BTreeMap<String, u64>,
    /// Calls, by what was asked and how it ended.
    pub calls: BTreeMap<String, u64>,
    /// Refusals of the state machine, by kind.
    pub rejections: BTreeMap<String, u64>,
    /// Virtual time, in milliseconds.
    pub virtual_ms: u64,
    /// Names that were searched for an order, and those that were too busy for it.
    pub searched: u64,
    /// Names with too many calls for that.
    pub left_out: u64,
}

impl Tally {
    /// A fault struck.
    pub fn fault(&self, kind: &str) {
        *self.0.borrow_mut().faults.entry(kind.to_owned()).or_default() += 1;
    }

    /// A crash lost writes or tore them, so many times.
    pub fn losses(&self, lost: u64, torn: u64) {
        for (kind, count) in LOSSES.iter().zip([lost, torn]).filter(|(_, count)| *count > 0) {
            *self.0.borrow_mut().faults.entry((*kind).to_owned()).or_default() += count;
        }
    }

    /// A call ended.
    pub fn call(&self, what: String) {
        *self.0.borrow_mut().calls.entry(what).or_default() += 1;
    }

    /// How many calls ended, and how many faults struck.
    pub fn so_far(&self) -> (u64, u64) {
        let counts = self.0.borrow();
        (counts.calls.values().sum(), counts.faults.values().sum())
    }

    /// Names were searched for an order, or left out.
    pub fn searched(&self, names: usize, left_out: usize) {
        let mut counts = self.0.borrow_mut();
        counts.searched += names as u64;
        counts.left_out += left_out as u64;
    }

    /// All counts; the rejections come from the trace.
    pub fn counts(&self, rejections: BTreeMap<String, u64>, virtual_ms: u64) -> Counts {
        Counts { rejections, virtual_ms, ..self.0.borrow().clone() }
    }
}

impl Counts {
    /// Adds another run's.
    pub fn add(&mut self, other: &Self) {
        let sum = |into: &mut BTreeMap<String, u64>, from: &BTreeMap<String, u64>| {
            from.iter().for_each(|(kind, count)| *into.entry(kind.clone()).or_default() += count);
        };
        sum(&mut self.faults, &other.faults);
        sum(&mut self.calls, &other.calls);
        sum(&mut self.rejections, &other.rejections);
        self.virtual_ms += other.virtual_ms;
        self.searched += other.searched;
        self.left_out += other.left_out;
    }
}
