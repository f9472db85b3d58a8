//! Where it was measured: without that no figure means anything.

use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::thread::available_parallelism;

use serde::Serialize;

/// The machine, as the kernel describes it; what it does not say is `null`.
#[derive(Debug, Serialize)]
pub(super) struct Machine {
    cpu: Option<String>,
    cores: Option<usize>,
    memory_bytes: Option<u64>,
    kernel: Option<String>,
    file_system: Option<String>,
    /// Processes that wanted to run, on average over a minute, before and after: others share the machine.
    load_average_before: Option<f64>,
    load_average_after: Option<f64>,
    /// Which part of the processors' time other virtual machines took meanwhile, 0 to 1.
    stolen_share: Option<f64>,
    #[serde(skip)]
    before: Option<Ticks>,
}

/// Time of all processors since the machine started, in ticks.
#[derive(Clone, Copy, Debug)]
struct Ticks {
    all: u64,
    stolen: u64,
}

/// Which number of `/proc/stat`'s first line is the time that was stolen, and after how many all are in it: what follows
/// is part of the others.
const STOLEN_FIELD: usize = 7;
const FIELDS: usize = 8;

impl Ticks {
    fn look() -> Option<Self> {
        let line = line_of("/proc/stat", "cpu ")?;
        let fields: Option<Vec<u64>> = line.split_whitespace().take(FIELDS).map(|field| field.parse().ok()).collect();
        let fields = fields?;
        Some(Self { all: fields.iter().sum(), stolen: *fields.get(STOLEN_FIELD)? })
    }

    fn stolen_share_since(self, before: Self) -> Option<f64> {
        let all = self.all.checked_sub(before.all).filter(|all| *all > 0)?;
        let share = self.stolen.checked_sub(before.stolen)? as f64 / all as f64;
        Some((share * 1e3).round() / 1e3)
    }
}

impl Machine {
    /// Before the measurement; `dir` is on the file system that is written to.
    pub(super) fn look(dir: &Path) -> Self {
        let cpu = line_of("/proc/cpuinfo", "model name").map(|line| line.trim_start_matches(':').trim().to_owned());
        let memory = line_of("/proc/meminfo", "MemTotal:");
        let kib = memory.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok());
        Self {
            cpu,
            cores: available_parallelism().ok().map(Into::into),
            memory_bytes: kib.map(|kib| kib << 10),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease").ok().map(|text| text.trim().to_owned()),
            file_system: file_system(dir),
            load_average_before: load_average(),
            load_average_after: None,
            stolen_share: None,
            before: Ticks::look(),
        }
    }

    /// After it.
    pub(super) fn look_again(self) -> Self {
        let stolen = Ticks::look().zip(self.before).and_then(|(now, before)| now.stolen_share_since(before));
        Self { load_average_after: load_average(), stolen_share: stolen, ..self }
    }

    /// For people.
    pub(super) fn text(&self) -> String {
        let text = |value: &Option<String>| value.clone().unwrap_or_else(|| "?".into());
        let number = |value: Option<f64>| value.map_or_else(|| "?".into(), |value| value.to_string());
        let gib = self.memory_bytes.map(|bytes| ((bytes as f64 / f64::from(1 << 30)) * 10.0).round() / 10.0);
        format!(
            "{} × {}, {} GiB, Linux {}, {}; load average {} before, {} after, {} of the time stolen",
            self.cores.map_or_else(|| "?".into(), |cores| cores.to_string()),
            text(&self.cpu),
            number(gib),
            text(&self.kernel),
            text(&self.file_system),
            number(self.load_average_before),
            number(self.load_average_after),
            number(self.stolen_share),
        )
    }
}

fn line_of(file: &str, key: &str) -> Option<String> {
    let text = fs::read_to_string(file).ok()?;
    text.lines().find_map(|line| line.strip_prefix(key)).map(|rest| rest.trim().to_owned())
}

fn load_average() -> Option<f64> {
    fs::read_to_string("/proc/loadavg").ok()?.split_whitespace().next()?.parse().ok()
}

/// The kind of the file system that a folder is on.
fn file_system(dir: &Path) -> Option<String> {
    let device = fs::metadata(dir).ok()?.dev();
    let device = format!("{}:{}", rustix::fs::major(device), rustix::fs::minor(device));
    let mounts = fs::read_to_string("/proc/self/mountinfo").ok()?;
    let mount = mounts.lines().find(|line| line.split_whitespace().nth(2) == Some(&device))?;
    mount.split_once(" - ")?.1.split_whitespace().next().map(str::to_owned)
}
