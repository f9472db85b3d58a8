//! The bar on a terminal, for work that lasts.

use std::io::IsTerminal;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use cairn_client::save::{Observer, Phase, Step};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressFinish, ProgressStyle};

/// Work that is over sooner gets no bar.
const QUIET: Duration = Duration::from_secs(1);

/// A bar that appears when the work lasts, and goes away with it.
pub(crate) struct Progress {
    bar: Arc<Mutex<Option<(Phase, ProgressBar)>>>,
}

impl Progress {
    pub(crate) fn new() -> Self {
        Self { bar: Arc::default() }
    }

    /// What to tell the client; nothing if nobody looks.
    pub(crate) fn observer(&self) -> Option<Observer> {
        if !std::io::stderr().is_terminal() {
            return None;
        }
        let (bar, start) = (Arc::clone(&self.bar), Instant::now());
        Some(Arc::new(move |step: Step| {
            if start.elapsed() < QUIET || (step.total, step.done) == (0, 0) {
                return;
            }
            let mut bar = bar.lock().unwrap_or_else(PoisonError::into_inner);
            let current = match bar.take() {
                Some((phase, bar)) if phase == step.phase => bar,
                other => {
                    if let Some((_, old)) = other {
                        old.finish_and_clear();
                    }
                    new_bar(step.phase, step.total > 0)
                }
            };
            if step.total > 0 {
                current.set_length(step.total);
            }
            // A target that was replaced gets its bytes again.
            current.set_position(if step.total > 0 { step.done.min(step.total) } else { step.done });
            *bar = Some((step.phase, current));
        }))
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some((_, bar)) = self.bar.lock().unwrap_or_else(PoisonError::into_inner).take() {
            bar.finish_and_clear();
        }
    }
}

/// Counts up to `total` on a terminal, once it lasts. The bar goes when what is returned is dropped.
pub(crate) fn counted(what: &'static str, total: u64) -> impl Fn(u64) {
    let template = "{msg} [{bar:24}] {human_pos} of {human_len}, {eta} left";
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::hidden())
        .with_style(style)
        .with_message(what)
        .with_finish(ProgressFinish::AndClear);
    let start = Instant::now();
    move |done| {
        if bar.is_hidden() && start.elapsed() >= QUIET {
            // Stays hidden if nobody looks.
            bar.set_draw_target(ProgressDrawTarget::stderr());
        }
        bar.set_position(done);
    }
}

fn new_bar(phase: Phase, sized: bool) -> ProgressBar {
    let what = match phase {
        Phase::Spooling => "reading",
        Phase::Sending => "sending",
        Phase::Delivering => "writing",
    };
    // No colours: nothing here needs NO_COLOR.
    let template = match sized {
        true => "{msg} [{bar:24}] {bytes} of {total_bytes}, {binary_bytes_per_sec}, {eta} left",
        false => "{msg} {bytes}, {binary_bytes_per_sec}",
    };
    let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
    ProgressBar::no_length().with_style(style).with_message(what)
}
