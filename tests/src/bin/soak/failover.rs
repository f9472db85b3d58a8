//! The node that runs an application is lost with it, and another one goes on: again and again, while a client counts.
//!
//! `client/examples/counter.rs` serves under `cairn run` on two of four nodes. In each round the one that serves, its agent, its guard
//! and its application are killed at once; the client notes when the next answer comes, from whom, and in which epoch. Then all of
//! it comes back as the standby.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use cairn_store::node::NodeName;
use cairn_tests::agent::{Agent, is_gone, process};
use cairn_tests::site::Site;
use cairn_tests::wait::within;
use cairn_tests::{bins, files, prepared};
use rustix::process::{Pid, Signal, kill_process};

use crate::args::FailoverArgs;
use crate::ground::Ground;
use crate::report::note;

const NAME: &str = "app/counter";
/// How long a takeover may take before it is given up.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long the client waits for a connection, and for an answer.
const CONNECT_MAX: Duration = Duration::from_millis(200);
const ANSWER_MAX: Duration = Duration::from_secs(2);
/// How often the lead is handed over, so that the right node gets it.
const HANDOVERS_MAX: u32 = 6;
/// The pause between two tries.
const PAUSE: Duration = Duration::from_millis(5);

pub(crate) fn run(ground: &mut Ground, wish: &FailoverArgs) -> anyhow::Result<()> {
    let site = Site::dev(&ground.root(), 4, 0, &[])?;
    let mut scene = Scene::open(ground.root(), site, wish)?;
    let begun = Instant::now();
    let mut spans: [Vec<Duration>; 2] = Default::default();
    for round in 1..=wish.rounds {
        if begun.elapsed().as_secs() >= wish.seconds {
            break;
        }
        ground.pause(200, 1200)?;
        if wish.mib.is_none() && ground.chance.percent(50) {
            scene.lead_where_it_serves()?;
            // An election that takes longer than two thirds of the lease ends the application, and the other one takes over.
            if scene.settle()? {
                ground.count("takeovers because of an election", 1);
            }
        }
        let (led, span) = scene.round()?;
        ground.count(
            if led { "rounds in which the leader was lost" } else { "rounds in which a follower was lost" },
            1,
        );
        spans[usize::from(led)].push(span);
        note(&format!("round {round}: {span:?}{}", if led { ", the leader" } else { "" }));
    }
    let (answers, wrong) = scene.client.end();
    ground.count("answers to the client", answers);
    ground.judge.wrong.extend(wrong);
    for (what, spans) in ["a follower", "the leader"].iter().zip(&mut spans) {
        spans.sort();
        for (share, name) in [(50, "median"), (99, "99th percentile"), (100, "longest")] {
            let at = (spans.len() * share).div_ceil(100).saturating_sub(1);
            if let Some(span) = spans.get(at) {
                ground.count(&format!("{what} lost: {name}, ms"), u64::try_from(span.as_millis())?);
            }
        }
    }
    ensure!(ground.judge.wrong.is_empty(), "it ends here, because something is wrong");
    Ok(())
}

/// A node that may serve: its agent, and where its application listens.
struct Place {
    host: usize,
    address: SocketAddr,
    agent: Option<Agent>,
}

struct Scene {
    root: PathBuf,
    site: Site,
    wish: FailoverArgs,
    places: Vec<Place>,
    /// Which of them serves.
    serving: usize,
    client: Client,
}

impl Scene {
    fn open(root: PathBuf, site: Site, wish: &FailoverArgs) -> anyhow::Result<Self> {
        let mut ports = prepared::free_ports(2);
        let mut place = |host| -> anyhow::Result<Place> {
            let port = ports.next().context("two ports")?;
            Ok(Place { host, address: SocketAddr::from(([127, 0, 0, 1], port)), agent: None })
        };
        let places = vec![place(0)?, place(1)?];
        let client = Client::start(places.iter().map(|place| place.address).collect());
        let mut scene = Self { root, site, wish: wish.clone(), places, serving: 0, client };
        if let Some(mib) = wish.mib {
            let first = scene.state(0)?;
            let folder = first.parent().context("a folder")?;
            files::random(folder, "bulk", mib << 20, 1);
            std::fs::rename(folder.join("bulk"), first)?;
        }
        scene.agent(0)?.until("started");
        scene.stand_by(1)?;
        Ok(scene)
    }

