//! Clients at work: each does its steps one after the other.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::time::Duration;

use cairn_client::api::{Code, WatchRequest};
use cairn_store::digest::Digest;
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::{Ack, Epoch, Version};
use tokio::io::AsyncWriteExt as _;
use tokio::time::sleep;

use super::CALLS_MIN;
use super::desk::{Desk, Known, PATIENCE, file_of};
use super::plan::{Act, STEPS, Step};
use super::probe;
use crate::history::{Ask, Told};
use crate::rng::SplitMix;
use crate::world::Machine;

/// The most bytes of what makes no sense.
const GARBAGE_BYTES_MAX: u64 = 4_000;

/// One client does its steps; and all of them once more, as long as a whole life has too few calls: there may have been nobody to
/// ask for long.
pub(super) async fn client(desk: &Rc<Desk>, steps: &[Step]) -> anyhow::Result<()> {
    desk.busy.set(desk.busy.get() + 1);
    let again = steps.iter().filter(|_| steps.len() == STEPS);
    for (number, step) in steps.iter().chain(again).enumerate() {
        if number >= steps.len() && desk.tally.so_far().0 >= CALLS_MIN {
            break;
        }
        sleep(step.pause).await;
        Worker { desk, step, rng: SplitMix::new(step.luck) }.work().await?;
    }
    desk.busy.set(desk.busy.get() - 1);
    Ok(())
}

/// One step at work.
struct Worker<'a> {
    desk: &'a Desk,
    step: &'a Step,
    rng: SplitMix,
}

