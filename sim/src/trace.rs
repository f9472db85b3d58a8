//! What happened, as one hash, and in words if asked.
//!
//! Only our own events count: what libraries say may name real instants and random ids.

use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Write as _};
use std::io::Write as _;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::runtime::{self, Handle};
use tracing::field::{Field, Visit};
use tracing::{Event, Level, Subscriber};
use tracing_subscriber::Layer;
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::{Context, SubscriberExt};
use tracing_subscriber::util::SubscriberInitExt;

/// The trace of this process. Clones are the same trace.
#[derive(Clone, Debug, Default)]
pub struct Trace(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    now_us: AtomicU64,
    hasher: Mutex<blake3::Hasher>,
    /// Whose runtime it is. turmoil's own span would tell too, but it is made anew for each machine in each step.
    machines: Mutex<HashMap<runtime::Id, String>>,
    rejections: Mutex<BTreeMap<String, u64>>,
    tell: bool,
}

impl Trace {
    /// Begins the trace of this process; tells every event on stderr if asked.
    ///
    /// # Errors
    /// The process has another subscriber.
    pub fn begin(tell: bool) -> anyhow::Result<Self> {
        let trace = Self(Arc::new(Inner { tell, ..Inner::default() }));
        let mut heard = Targets::new().with_target("cairn", Level::TRACE);
        if tell {
            heard = heard.with_target("openraft", Level::INFO);
        }
        tracing_subscriber::registry().with(heard).with(trace.clone()).try_init()?;
        Ok(trace)
    }

    /// From now on what this runtime tells is told of `machine`.
    pub fn here(&self, machine: &str) {
        if let Ok(runtime) = Handle::try_current() {
            self.machines().insert(runtime.id(), machine.to_owned());
        }
    }

    /// The world's time, which events get. It moves in steps: an event within a step has the step's time.
    pub fn set_now(&self, now: Duration) {
        self.0.now_us.store(u64::try_from(now.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    /// How often the state machine refused, by kind; a refusal counts on each machine that applied it.
    pub fn rejections(&self) -> BTreeMap<String, u64> {
        self.0.rejections.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The hash over everything so far.
    pub fn hash(&self) -> String {
        let hasher = self.0.hasher.lock().unwrap_or_else(PoisonError::into_inner);
        hasher.finalize().to_hex().as_str().chars().take(16).collect()
    }

    fn machines(&self) -> MutexGuard<'_, HashMap<runtime::Id, String>> {
        self.0.machines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Subscriber> Layer<S> for Trace {
    fn on_event(&self, event: &Event<'_>, _: Context<'_, S>) {
        let metadata = event.metadata();
        let ours = metadata.target().starts_with("cairn");
        let now = self.0.now_us.load(Ordering::Relaxed);
        let mut text = Text::default();
        let _ = write!(text.0, "{:>10.3}ms", Duration::from_micros(now).as_secs_f64() * 1e3);
        if let Ok(runtime) = Handle::try_current()
            && let Some(machine) = self.machines().get(&runtime.id())
        {
            let _ = write!(text.0, " {machine}");
        }
        let _ = write!(text.0, " {} {}", metadata.level(), metadata.target());
        event.record(&mut text);
        text.0.push('\n');
        if metadata.target() == MACHINE {
            let mut kind = Kind::default();
            event.record(&mut kind);
            if let Some(kind) = kind.0 {
                *self.0.rejections.lock().unwrap_or_else(PoisonError::into_inner).entry(kind).or_default() += 1;
            }
        }
        if ours {
            self.0.hasher.lock().unwrap_or_else(PoisonError::into_inner).update(text.0.as_bytes());
        }
        if self.0.tell {
            let _ = std::io::stderr().write_all(text.0.as_bytes());
        }
    }
}

/// Where a node's state machine tells what it refuses.
const MACHINE: &str = "cairn_node::raft::machine";

/// The kind of a refusal: the name of its variant.
#[derive(Default)]
struct Kind(Option<String>);

impl Visit for Kind {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        if field.name() == "rejection" {
            self.0 = Some(format!("{value:?}").chars().take_while(|c| c.is_alphanumeric()).collect());
        }
    }
}

#[derive(Default)]
struct Text(String);

impl Visit for Text {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        let _ = match field.name() {
            "message" => write!(self.0, " {value:?}"),
            name => write!(self.0, " {name}={value:?}"),
        };
    }
}
