//! What clients asked and were told, as it is written down while it happens.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use cairn_sim::history::{Ask, Call, History, Moment, Told};
use cairn_store::id::RequestId;
use cairn_store::name::Name;
use cairn_store::node::NodeName;

/// Writes a history down.
///
/// A cut of the power is preceded by [`Book::freeze`]: an answer that comes later may rest on an fsync that raced the
/// cut and only seemed to succeed, so it is not believed, and the call stays open.
#[derive(Debug)]
pub struct Book {
    start: Instant,
    pages: Mutex<Pages>,
}

#[derive(Debug, Default)]
struct Pages {
    history: History,
    /// In which era each call was asked.
    eras: Vec<u64>,
    era: u64,
    frozen: bool,
}

/// Where a call is written.
#[derive(Clone, Copy, Debug)]
pub struct Place(usize);

impl Default for Book {
    fn default() -> Self {
        Self { start: Instant::now(), pages: Mutex::default() }
    }
}

impl Book {
    /// A call is made.
    pub fn ask(&self, node: &NodeName, request: RequestId, name: &Name, ask: Ask) -> Place {
        let mut pages = self.pages();
        let asked = self.now();
        let call = Call { node: node.clone(), request, name: name.clone(), ask, asked, told: None };
        let era = pages.era;
        pages.eras.push(era);
        Place(pages.history.ask(call))
    }

    /// A call is answered. An unknown outcome is none.
    pub fn tell(&self, place: Place, told: Told) {
        let mut pages = self.pages();
        let believed = !pages.frozen && pages.eras.get(place.0) == Some(&pages.era);
        if believed && told != Told::Unknown {
            let now = self.now();
            pages.history.tell(place.0, now, told);
        }
    }

    /// From now on no answer is believed.
    pub fn freeze(&self) {
        self.pages().frozen = true;
    }

    /// Answers are believed again, of calls that are asked from now on.
    pub fn thaw(&self) {
        let mut pages = self.pages();
        pages.frozen = false;
        pages.era += 1;
    }

    /// Everything so far.
    pub fn history(&self) -> History {
        self.pages().history.clone()
    }

    /// How many calls were made.
    pub fn len(&self) -> usize {
        self.pages().history.calls.len()
    }

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn now(&self) -> Moment {
        Moment { at: self.start.elapsed(), ..Moment::default() }
    }

    fn pages(&self) -> MutexGuard<'_, Pages> {
        self.pages.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use cairn_client::request;

    #[test]
    fn answers_around_a_cut_are_not_believed() {
        let book = Book::default();
        let (node, name) = ("n1".parse().unwrap(), "a".parse().unwrap());
        let ask = || book.ask(&node, request::new_id(), &name, Ask::Claim);
        let (before, across, within) = (ask(), ask(), {
            book.tell(Place(0), Told::Done);
            book.freeze();
            ask()
        });
        book.tell(across, Told::Done);
        book.thaw();
        book.tell(within, Told::Done);
        let after = ask();
        book.tell(after, Told::Done);
        let told: Vec<bool> = book.history().calls.iter().map(|call| call.told.is_some()).collect();
        assert_eq!(told, [true, false, false, true]);
        assert_eq!(before.0, 0);
    }
}
