//! What a scenario asks of the world. turmoil takes such things only between two steps.

use std::cell::RefCell;
use std::time::Duration;

use tokio::sync::oneshot;

/// A thing that happens to machines.
#[derive(Clone, Debug)]
pub enum Action {
    /// The power goes. Whatever was not fsynced may be lost.
    Crash(Vec<String>),
    /// The power comes again.
    Start(Vec<String>),
    /// The disks of a machine that is off are replaced by empty ones.
    Wipe(String),
    /// The node of a machine that is off, and whose disks are empty, founds a cluster when it starts.
    Found(String),
    /// The node of a machine that is off is laid aside, but for its copies: the machine goes on as another node, of the cluster that
    /// it founds, or of one that it joins.
    LayAside {
        /// Which machine.
        name: String,
        /// Whether it founds a cluster.
        founds: bool,
    },
    /// Messages between these and those are lost, either way: connections break for good.
    Partition(Vec<String>, Vec<String>),
    /// Messages from these to those are lost; those back go through.
    Deafen(Vec<String>, Vec<String>),
    /// Messages between these and those are held back, as TCP does while a cable is out.
    Hold(Vec<String>, Vec<String>),
    /// Messages between these and those may take so long.
    Slow(Vec<String>, Vec<String>, Duration),
    /// Of the messages between these and those, this part is lost, with all that is on its way then.
    Lossy(Vec<String>, Vec<String>, f64),
    /// Messages go again, those held back too, all of them and in the usual time.
    Heal(Vec<String>, Vec<String>),
}

/// Actions that wait for the end of the step.
#[derive(Debug, Default)]
pub struct Control(RefCell<Vec<(Action, oneshot::Sender<()>)>>);

impl Control {
    /// Asks, and waits until it happened.
    pub async fn ask(&self, action: Action) {
        let (tell, done) = oneshot::channel();
        self.0.borrow_mut().push((action, tell));
        // Without an answer the world has ended, and so has this.
        let _ = done.await;
    }

    /// What was asked.
    pub(super) fn take(&self) -> Vec<(Action, oneshot::Sender<()>)> {
        self.0.take()
    }
}