impl Worker<'_> {
    async fn work(&self) -> anyhow::Result<()> {
        let name: Name = self.step.name.parse()?;
        let known = self.desk.known(&name);
        let version = || Some(Version(1 + self.rng.below(known.head.0.max(1))));
        let some_version = version().unwrap_or(Version::NONE);
        match self.step.act {
            Act::Save => self.save(&name, &known, false).await,
            Act::SaveGuarded => self.save(&name, &known, true).await,
            Act::Load => self.ask(&name, Ask::Load { version: None, claim: false, stale: false }).await,
            Act::LoadAndClaim => self.ask(&name, Ask::Load { version: None, claim: true, stale: false }).await,
            Act::LoadStale => self.ask(&name, Ask::Load { version: None, claim: false, stale: true }).await,
            Act::LoadVersion => self.ask(&name, Ask::Load { version: version(), claim: false, stale: false }).await,
            Act::Claim => self.ask(&name, Ask::Claim).await,
            Act::Release => self.ask(&name, Ask::Release { epoch: known.epoch }).await,
            Act::Remove => self.ask(&name, Ask::Remove { version: None }).await,
            Act::RemoveVersion => self.ask(&name, Ask::Remove { version: Some(some_version) }).await,
            Act::Pin => self.ask(&name, Ask::Pin { version: some_version }).await,
            Act::Unpin => {
                let version = Some(some_version).filter(|_| self.rng.below(2) == 0);
                self.ask(&name, Ask::Unpin { version }).await
            }
            Act::Watch => self.watch().await,
            Act::Look => self.look().await,
            Act::Drain => self.drain().await,
            Act::Probe => probe::probe(self.desk, &name, &self.rng).await,
            Act::Garbage => self.send_garbage().await,
        }
    }

    /// A machine that may own; the owner's, mostly.
    fn executor(&self, likely: Option<&NodeName>) -> Option<Rc<Machine>> {
        let machines = self.desk.cluster.machines();
        let owner = likely.and_then(|owner| self.desk.cluster.machine_of(owner).ok());
        if let Some(owner) = owner.filter(|owner| owner.is_on() && self.rng.below(10) < 8) {
            return Some(owner.clone());
        }
        // Few ask where nobody answers: that only takes time.
        let any = self.rng.below(8) == 0;
        let can = |m: &&Rc<Machine>| m.role == Role::Executor && !m.is_lost() && (any || m.is_on());
        let executors: Vec<_> = machines.iter().filter(can).collect();
        executors.get(self.rng.index(executors.len())).map(|machine| (*machine).clone())
    }

    async fn save(&self, name: &Name, known: &Known, guarded: bool) -> anyhow::Result<()> {
        let Some(machine) = self.executor(known.owner.as_ref()) else { return Ok(()) };
        let request = self.desk.cluster.new_request();
        let bytes = self.bytes(request);
        // Where no machine runs, no application does.
        if !machine.is_on() || machine.disk.write_spool(&file_of(request), &bytes).is_err() {
            return Ok(());
        }
        let ack = self.rng.one_of([Ack::All, Ack::All, Ack::All, Ack::Quorum, Ack::One, Ack::Local]);
        let ask = Ask::Save {
            digest: Digest::of(&bytes),
            replicas: [2, 2, 1, 1, 0, 3].get(self.rng.index(6)).copied().unwrap_or(2),
            ack,
            keep: 1 + u32::try_from(self.rng.below(4))?,
            if_version: Some(known.head).filter(|_| guarded && self.rng.below(2) == 0),
            epoch: Some(known.epoch).filter(|epoch| guarded && *epoch != Epoch::default()),
        };
        let told = self.repeat(&machine, request, name, ask).await?;
        if told != Told::Unknown {
            machine.disk.remove_spool(&file_of(request));
        }
        Ok(())
    }

    /// Bytes that no other save has.
    fn bytes(&self, request: RequestId) -> Vec<u8> {
        let length = match self.rng.below(100) {
            0..70 => self.rng.below(4_000),
            70..94 => self.rng.below(60_000),
            94..99 => self.rng.below(300_000),
            _ => 1_000_000 + self.rng.below(1_500_000),
        };
        let mut bytes = request.0.into_bytes().to_vec();
        bytes.extend(self.rng.bytes(usize::try_from(length).unwrap_or(0)));
        bytes
    }

    async fn ask(&self, name: &Name, ask: Ask) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let request = self.desk.cluster.new_request();
        self.repeat(&machine, request, name, ask).await.map(drop)
    }

    /// Asks; sometimes again after no answer, and sometimes again after one.
    async fn repeat(&self, machine: &Machine, request: RequestId, name: &Name, ask: Ask) -> anyhow::Result<Told> {
        let node = machine.node_name()?;
        let mut told = self.desk.call(machine, request, name, ask.clone()).await?;
        for _ in 0..2 {
            let again = match &told {
                Told::Unknown => self.rng.below(2) == 0,
                Told::Refused(Code::Conflict) => self.rng.below(6) == 0,
                told => told.is_success() && self.rng.below(12) == 0,
            };
            if !again || !changes(&ask) {
                break;
            }
            sleep(Duration::from_millis(self.rng.below(1_500))).await;
            // On another node's disk there is another node.
            if machine.node_name()? != node {
                break;
            }
            let next = self.desk.call(machine, request, name, ask.clone()).await?;
            if next != Told::Unknown {
                told = next;
            }
        }
        Ok(told)
    }

    /// Changes come in order, and none is left out, whichever node tells them; or it says that some are gone (R15).
    async fn watch(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        let from = 1 + self.rng.below(self.desk.cluster.moment().revision + 2);
        let asked = client.call(false, |rpc, context| {
            let request = WatchRequest { prefix: String::new(), from: Some(from), cluster: None, wait: PATIENCE / 3 };
            async move { rpc.watch(context, request).await }
        });
        let Ok(watched) = asked.await else { return Ok(()) };
        self.desk.tally.call(format!("watch {}", if watched.relist { "relist" } else { "done" }));
        if watched.relist {
            return Ok(());
        }
        let told = watched.events.iter().map(|e| (e.revision, e.change, &e.name, e.version, e.epoch));
        let oracle = self.desk.cluster.oracle.borrow();
        let known = oracle.chronicle.events().filter(|event| (from..watched.next).contains(&event.revision));
        let known = known.map(|e| (e.revision, e.change, &e.name, e.version, e.epoch));
        let node = machine.node_name()?;
        anyhow::ensure!(told.eq(known), "{node} tells other changes from revision {from} on than were committed");
        Ok(())
    }

    async fn look(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        if let Ok(all) = client.list_all("", None).await {
            let names: BTreeSet<&Name> = all.iter().map(|segment| &segment.name).collect();
            anyhow::ensure!(names.len() == all.len(), "a list has a name twice");
            if let Some(segment) = all.get(self.rng.index(all.len())) {
                // It may be gone by now.
                let _ = client.show(&segment.name).await;
            }
        }
        let _ = futures::join!(client.nodes(), client.status(), client.peers());
        self.desk.tally.call("look".into());
        Ok(())
    }

    async fn drain(&self) -> anyhow::Result<()> {
        let Some(machine) = self.executor(None) else { return Ok(()) };
        let client = self.desk.cluster.client_for(&machine.name, PATIENCE)?;
        let node = machine.node_name()?;
        let begun = self.desk.begin_drain(&node);
        let drained = client.drain(&node, true).await.is_ok();
        sleep(Duration::from_millis(self.rng.below(3_000))).await;
        let ended = client.drain(&node, false).await.is_ok();
        // One that was not answered may be carried out yet.
        if drained && ended {
            self.desk.end_drain(begun);
        }
        self.desk.tally.call(format!("drain {}", if drained && ended { "done" } else { "unknown" }));
        Ok(())
    }

    /// H: whatever comes in, the node stays up, and the connection ends.
    async fn send_garbage(&self) -> anyhow::Result<()> {
        let machines = self.desk.cluster.machines();
        let Some(machine) = machines.get(self.rng.index(machines.len())) else { return Ok(()) };
        let address = if self.rng.below(2) == 0 { machine.rpc() } else { machine.data() };
        let count = usize::try_from(self.rng.below(GARBAGE_BYTES_MAX))?;
        let connected = tokio::time::timeout(PATIENCE, turmoil::net::TcpStream::connect(address)).await;
        if let Ok(Ok(mut stream)) = connected {
            let _ = stream.write_all(&self.rng.bytes(count)).await;
            sleep(Duration::from_millis(self.rng.below(500))).await;
        }
        self.desk.tally.call("garbage".into());
        Ok(())
    }
}

/// Whether the same request may be asked again: a read is another one each time.
fn changes(ask: &Ask) -> bool {
    !matches!(ask, Ask::Load { claim: false, .. })
}