    fn state(&self, place: usize) -> anyhow::Result<PathBuf> {
        let folder = self.root.join(format!("place-{place}"));
        std::fs::create_dir_all(&folder)?;
        Ok(folder.join("state"))
    }

    /// Starts the agent of a place.
    fn agent(&mut self, place: usize) -> anyhow::Result<&mut Agent> {
        let state = self.state(place)?;
        let Place { host, address, .. } = &self.places[place];
        let endpoint = self.site.hosts[*host].addresses.rpc.clone();
        let mut command =
            cairn_tests::run::cairn(&endpoint, ["run", NAME, "--standby", "--every", "never", "--lease"]);
        command.arg(&self.wish.lease).arg("--state").arg(state).arg("--");
        // A state that large is not saved for each answer: it is only there.
        match self.wish.mib {
            Some(_) => command.args(["sh", "-c", "while :; do sleep 1; done"]),
            None => command.arg(bins::example("counter")).args(["serve", &address.to_string()]),
        };
        Ok(self.places[place].agent.insert(Agent::start(command)))
    }

    /// Starts the agent of a place, and waits until it has the newest version at hand.
    fn stand_by(&mut self, place: usize) -> anyhow::Result<()> {
        let agent = self.agent(place)?;
        agent.until("standing_by");
        if agent.count("applied") == 0 {
            agent.until("applied");
        }
        Ok(())
    }

    /// Has the node lead that serves, as far as may be: whoever leads is stopped, and hands over to somebody.
    fn lead_where_it_serves(&mut self) -> anyhow::Result<()> {
        let serving = self.places[self.serving].host;
        for _ in 0..HANDOVERS_MAX {
            let leader = self.leader()?;
            let leader = self.site.index(&leader)?;
            if leader == serving {
                break;
            }
            self.site.hosts[leader].stop()?;
            self.site.start(leader)?;
            self.site.until_whole()?;
        }
        Ok(())
    }

    /// Sees who serves by now, the other one standing by; whether that is another one than before.
    fn settle(&mut self) -> anyhow::Result<bool> {
        let answered = self.client.count();
        self.client.until_answered(answered)?;
        let (before, now) = (self.serving, self.client.server().context("it was answered")?);
        self.serving = now;
        if before != now {
            let other = self.places[before].agent.as_mut().context("it stands by")?;
            other.until("lost");
            other.until("standing_by");
        }
        Ok(before != now)
    }

    /// Loses the one that serves; whether its node led, and how long nobody answered. Then it comes back.
    fn round(&mut self) -> anyhow::Result<(bool, Duration)> {
        let (lost, next) = (self.serving, 1 - self.serving);
        let leader = self.leader()?;
        let led = self.site.hosts[self.places[lost].host].name == leader;
        let before = if self.wish.mib.is_none() { self.client.until_answered(self.client.count())? } else { 0 };
        let agent = self.places[lost].agent.take().context("it serves")?;
        let begun = self.kill(agent, self.places[lost].host)?;
        let standby = self.places[next].agent.as_mut().context("it stands by")?;
        let span = match self.wish.mib {
            None => self.client.first_after(before)?.saturating_duration_since(begun),
            Some(_) => {
                standby.until("started");
                begun.elapsed()
            }
        };
        self.serving = next;
        self.site.start(self.places[lost].host)?;
        self.site.until_whole()?;
        self.stand_by(lost)?;
        Ok((led, span))
    }

    /// The whole machine goes at once: node, agent, guard and application.
    fn kill(&mut self, mut agent: Agent, host: usize) -> anyhow::Result<Instant> {
        let guard = agent.guard();
        let path = format!("/proc/{0}/task/{0}/children", guard.as_raw_nonzero());
        let application: Pid = process(&std::fs::read_to_string(&path)?);
        let begun = Instant::now();
        self.site.hosts[host].signal(Signal::KILL);
        for pid in [agent.pid(), guard, application] {
            let _ = kill_process(pid, Signal::KILL);
        }
        agent.kill();
        self.site.hosts[host].kill();
        within(PATIENCE, "its application is gone", || Ok(is_gone(application).then_some(())))?;
        Ok(begun)
    }

