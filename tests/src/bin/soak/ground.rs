//! What every kind of trouble has: a folder, a seed, a history, a judge; and the steps that all take.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::ensure;
use cairn_sim::history::{Call, History, Told};
use cairn_store::name::Name;
use cairn_tests::book::Book;
use cairn_tests::chance::Chance;
use cairn_tests::judge::Judge;
use cairn_tests::load::{Load, Wish};
use cairn_tests::site::{PATIENCE, Site, Sort};
use cairn_tests::wait::within;
use tempfile::TempDir;

use crate::report::{Report, note};

/// A snapshot after so many entries: several in any soak.
pub(crate) const SNAPSHOT_EVERY: (&str, &str) = ("raft.snapshot_every", "300");

pub(crate) struct Ground {
    pub(crate) chance: Chance,
    pub(crate) book: Arc<Book>,
    pub(crate) judge: Judge,
    report: Report,
    /// Of clusters before this one.
    earlier: Vec<Call>,
    dir: TempDir,
}

impl Ground {
    pub(crate) fn new(name: &'static str, seed: u64, dir: Option<&Path>) -> anyhow::Result<Self> {
        let prefix = format!("cairn-soak-{name}-");
        let mut builder = tempfile::Builder::new();
        let builder = builder.prefix(&prefix);
        let dir = match dir {
            Some(dir) => {
                std::fs::create_dir_all(dir)?;
                builder.tempdir_in(dir)?
            }
            None => builder.tempdir()?,
        };
        let (book, judge) = (Arc::default(), Judge::default());
        let report = Report::new(name, seed);
        Ok(Self { chance: Chance::new(seed), book, judge, report, earlier: Vec::new(), dir })
    }

    /// What follows is of another cluster.
    pub(crate) fn begin_anew(&mut self) {
        self.earlier.extend(std::mem::take(&mut self.book).history().calls);
        self.judge.begin_anew();
    }

    /// A folder of this soak.
    pub(crate) fn root(&self) -> PathBuf {
        self.dir.path().to_owned()
    }

    /// Adds to a line of the report.
    pub(crate) fn count(&mut self, what: &str, count: u64) {
        self.report.add(what, count);
    }

    /// Nothing was tried.
    pub(crate) fn skip(&mut self, why: impl Into<String>) {
        self.report.skipped = Some(why.into());
    }

    /// Lets clients work on a cluster.
    pub(crate) fn load(&mut self, site: &Site, wish: Wish) -> anyhow::Result<Load> {
        let wish = Wish { seed: self.chance.draw(), ..wish };
        Load::start(site, &self.book, &self.dir.path().join("clients"), wish)
    }

    /// Lets time pass, drawn from a range of milliseconds.
    pub(crate) fn pause(&mut self, least: u64, most: u64) -> anyhow::Result<()> {
        cairn_tests::wait::pause(Duration::from_millis(self.chance.between(least, most)))
    }

    /// Counts what a node sent and wrote by the ways that no simulation runs, before it dies.
    pub(crate) fn gather(&mut self, site: &Site, index: usize) {
        for (sort, what) in [(Sort::Sendfile, "MiB by sendfile"), (Sort::Direct, "MiB by O_DIRECT")] {
            self.count(what, site.hosts[index].counted(sort) >> 20);
        }
    }

    /// The fault is over. A node may have stopped by itself: with an exit code of its own, and words that say why. Then it
    /// is started again.
    pub(crate) fn mend(&mut self, site: &mut Site, index: usize) -> anyhow::Result<()> {
        let host = &mut site.hosts[index];
        let name = host.name.clone();
        let status = within(PATIENCE, &format!("{name} has ended, or goes on"), || {
            let ended = host.ended();
            // From the fault to the end of the process it takes a moment.
            let ends = host.words().contains("local fault: the node stops");
            Ok(if ended.is_none() && ends { None } else { Some(ended) })
        })?;
        let Some(status) = status else { return Ok(()) };
        let words = host.words();
        let end = host.last_words();
        ensure!(status.code().is_some_and(|code| code != 0), "{name} ended with {status}: {end}");
        ensure!(words.lines().any(|line| line.starts_with("error: ")), "{name} does not say why: {end}");
        ensure!(!words.contains("panicked"), "{name} panicked: {end}");
        self.count("nodes that stopped by themselves, and said why", 1);
        site.start(index)
    }

    /// Halts the clients, audits everything that was not audited and closed before, and lets them go on.
    pub(crate) fn audit(&mut self, site: &mut Site, load: &Load) -> anyhow::Result<()> {
        let begun = Instant::now();
        load.halt()?;
        site.start_all()?;
        let done = load.take_done();
        let all: Vec<Name> = done.iter().cloned().chain(load.active()).collect();
        self.judge.audit(site, &self.book.history(), &all, self.chance.draw())?;
        self.judge.close(site, &done)?;
        load.go_on();
        self.count("audits", 1);
        let (loaded, wrong) = (self.judge.loaded, self.judge.wrong.len());
        note(&format!(
            "  audit of {} names in {:?}: {loaded} loads so far, {wrong} wrong",
            all.len(),
            begun.elapsed()
        ));
        self.stop_if_wrong()
    }

    /// The last audit: everything once more, that the cluster goes on, and each folder once its node has ended.
    pub(crate) fn finish(&mut self, site: &mut Site, load: Load) -> anyhow::Result<()> {
        self.audit(site, &load)?;
        load.halt()?;
        let active = load.active();
        drop(load);
        self.judge.progress(site, &active)?;
        for index in 0..site.hosts.len() {
            self.gather(site, index);
        }
        site.stop_all()?;
        for index in 0..site.hosts.len() {
            self.judge.check_folder(site, index)?;
        }
        let history = self.book.history();
        self.judge.read(&history);
        self.stop_if_wrong()
    }

    /// With something wrong already, more trouble would only bury the traces.
    fn stop_if_wrong(&self) -> anyhow::Result<()> {
        anyhow::ensure!(self.judge.wrong.is_empty(), "it ends here, because something is wrong");
        Ok(())
    }

    /// What it came to. The folder stays if anything is wrong.
    pub(crate) fn report(mut self) -> Report {
        self.begin_anew();
        let history = History { calls: std::mem::take(&mut self.earlier), ..History::default() };
        let answered = |is: fn(&Told) -> bool| history.calls.iter().filter(|call| is(call.answer())).count() as u64;
        let lines = [
            ("calls", history.calls.len() as u64),
            ("  saves acknowledged", answered(|told| matches!(told, Told::Saved { .. }))),
            ("  loads answered", answered(|told| matches!(told, Told::Loaded { .. }))),
            ("  claims acknowledged", answered(|told| matches!(told, Told::Claimed { .. }))),
            ("  refused, or absent", answered(|told| matches!(told, Told::Refused(_) | Told::Absent))),
            ("  unknown", answered(|told| *told == Told::Unknown)),
            ("loads of acknowledged versions", self.judge.loaded),
            ("copies compared on disks", self.judge.copies),
            ("names searched for an order", self.judge.searched as u64),
        ];
        lines.into_iter().for_each(|(what, count)| self.report.add(what, count));
        self.report.wrong = self.judge.wrong;
        self.report.end();
        if !self.report.wrong.is_empty() && self.report.skipped.is_none() {
            let write = |call: &Call| format!("{call:?}\n");
            let text: String = history.calls.iter().map(write).collect();
            let kept = self.dir.keep();
            let _ = std::fs::write(kept.join("history"), text);
            self.report.kept = Some(kept);
        }
        self.report
    }
}
