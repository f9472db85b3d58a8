//! Network namespaces around a router, which is this process's own network.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::process::Command;

use anyhow::Context;

use crate::image::run;

/// The rules' place, before all others.
const PRIORITY: &str = "100";

/// As long as it lives, so does the network; and no longer than this process.
pub(crate) struct Network {
    dropped: BTreeSet<(usize, usize)>,
}

impl Network {
    /// One namespace for each node. Whoever calls this has a network and mounts of its own.
    pub(crate) fn make(nodes: usize) -> anyhow::Result<Self> {
        // Names of namespaces are mounts: in a folder that nobody else sees.
        std::fs::create_dir_all("/run/netns")?;
        run(Command::new("mount").args(["-t", "tmpfs", "none", "/run/netns"]))?;
        ip(&["link", "set", "lo", "up"])?;
        std::fs::write("/proc/sys/net/ipv4/ip_forward", "1").context("this network cannot forward")?;
        for number in 0..nodes {
            let (name, port) = (name(number), format!("port{number}"));
            ip(&["netns", "add", &name])?;
            ip(&["link", "add", &port, "type", "veth", "peer", "name", "eth0", "netns", &name])?;
            ip(&["addr", "add", &format!("{}/24", router(number)), "dev", &port])?;
            ip(&["link", "set", &port, "up"])?;
            ip(&["-n", &name, "addr", "add", &format!("{}/24", Self::address(number)), "dev", "eth0"])?;
            ip(&["-n", &name, "link", "set", "eth0", "up"])?;
            ip(&["-n", &name, "link", "set", "lo", "up"])?;
            ip(&["-n", &name, "route", "add", "default", "via", &router(number)])?;
        }
        Ok(Self { dropped: BTreeSet::new() })
    }

    /// A node's address.
    pub(crate) fn address(number: usize) -> String {
        format!("10.78.{number}.2")
    }

    /// What stands before a program that runs there.
    pub(crate) fn before(number: usize) -> Vec<OsString> {
        ["ip", "netns", "exec", &name(number)].map(OsString::from).to_vec()
    }

    /// Loses every packet from the one to the other, of each of these pairs.
    pub(crate) fn drop_packets(&mut self, pairs: &BTreeSet<(usize, usize)>) -> anyhow::Result<()> {
        for pair in pairs {
            rule("add", *pair)?;
            self.dropped.insert(*pair);
        }
        Ok(())
    }

    /// Loses nothing any more.
    pub(crate) fn heal(&mut self) -> anyhow::Result<()> {
        std::mem::take(&mut self.dropped).into_iter().try_for_each(|pair| rule("del", pair))
    }
}

fn rule(verb: &str, (from, to): (usize, usize)) -> anyhow::Result<()> {
    let (from, to) = (Network::address(from), Network::address(to));
    ip(&["rule", verb, "from", &from, "to", &to, "priority", PRIORITY, "blackhole"])
}

fn name(number: usize) -> String {
    format!("cairn{number}")
}

fn router(number: usize) -> String {
    format!("10.78.{number}.1")
}

fn ip(words: &[&str]) -> anyhow::Result<()> {
    run(Command::new("ip").args(words))
}