    fn leader(&self) -> anyhow::Result<NodeName> {
        let client = self.site.client(PATIENCE);
        within(PATIENCE, "there is a leader", || {
            Ok(self.site.wait(client.status()).ok().and_then(|status| status.leader))
        })
    }
}

/// One answer.
#[derive(Clone, Copy, Debug)]
struct Answer {
    at: Instant,
    count: u64,
    epoch: u64,
    server: usize,
}

/// Asks one server after the other to count, for ever, and notes every answer.
struct Client {
    answers: Arc<Mutex<Vec<Answer>>>,
    end: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Client {
    fn start(servers: Vec<SocketAddr>) -> Self {
        let (answers, end) = (Arc::<Mutex<Vec<Answer>>>::default(), Arc::<AtomicBool>::default());
        let (noted, ended) = (Arc::clone(&answers), Arc::clone(&end));
        let thread = std::thread::spawn(move || {
            let mut number = 1;
            let mut server = 0;
            while !ended.load(Ordering::Relaxed) {
                match ask(servers[server], number) {
                    Ok((count, epoch)) => {
                        let answer = Answer { at: Instant::now(), count, epoch, server };
                        noted.lock().unwrap_or_else(PoisonError::into_inner).push(answer);
                        number += 1;
                    }
                    Err(_) => {
                        server = (server + 1) % servers.len();
                        std::thread::sleep(PAUSE);
                    }
                }
            }
        });
        Self { answers, end, thread: Some(thread) }
    }

    /// How many answers came.
    fn count(&self) -> usize {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Who gave the newest one.
    fn server(&self) -> Option<usize> {
        self.answers.lock().unwrap_or_else(PoisonError::into_inner).last().map(|answer| answer.server)
    }

    /// Waits until more than so many answers came; how many there are.
    fn until_answered(&self, before: usize) -> anyhow::Result<usize> {
        within(PATIENCE, "the client is answered", || {
            let count = self.answers.lock().unwrap_or_else(PoisonError::into_inner).len();
            Ok((count > before).then_some(count))
        })
    }

    /// When the first answer of another epoch came than the one before the loss.
    fn first_after(&self, before: usize) -> anyhow::Result<Instant> {
        within(PATIENCE, "the next one answers", || {
            let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
            let epoch = answers[before - 1].epoch;
            Ok(answers[before..].iter().find(|answer| answer.epoch > epoch).map(|answer| answer.at))
        })
    }

    /// How many answers came, and what is wrong with them.
    fn end(&mut self) -> (u64, Vec<String>) {
        self.end.store(true, Ordering::Relaxed);
        self.thread.take().map(JoinHandle::join);
        let answers = self.answers.lock().unwrap_or_else(PoisonError::into_inner);
        let mut wrong = Vec::new();
        for pair in answers.windows(2) {
            let (one, next) = (pair[0], pair[1]);
            // There is one client: each answer is one more than the one before, or an acknowledged count was lost or made twice.
            if next.count != one.count + 1 {
                wrong.push(format!("A: {next:?} follows {one:?}"));
            }
            if next.epoch < one.epoch || (next.epoch == one.epoch && next.server != one.server) {
                wrong.push(format!("B: {next:?} follows {one:?}"));
            }
        }
        (answers.len() as u64, wrong)
    }
}

fn ask(server: SocketAddr, number: u64) -> anyhow::Result<(u64, u64)> {
    let mut stream = TcpStream::connect_timeout(&server, CONNECT_MAX)?;
    stream.set_read_timeout(Some(ANSWER_MAX))?;
    stream.write_all(format!("client {number}\n").as_bytes())?;
    let mut line = String::new();
    BufReader::new(stream).read_line(&mut line)?;
    let (count, epoch) = line.trim().split_once(' ').context("an answer is COUNT EPOCH")?;
    Ok((count.parse()?, epoch.parse()?))
}
