//! Until when, and after which pause, the same request is sent again.

use std::collections::BTreeSet;
use std::time::Duration;

use cairn_store::id::Incarnation;
use tokio::time::{Instant, sleep};

use crate::api::{Code, Error, Outcome};
use crate::fault::Fault;

/// The pause before the first retry.
pub const PAUSE_MIN: Duration = Duration::from_millis(50);
/// The longest pause between two retries; each is twice the one before.
pub const PAUSE_MAX: Duration = Duration::from_secs(1);

/// How often work may begin anew and still count as progress from its first byte on.
const BEGINNINGS_MAX: u32 = 5;

/// An attempt that failed.
#[derive(Clone, Debug)]
pub(crate) struct Failure {
    /// What to say if it was the last one.
    pub(crate) error: Error,
    /// Whether the request may have been carried out all the same.
    pub(crate) sent: bool,
    /// Whether `error` is a node's answer to the request itself.
    pub(crate) answered: bool,
}

impl Failure {
    /// No node was reached.
    pub(crate) fn unreached(error: Error) -> Self {
        Self { error, sent: false, answered: false }
    }

    /// A node was asked, and no answer came.
    pub(crate) fn unanswered(error: Error) -> Self {
        Self { error, sent: true, answered: false }
    }

    /// A node answered.
    pub(crate) fn answered(error: Error) -> Self {
        Self { sent: error.outcome == Outcome::Unknown, error, answered: true }
    }
}

/// One request's patience.
#[derive(Debug)]
pub(crate) struct Retry {
    span: Duration,
    deadline: Instant,
    pause: Duration,
    mutating: bool,
    /// The node of this attempt, if the request means something else on every node.
    node: Option<Incarnation>,
    /// Where an attempt may have been carried out.
    maybe: BTreeSet<Option<Incarnation>>,
    /// How far the work was at its furthest, and how often it began anew.
    mark: u64,
    beginnings: u32,
    /// What a node answered last. It says more than the silence of an attempt that was cut short.
    told: Option<Error>,
}

impl Retry {
    /// Patience for `span` from now on, renewed by [`Retry::progress`].
    pub(crate) fn new(span: Duration, mutating: bool) -> Self {
        let deadline = Instant::now() + span;
        Self {
            span,
            deadline,
            pause: PAUSE_MIN,
            mutating,
            node: None,
            maybe: BTreeSet::new(),
            mark: 0,
            beginnings: 0,
            told: None,
        }
    }

    /// From now on this very node is asked, for something that it alone would do.
    pub(crate) fn at(&mut self, node: Incarnation) {
        self.node = Some(node);
    }

    /// How long is left.
    pub(crate) fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    /// Work begins, or an earlier attempt's work is joined, and stands at `mark`. After a few beginnings only what goes
    /// beyond the furthest mark of all is progress: else work that fails at the same place again and again, such as an
    /// unreadable sector, would never be given up.
    pub(crate) fn begins_at(&mut self, mark: u64) {
        if mark < self.mark {
            if self.beginnings >= BEGINNINGS_MAX {
                return;
            }
            self.beginnings += 1;
        }
        self.mark = mark;
    }

    /// The work stands at `mark`: if that is further than before, the whole span begins anew.
    pub(crate) fn stands_at(&mut self, mark: u64) {
        if mark > self.mark {
            self.mark = mark;
            self.progress();
        }
    }

    /// The work goes on: the whole span begins anew.
    pub(crate) fn progress(&mut self) {
        self.deadline = Instant::now() + self.span;
        self.pause = PAUSE_MIN;
        // What was in the way is over.
        self.told = None;
    }

    /// Waits for the next attempt, or says what the last one came to.
    pub(crate) async fn again(&mut self, failure: Failure) -> Result<(), Error> {
        if self.mutating && failure.sent {
            self.maybe.insert(self.node);
        }
        if !failure.error.retryable {
            // An answer to the same request id speaks for every earlier attempt there; any other error does not.
            let speaks = failure.answered && self.maybe.iter().all(|node| *node == self.node);
            return Err(if speaks { failure.error } else { self.with_outcome(failure.error) });
        }
        if failure.answered {
            self.told = Some(failure.error.clone());
        }
        sleep(self.pause.min(self.left())).await;
        self.pause = (self.pause * 2).min(PAUSE_MAX);
        if self.left().is_zero() { Err(self.give_up(failure.error)) } else { Ok(()) }
    }

    /// The error once the time is over: a node's own reason, if there is one.
    fn give_up(&self, last: Error) -> Error {
        let last = self.told.clone().unwrap_or(last);
        let span = humantime::format_duration(self.span);
        let message = format!("{} (gave up after {span})", last.message);
        self.with_outcome(Error { code: Code::Unavailable, message, retryable: true, ..last })
    }

    /// What went wrong here says nothing of the attempts before.
    pub(crate) fn fault(&self, fault: Fault) -> Fault {
        if self.maybe.is_empty() { fault } else { fault.unknown() }
    }

