//! The guard: a process between the agent and the command, with a timer of its own (R5).
//!
//! ```text
//! cairn run ──orders──► cairn guard ──► CMD and whatever it forks
//!           ◄──words───
//! ```
//!
//! It ends the command when the lease runs out, be the agent busy, stopped or gone; and at once when the agent ends. If the guard
//! itself is killed, the command dies by its parent-death signal, and the agent kills what is left.

use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream as StdStream;
use std::os::unix::process::CommandExt;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use cairn_client::lease::{Alarm, Moment};
use rustix::process::{
    Pid, Signal, WaitStatus, geteuid, getpid, getppid, kill_process_group, set_parent_process_death_signal,
};
use rustix::thread::set_no_new_privs;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::net::UnixStream;
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::signal::unix::{SignalKind, signal};
use tokio::time::{Instant, sleep};

use super::family::{self, Reaped};
use super::lock::Lock;
use super::orders::{Ended, Order, Word};
use crate::args::{GuardArgs, WardArgs};

/// How long an earlier guard may take to kill what is left of an agent that was killed.
const EARLIER_MAX: Duration = Duration::from_secs(20);
/// How often it is looked whether it is done.
const LOOK: Duration = Duration::from_millis(10);
/// How long what a command leaves behind may take to end by itself, such as a `tee` at the end of its output.
const LEFT_MAX: Duration = Duration::from_millis(300);
/// What a shell says of a program that is not there, and of one that cannot be run.
const NOT_FOUND: u8 = 127;
const NOT_RUNNABLE: u8 = 126;

/// What asks a command to end that has not begun.
const ENDING: [i32; 2] = [Signal::INT.as_raw(), Signal::TERM.as_raw()];

/// The signals that are not the guard's: who wants the command to end tells the agent.
const DEAF_TO: [fn() -> SignalKind; 6] = [
    SignalKind::hangup,
    SignalKind::interrupt,
    SignalKind::quit,
    SignalKind::terminate,
    SignalKind::user_defined1,
    SignalKind::user_defined2,
];

/// `cairn guard`
pub(crate) fn run(args: GuardArgs) -> ExitCode {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    match runtime.and_then(|runtime| runtime.block_on(guard(args))) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            complain(format_args!("cairn guard: {error}"));
            ExitCode::FAILURE
        }
    }
}

/// `cairn ward`: becomes the command, as a process that dies with the guard.
pub(crate) fn become_ward(args: WardArgs) -> ExitCode {
    let Some((program, words)) = args.command.split_first() else { return ExitCode::from(NOT_FOUND) };
    if let Err(error) = set_parent_process_death_signal(Some(Signal::KILL)) {
        complain(format_args!("cairn: the command cannot be tied to its guard: {error}"));
        return ExitCode::FAILURE;
    }
    // It may have ended before the line above.
    if getppid().map(|pid| pid.as_raw_nonzero().get()) != Some(args.parent) {
        return ExitCode::FAILURE;
    }
    // Who became another user could not be killed. Root kills everybody.
    if !geteuid().is_root()
        && let Err(error) = set_no_new_privs(true)
    {
        complain(format_args!("cairn: the command cannot be kept from other users' rights: {error}"));
        return ExitCode::FAILURE;
    }
    let error = Command::new(program).args(words).exec();
    complain(format_args!("cairn: cannot run {}: {error}", program.display()));
    ExitCode::from(if error.kind() == io::ErrorKind::NotFound { NOT_FOUND } else { NOT_RUNNABLE })
}

fn complain(what: std::fmt::Arguments<'_>) {
    // Without a place for errors there is nothing more to say.
    let _ = writeln!(io::stderr().lock(), "{what}");
}

async fn guard(args: GuardArgs) -> io::Result<()> {
    let (mut agent, children) = (Agent::at_stdin()?, signal(SignalKind::child())?);
    let deaf: Vec<_> = DEAF_TO.iter().map(|kind| signal(kind())).collect::<io::Result<_>>()?;
    family::adopt()?;
    let begun = begin(&args, &mut agent).await?;
    let Some((_lock, stop, kill)) = begun else { return Ok(()) };
    let mut guard =
        Guard { main: None, ended: None, alarms: Alarms { stop: Alarm::new()?, kill: Alarm::new()? }, children };
    guard.alarms.stop.set(stop)?;
    guard.alarms.kill.set(kill)?;
    let word = match guard.start(&args) {
        Ok(pid) => {
            agent.tell(&Word::Started { pid: pid.as_raw_nonzero().get() }).await;
            Word::Ended(guard.watch(&mut agent).await?)
        }
        Err(error) => Word::Failed(error.to_string()),
    };
    agent.tell(&word).await;
    drop(deaf);
    Ok(())
}

