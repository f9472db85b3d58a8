//! What is said in the end.

use std::time::Instant;

use comfy_table::{Table, presets};
use serde::Serialize;

use crate::args::Format;

/// What was tried, counted, and found wrong.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    /// Which kind of trouble.
    pub(crate) soak: &'static str,
    /// What was drawn from.
    pub(crate) seed: u64,
    /// How long it took.
    pub(crate) seconds: u64,
    /// Why it was not tried.
    pub(crate) skipped: Option<String>,
    /// Everything that was counted, in words.
    pub(crate) counts: Vec<Count>,
    /// Everything that is wrong.
    pub(crate) wrong: Vec<String>,
    /// Where the nodes' folders are, if they stay.
    pub(crate) kept: Option<std::path::PathBuf>,
    #[serde(skip)]
    pub(crate) begun: Instant,
}

/// One line.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Count {
    /// Of what.
    pub(crate) what: String,
    /// How many.
    pub(crate) count: u64,
}

impl Report {
    pub(crate) fn new(soak: &'static str, seed: u64) -> Self {
        let (counts, wrong) = (Vec::new(), Vec::new());
        Self { soak, seed, seconds: 0, skipped: None, counts, wrong, kept: None, begun: Instant::now() }
    }

    /// Adds to a count, which keeps its place.
    pub(crate) fn add(&mut self, what: &str, count: u64) {
        match self.counts.iter_mut().find(|known| known.what == what) {
            Some(known) => known.count += count,
            None => self.counts.push(Count { what: what.into(), count }),
        }
    }

    pub(crate) fn end(&mut self) {
        self.seconds = self.begun.elapsed().as_secs();
    }

    #[allow(clippy::print_stdout, reason = "this is what the program is asked for")]
    pub(crate) fn print(&self, format: Format) {
        if format == Format::Json {
            println!("{}", serde_json::to_string_pretty(self).unwrap_or_else(|error| error.to_string()));
            return;
        }
        if let Some(why) = &self.skipped {
            println!("soak {} was SKIPPED: {why}", self.soak);
            return;
        }
        let mut table = Table::new();
        table.load_style(presets::NOTHING);
        for Count { what, count } in &self.counts {
            table.add_row([what.clone(), count.to_string()]);
        }
        println!("soak {}, seed {}, {} s\n{table}", self.soak, self.seed, self.seconds);
        for wrong in &self.wrong {
            println!("WRONG: {wrong}");
        }
        if let Some(kept) = &self.kept {
            println!("the nodes' folders stay in {}", kept.display());
        }
        println!("{}", if self.wrong.is_empty() { "nothing is wrong" } else { "THIS IS WRONG" });
    }
}

/// Tells what goes on.
#[allow(clippy::print_stderr, reason = "progress is for people")]
pub(crate) fn note(text: &str) {
    eprintln!("{text}");
}