    fn with_outcome(&self, error: Error) -> Error {
        Error { outcome: if self.maybe.is_empty() { Outcome::None } else { Outcome::Unknown }, ..error }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn gives_up_after_the_span_and_not_before() {
        let start = Instant::now();
        let mut retry = Retry::new(Duration::from_secs(10), true);
        let error = loop {
            if let Err(error) = retry.again(Failure::unreached(Error::unavailable("no leader"))).await {
                break error;
            }
        };
        assert_eq!(start.elapsed().as_secs(), 10);
        assert_eq!((error.code, error.outcome), (Code::Unavailable, Outcome::None));
        assert_eq!(error.message, "no leader (gave up after 10s)");
    }

    #[tokio::test(start_paused = true)]
    async fn an_attempt_that_broke_makes_the_outcome_unknown_if_it_changes_something() {
        for (mutating, outcome) in [(true, Outcome::Unknown), (false, Outcome::None)] {
            let mut retry = Retry::new(Duration::from_millis(60), mutating);
            assert_eq!(retry.again(Failure::unanswered(Error::unavailable("broken"))).await, Ok(()));
            let error = retry.again(Failure::unreached(Error::unavailable("gone"))).await.unwrap_err();
            assert_eq!(error.outcome, outcome);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_answer_stands_whatever_came_before() {
        let mut retry = Retry::new(Duration::from_secs(1), true);
        assert_eq!(retry.again(Failure::unanswered(Error::unavailable("broken"))).await, Ok(()));
        let answer = Error::new(Code::Conflict, "taken");
        assert_eq!(retry.again(Failure::answered(answer.clone())).await, Err(answer));
    }

    #[tokio::test(start_paused = true)]
    async fn a_node_s_own_reason_is_told_though_the_last_attempt_was_cut_short() {
        for (progress, message) in [(false, "no leader (gave up after 60ms)"), (true, "silent (gave up after 60ms)")]
        {
            let mut retry = Retry::new(Duration::from_millis(60), true);
            let reason = Error::unavailable("no leader").hint("see the health");
            assert_eq!(retry.again(Failure::answered(reason)).await, Ok(()));
            if progress {
                retry.progress();
                sleep(Duration::from_millis(50)).await;
            }
            let error = retry.again(Failure::unanswered(Error::unavailable("silent"))).await.unwrap_err();
            assert_eq!((error.message.as_str(), error.hint.is_some()), (message, !progress));
            assert_eq!(error.outcome, Outcome::Unknown, "the last attempt may have been carried out");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_final_answer_of_another_node_does_not_speak_for_the_first() {
        let [first, second] = [1, 2].map(|number| Incarnation(uuid::Uuid::from_u128(number)));
        let answer = Error::new(Code::Conflict, "the first owns it");
        let cases = [
            (second, Failure::unanswered(Error::unavailable("lost")), Outcome::Unknown),
            (first, Failure::unanswered(Error::unavailable("lost")), Outcome::None),
            (second, Failure::unreached(Error::unavailable("refused")), Outcome::None),
            (second, Failure::answered(Error::unavailable("no leader")), Outcome::None),
            (second, Failure::answered(Error::unavailable("no quorum").unknown()), Outcome::Unknown),
        ];
        for (next, failure, outcome) in cases {
            let mut retry = Retry::new(Duration::from_secs(1), true);
            retry.at(first);
            assert_eq!(retry.again(failure.clone()).await, Ok(()));
            retry.at(next);
            let fault = retry.fault(Fault::from(answer.clone()));
            assert_eq!(fault.outcome() == Outcome::Unknown, failure.sent, "a fault of this machine knows no more");
            let error = retry.again(Failure::answered(answer.clone())).await.unwrap_err();
            assert_eq!((error.code, error.outcome), (Code::Conflict, outcome), "{failure:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_that_stops_at_the_same_place_again_and_again_is_given_up() {
        let mut retry = Retry::new(Duration::from_secs(10), false);
        for _ in 0..=BEGINNINGS_MAX {
            retry.begins_at(0);
            tokio::time::advance(Duration::from_secs(9)).await;
            retry.stands_at(100);
            assert_eq!(retry.left(), Duration::from_secs(10));
        }
        retry.begins_at(0);
        tokio::time::advance(Duration::from_secs(9)).await;
        retry.stands_at(100);
        assert_eq!(retry.left(), Duration::from_secs(1));
        retry.stands_at(101);
        assert_eq!(retry.left(), Duration::from_secs(10));
    }

    #[tokio::test(start_paused = true)]
    async fn progress_pushes_the_deadline_on() {
        let mut retry = Retry::new(Duration::from_secs(1), true);
        tokio::time::advance(Duration::from_millis(900)).await;
        retry.progress();
        assert_eq!(retry.left(), Duration::from_secs(1));
    }
}
