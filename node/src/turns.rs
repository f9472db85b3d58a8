//! One at a time for each key: saves of one name wait for each other, in order.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use cairn_store::name::Name;
use tokio::sync::OwnedMutexGuard;

/// The keys that somebody holds or waits for.
#[derive(Debug, Default)]
pub struct Turns(Arc<Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>>);

/// One's turn; ends when dropped.
#[derive(Debug)]
pub struct Turn {
    turns: Arc<Mutex<BTreeMap<Name, Arc<tokio::sync::Mutex<()>>>>>,
    name: Name,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Turns {
    /// Waits for one's turn.
    pub async fn wait(&self, name: &Name) -> Turn {
        let mutex = {
            let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            turns.entry(name.clone()).or_default().clone()
        };
        let guard = Some(mutex.lock_owned().await);
        Turn { turns: self.0.clone(), name: name.clone(), guard }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        self.guard = None;
        // Nobody else holds or waits: only the map knows the lock.
        if turns.get(&self.name).is_some_and(|mutex| Arc::strong_count(mutex) == 1) {
            turns.remove(&self.name);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::future::poll_fn;
    use std::pin::pin;
    use std::task::Poll;

    use super::*;

    async fn is_ready<F: Future>(future: std::pin::Pin<&mut F>) -> bool {
        let mut future = future;
        poll_fn(|cx| Poll::Ready(future.as_mut().poll(cx).is_ready())).await
    }

    #[tokio::test]
    async fn one_at_a_time_for_each_name() {
        let (turns, a, b) = (Turns::default(), "a".parse().unwrap(), "b".parse().unwrap());
        let first = turns.wait(&a).await;
        let mut second = pin!(turns.wait(&a));
        assert!(!is_ready(second.as_mut()).await, "the name is held");
        let other = turns.wait(&b).await;
        drop(first);
        let second = second.await;
        drop((second, other));
        assert!(turns.0.lock().unwrap().is_empty(), "what nobody holds is forgotten");
    }
}
