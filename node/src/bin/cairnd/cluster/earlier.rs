//! What lies in the folder already: nothing, an earlier cluster, or something that is not ours. Changes nothing.

use std::fs::{self, File};
use std::io::ErrorKind;
use std::path::Path;

use cairn_store::node::Role;
use rustix::fs::{FlockOperation, Mode, OFlags};
use rustix::io::Errno;
use serde::Deserialize;

use super::plan::{PORTS, read};
use super::record::RECORD;
use crate::failure::{CONFLICT, Failure, USAGE};
use crate::{durable, folder};

/// The nodes that were asked for, in the order of their ports.
pub(super) type Names = [(String, Role)];

/// Keeps other clusters out of `dir` while the returned file is held. Leaves no trace.
pub(super) fn lock(dir: &Path) -> Result<Option<File>, Failure> {
    // Anything else than a folder is for others to name, and not to wait for.
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let Ok(folder) = rustix::fs::open(dir, flags, Mode::empty()) else { return Ok(None) };
    match rustix::fs::flock(&folder, FlockOperation::NonBlockingLockExclusive) {
        Err(Errno::WOULDBLOCK) => {
            let message = format!("another `cairnd dev` runs in {}", dir.display());
            Err(Failure::new(message).exit(CONFLICT).hint("end that one first, or use another --dir"))
        }
        // Some network file systems cannot lock a folder. Each node still has a lock of its own.
        _ => Ok(Some(File::from(folder))),
    }
}

/// The first port of the cluster that is here already; none if there is none yet.
///
/// # Errors
/// A folder that is not ours, a cluster of other nodes, one that has lost a node's folder.
pub(super) fn base(dir: &Path, names: &Names) -> Result<Option<u16>, Failure> {
    let Some(entries) = entries(dir)? else { return Ok(None) };
    let made = names_made(dir)?;
    let configured: Vec<String> =
        entries.into_iter().filter(|name| dir.join(name).join("cairnd.toml").is_file()).collect();
    match &made {
        Some(made) => check_same(dir, made, names)?,
        // Its first start was interrupted, or somebody has prepared it.
        None if !configured.is_empty() => check_known(dir, &configured, names)?,
        None => {
            check_ours(dir, names)?;
            return Ok(None);
        }
    }
    common_base(dir, &configured, names)
}

fn entries(dir: &Path) -> Result<Option<Vec<String>>, Failure> {
    let listed = match fs::read_dir(dir) {
        Ok(listed) => listed,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(None),
        Err(e) if e.kind() == ErrorKind::NotADirectory => {
            let message = format!("{} is not a folder", dir.display());
            return Err(Failure::new(message)
                .exit(USAGE)
                .hint("give --dir a folder, or a path where nothing is yet"));
        }
        Err(e) => return Err(Failure::io(dir.display())(e)),
    };
    let name = |entry: std::io::Result<fs::DirEntry>| entry.map(|e| e.file_name().to_string_lossy().into_owned());
    listed.map(name).collect::<Result<_, _>>().map(Some).map_err(Failure::io(dir.display()))
}

/// The nodes of the cluster that once was ready here.
fn names_made(dir: &Path) -> Result<Option<Vec<(String, Role)>>, Failure> {
    #[derive(Deserialize)]
    struct Record {
        nodes: Vec<Node>,
    }
    #[derive(Deserialize)]
    struct Node {
        name: String,
        role: Role,
    }
    let path = dir.join(RECORD);
    let Some(text) = durable::read(&path)? else { return Ok(None) };
    let record: Record = serde_json::from_str(&text).map_err(|e| {
        let message = format!("{} is not what `cairnd dev` writes: {e}", path.display());
        Failure::new(message).exit(CONFLICT).hint("use another --dir; or, if the nodes' folders are whole, remove it")
    })?;
    Ok(Some(record.nodes.into_iter().map(|node| (node.name, node.role)).collect()))
}

fn check_same(dir: &Path, made: &Names, names: &Names) -> Result<(), Failure> {
    if made != names {
        let of = |role: Role| made.iter().filter(|(_, its)| *its == role).count();
        let listed: Vec<&str> = made.iter().map(|(name, _)| name.as_str()).collect();
        let hint = format!(
            "start it with --nodes {} --storage-nodes {}, or use another --dir",
            of(Role::Executor),
            of(Role::Storage)
        );
        return Err(other_cluster(dir, &format!("its nodes are {}", listed.join(", "))).hint(hint));
    }
    for (name, _) in names {
        let file = dir.join(name).join("cairnd.toml");
        let identified = file.is_file() && folder::identity(&read(&file)?.dir)?.is_some();
        if !identified {
            let message = format!("{}: the folder of node {name} is missing, or not whole", dir.join(name).display());
            return Err(Failure::new(message)
                .exit(CONFLICT)
                .hint(
                    "the others may know it and wait for it: restore its folder; or, if it was removed from the cluster, let a new \
                     node join in its place; or begin anew in another --dir",
                ));
        }
    }
    Ok(())
}

fn check_known(dir: &Path, configured: &[String], names: &Names) -> Result<(), Failure> {
    match configured.iter().find(|name| position(names, name).is_none()) {
        Some(name) => Err(other_cluster(dir, &format!("it has a node {name}"))),
        None => Ok(()),
    }
}

/// No folder lies here but those that we may have begun: nobody's home shall get mixed with ours. Single files, such
/// as a log of our own output, do no harm.
fn check_ours(dir: &Path, names: &Names) -> Result<(), Failure> {
    let begun = |name: &str| -> Result<bool, Failure> {
        let inside = entries(&dir.join(name))?.unwrap_or_default();
        Ok(position(names, name).is_some() && inside.iter().all(|file| file.starts_with("cairnd.toml")))
    };
    for name in entries(dir)?.unwrap_or_default() {
        if dir.join(&name).is_dir() && !begun(&name)? {
            let message = format!("{} is not empty, and not of `cairnd dev`: it has a folder {name}", dir.display());
            return Err(Failure::new(message).exit(CONFLICT).hint("give --dir an empty folder, or a new one"));
        }
    }
    Ok(())
}

fn common_base(dir: &Path, configured: &[String], names: &Names) -> Result<Option<u16>, Failure> {
    let mut base = None;
    for name in configured {
        // Others may have put a node of theirs here.
        let Some(index) = position(names, name) else { continue };
        let file = dir.join(name).join("cairnd.toml");
        let port = read(&file)?.listen.rpc.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
        let offset = u16::try_from(index).ok().and_then(|i| i.checked_mul(PORTS));
        let first = port.zip(offset).and_then(|(port, offset)| port.checked_sub(offset));
        if first.is_none() || base.is_some_and(|base| Some(base) != first) {
            return Err(other_cluster(dir, &format!("the ports of node {name} do not fit")));
        }
        base = first;
    }
    Ok(base)
}

fn position(names: &Names, name: &str) -> Option<usize> {
    names.iter().position(|(known, _)| known == name)
}

fn other_cluster(dir: &Path, what: &str) -> Failure {
    let hint =
        "start it with the --nodes, --storage-nodes and --base-port that it was made with, or use another --dir";
    Failure::new(format!("{} holds another cluster: {what}", dir.display())).exit(USAGE).hint(hint)
}
