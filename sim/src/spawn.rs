//! Tasks without threads.

use cairn_node::env::Spawn;
use futures::future::BoxFuture;

/// Tasks of the machine's own runtime. Blocking work runs in place: the files are memory.
#[derive(Debug, Default)]
pub struct SimSpawn;

impl Spawn for SimSpawn {
    fn task(&self, task: BoxFuture<'static, ()>) {
        tokio::spawn(task);
    }

    fn blocking(&self, work: Box<dyn FnOnce() + Send>) {
        work();
    }
}
