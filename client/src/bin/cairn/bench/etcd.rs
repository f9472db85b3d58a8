//! The peer for metadata: three members of etcd, and clients that put over gRPC.

mod put;

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use tokio::time::sleep;

pub(super) use self::put::Put;
use super::ground::Ground;
use super::program::{Running, free_ports};
use crate::daemon::on_path;
use crate::report::Report;

const MEMBERS: usize = 3;
/// How long the members may take to have a leader.
const START_PATIENCE: Duration = Duration::from_secs(30);
/// The pause between two looks.
const LOOK: Duration = Duration::from_millis(100);
/// How long one look may take.
const LOOK_MAX: Duration = Duration::from_secs(2);

/// The program; an error says where to get it.
pub(super) fn find() -> Result<Box<Path>, Report> {
    on_path("etcd").ok_or_else(|| {
        let hint = "install it (Debian: apt-get install etcd-server), or measure with --without-peers";
        Report { hint: Some(hint.into()), ..Report::internal("there is no etcd to compare with") }
    })
}

/// Three members. Dropped, they end.
pub(super) struct Etcd {
    _members: Vec<Running>,
    /// `HOST:PORT`, the leader's first.
    endpoints: Vec<String>,
}

impl Etcd {
    /// Starts them, with their data in the folder, and waits for a leader.
    pub(super) async fn start(program: &Path, ground: &Ground) -> Result<Self, Report> {
        let addresses = free_ports::<{ 2 * MEMBERS }>()?.map(|port| format!("127.0.0.1:{port}"));
        let (clients, peers) = addresses.split_at(MEMBERS);
        let all: Vec<String> = peers.iter().enumerate().map(|(nth, peer)| format!("m{nth}=http://{peer}")).collect();
        let dir = ground.folder("etcd")?;
        let mut members = Vec::new();
        for (nth, (client, peer)) in clients.iter().zip(peers).enumerate() {
            let (name, client, peer) = (format!("m{nth}"), format!("http://{client}"), format!("http://{peer}"));
            let mut member = Command::new(program.as_os_str());
            // It would take settings from the environment too.
            member.env_clear().stdout(Stdio::null()).stderr(Stdio::null());
            member.args(["--name", &name]).arg("--data-dir").arg(dir.join(&name));
            member.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
            member.args(["--listen-peer-urls", &peer, "--initial-advertise-peer-urls", &peer]);
            member.args(["--initial-cluster", &all.join(","), "--initial-cluster-state", "new"]);
            members.push(Running::spawn(&mut member)?);
        }
        let deadline = Instant::now() + START_PATIENCE;
        loop {
            if let Some(leader) = clients.iter().position(|endpoint| leads(endpoint)) {
                let (before, from) = clients.split_at(leader);
                return Ok(Self { _members: members, endpoints: [from, before].concat() });
            }
            if members.iter_mut().any(Running::has_ended) || Instant::now() >= deadline {
                return Err(Report::internal("the members of etcd found no leader"));
            }
            sleep(LOOK).await;
        }
    }

    /// Members in turn, the leader first.
    pub(super) fn endpoint(&self, nth: usize) -> &str {
        self.endpoints.get(nth % MEMBERS).map_or("", String::as_str)
    }
}

/// Whether a member says of itself that it leads.
fn leads(endpoint: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(endpoint)?;
        stream.set_read_timeout(Some(LOOK_MAX))?;
        stream.write_all(b"GET /metrics HTTP/1.0\r\n\r\n")?;
        let mut text = String::new();
        stream.read_to_string(&mut text)?;
        Ok(text)
    };
    ask().is_ok_and(|text| text.lines().any(|line| line == "etcd_server_is_leader 1"))
}