/// Waits until what an earlier agent left is gone, and for how long the lease lasts; none if it is not to start any more.
async fn begin(args: &GuardArgs, agent: &mut Agent) -> io::Result<Option<(Lock, Moment, Moment)>> {
    let (start, mut lease, mut held) = (Instant::now(), None, None);
    loop {
        if held.is_none() {
            held = Lock::take(&args.lock)?;
        }
        // A lease that is over by now starts nothing: it may be another one's.
        let live = lease.filter(|(stop, _): &(Moment, Moment)| !stop.left().is_zero());
        if let (Some(_), Some((stop, kill))) = (&held, live) {
            return Ok(held.map(|lock| (lock, stop, kill)));
        }
        if start.elapsed() >= EARLIER_MAX {
            agent.tell(&Word::Failed("what an earlier agent ran here is still there".into())).await;
            return Ok(None);
        }
        tokio::select! {
            order = agent.order() => match order {
                Some(Order::Until { stop, kill }) => lease = Some((stop, kill)),
                Some(Order::Signal(number)) if !ENDING.contains(&number) => {}
                Some(Order::Signal(_) | Order::Kill) | None => {
                    agent.tell(&Word::Ended(Ended::default())).await;
                    return Ok(None);
                }
            },
            () = sleep(LOOK) => {}
        }
    }
}

struct Alarms {
    stop: Alarm,
    kill: Alarm,
}

struct Guard {
    main: Option<Pid>,
    ended: Option<WaitStatus>,
    alarms: Alarms,
    children: tokio::signal::unix::Signal,
}

impl Guard {
    /// Starts the command, in a process group of its own: a terminal's Ctrl-C is for the agent.
    fn start(&mut self, args: &GuardArgs) -> io::Result<Pid> {
        let own = getpid().as_raw_nonzero().get().to_string();
        let mut command = Command::new("/proc/self/exe");
        command.arg0("cairn").args(["ward", "--parent", &own, "--"]).args(&args.command);
        let child = command.stdin(Stdio::null()).process_group(0).spawn()?;
        let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or_else(|| io::Error::other("the command has no process id"))?;
        self.main = Some(pid);
        Ok(pid)
    }

    /// Until all of it is gone.
    async fn watch(&mut self, agent: &mut Agent) -> io::Result<Ended> {
        while self.ended.is_none() {
            tokio::select! {
                // What it was told while it was stopped comes before its own timers.
                biased;
                order = agent.order() => match order {
                    Some(Order::Until { stop, kill }) => {
                        self.alarms.stop.set(stop)?;
                        self.alarms.kill.set(kill)?;
                    }
                    Some(Order::Signal(number)) => self.pass(number),
                    Some(Order::Kill) | None => self.kill().await,
                },
                rang = self.alarms.stop.ring() => {
                    rang?;
                    agent.tell(&Word::Stopping).await;
                    self.pass(Signal::TERM.as_raw());
                }
                rang = self.alarms.kill.ring() => {
                    rang?;
                    self.kill().await;
                }
                _ = self.children.recv() => self.reap(),
            }
        }
        // What is about to end by itself was not left behind.
        let end = Instant::now() + LEFT_MAX;
        while !family::descendants(getpid()).is_empty() && Instant::now() < end {
            sleep(LOOK).await;
            self.reap();
        }
        let left = family::descendants(getpid()).len();
        self.kill().await;
        let status = self.ended;
        Ok(Ended {
            code: status.and_then(WaitStatus::exit_status),
            signal: status.and_then(WaitStatus::terminating_signal),
            left,
        })
    }

    fn pass(&self, number: i32) {
        if let (Some(pid), Some(signal)) = (self.main, Signal::from_named_raw(number)) {
            // To all of its group, as a terminal does: what a shell runs is to hear of it too. Not reaped yet, so the number is still
            // its own.
            let _ = kill_process_group(pid, signal);
        }
    }

    fn reap(&mut self) {
        while let Reaped::Child(pid, status) = family::reap() {
            self.note(pid, status);
        }
    }

    async fn kill(&mut self) {
        let (main, mut found) = (self.main, None);
        family::end(|pid, status| {
            if Some(pid) == main {
                found = Some(status);
            }
        })
        .await;
        self.ended = self.ended.or(found);
    }

    fn note(&mut self, pid: Pid, status: WaitStatus) {
        if Some(pid) == self.main {
            self.ended = Some(status);
        }
    }
}

/// The other end of the socket.
struct Agent {
    orders: Lines<BufReader<OwnedReadHalf>>,
    words: OwnedWriteHalf,
}

impl Agent {
    /// The socket that the agent gave this process in the place of its standard input.
    fn at_stdin() -> io::Result<Self> {
        let socket = StdStream::from(io::stdin().as_fd().try_clone_to_owned()?);
        socket.set_nonblocking(true)?;
        let (orders, words) = UnixStream::from_std(socket)?.into_split();
        Ok(Self { orders: BufReader::new(orders).lines(), words })
    }

    /// The next order; none if the agent is gone, or talks nonsense. May be dropped at any point.
    async fn order(&mut self) -> Option<Order> {
        let line = self.orders.next_line().await.ok()??;
        serde_json::from_str(&line).ok()
    }

    async fn tell(&mut self, word: &Word) {
        let Ok(mut line) = serde_json::to_string(word) else { return };
        line.push('\n');
        // An agent that is gone needs no word.
        let _ = self.words.write_all(line.as_bytes()).await;
    }
}
