//! H: what a process and its folder take, by what the kernel says.

use std::fs;

use cairn_sim::invariants::bounded::{self, Bound};

use crate::site::Site;

/// Memory of a node of a soak, at most, in KiB. A large part of it is what the log and the catalogue cache.
const MEMORY_KIB_MAX: u64 = 512 << 10;
/// Open files and sockets, at most.
const DESCRIPTORS_MAX: u64 = 600;
/// Threads, at most: those for blocking work are let go after a while.
const THREADS_MAX: u64 = 400;
/// What went beyond its bound.
pub(super) fn judge(site: &Site, spooled_max: u64) -> Vec<String> {
    let mut bounds = Vec::new();
    for host in &site.hosts {
        let node = host.name.as_str();
        let Some(pid) = host.pid() else { continue };
        let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
        let line = |key: &str| {
            let found = status.lines().find_map(|line| line.strip_prefix(key));
            found.and_then(|value| value.split_whitespace().next()).and_then(|value| value.parse().ok()).unwrap_or(0)
        };
        let descriptors = fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count) as u64;
        let spooled = fs::read_dir(host.dir.join("spool")).map_or(0, |spool| {
            spool.flatten().filter(|entry| entry.file_name() != cairn_store::disk::SPOOL_MARK).count() as u64
        });
        let mut bound = |what, found, most| bounds.push(Bound { node, what, found, most });
        bound("KiB of memory", line("VmRSS:"), MEMORY_KIB_MAX);
        bound("threads", line("Threads:"), THREADS_MAX);
        bound("descriptors", descriptors, DESCRIPTORS_MAX);
        bound("files in the spool", spooled, spooled_max);
    }
    bounded::violations(bounds)
}
