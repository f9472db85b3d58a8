//! Every answer that the state machine can keep, in a snapshot as each version of the format writes it.

use std::path::PathBuf;
use std::time::Duration;

use super::ids;
use crate::digest::Digest;
use crate::meta::command::{Outcome, Rejection, Reply, Source};
use crate::meta::state::{Answer, State};
use crate::segment::{Epoch, Version};
use crate::time::LogTime;

/// `UPDATE_FIXTURE=1` writes it again: only for what a release has never written.
#[test]
fn every_answer_has_the_bytes_of_its_version() {
    let mut state = State::default();
    for (number, reply) in (0..).zip(replies()) {
        let answer = Answer { until: LogTime(60_000 + number), fingerprint: number, reply };
        state.remember_answer(ids::request(number), answer);
    }
    let written: Vec<u8> = state.records().flat_map(Result::unwrap).collect();
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures/answers-v6.bin");
    if std::env::var_os("UPDATE_FIXTURE").is_some() {
        std::fs::write(&path, &written).unwrap();
    }
    let kept = std::fs::read(&path).unwrap();
    assert_eq!(State::read(&mut &kept[..]).unwrap().answers, state.answers);
    assert!(kept == written, "the same answers are written as other bytes");
    // Each version has kinds of refusals that the one before had not.
    let older = [
        ("answers-v5.bin", 2),
        ("answers-v4.bin", 6),
        ("answers-v3.bin", 11),
        ("answers-v2.bin", 17),
        ("answers-v1.bin", 19),
    ];
    for (name, fewer) in older {
        let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("fixtures").join(name);
        let older = State::read(&mut &std::fs::read(&path).unwrap()[..]).unwrap().answers;
        assert_eq!(older.len(), state.answers.len() - fewer);
        assert!(older.iter().all(|(id, answer)| state.answers.get(id) == Some(answer)));
    }
}

fn replies() -> Vec<Reply> {
    use Rejection as R;
    let node = ids::node(3);
    let done = [
        Outcome::Done,
        Outcome::Joined { node, cluster: ids::cluster(1) },
        Outcome::Registered { segment: ids::segment(2), epoch: Epoch(4) },
        Outcome::Committed {
            segment: ids::segment(2),
            version: Version(5),
            epoch: Epoch(4),
            digest: Digest::of(b"bytes"),
            size: 70_000,
        },
        Outcome::Claimed { epoch: Epoch(6), head: Version(5) },
    ];
    // Since version 5: behind the refusals, so that those keep their numbers.
    let later = [Outcome::Renewed { span: Duration::from_millis(2500) }];
    let refused = [
        R::AlreadyFounded,
        R::NotFounded,
        R::NoSuchNode(node),
        R::NodeNameTaken("n1".into()),
        R::TooManyNodes(64),
        R::NameTaken { owner: Some(node) },
        R::NoSuchSegment,
        R::NoSuchVersion(Version(5)),
        R::NotOwner { owner: None },
        R::StaleEpoch { current: Epoch(6) },
        R::HeadMoved { head: Version(7) },
        R::StorageOnly,
        R::TooFewCopies { have: 1, need: 2 },
        R::NoOwnCopy,
        R::ReceiptExpired,
        R::CopySpent,
        R::OtherBytes,
        R::Redundant,
        R::TooManyCopies,
        R::NotEmpty,
        R::Retained(Version(5)),
        R::NotExpired,
        R::RequestExpired,
        R::RequestMismatch,
        R::RequestsFull,
        R::OutOfBounds("size".into()),
        R::Pinned(Version(5)),
        R::TooManyPins(64),
        R::TooFewStay { have: 1, need: 3 },
        R::OwnersCopy,
        R::Draining(node),
        R::NotDraining(node),
        R::LastNode,
        R::LastCopy(Version(5)),
        R::NotEmptied { copies: 300, owned: 2 },
        R::NodeRemoved(node),
        R::HasSegments,
        R::OtherSource(Source { cluster: ids::cluster(2), revision: 90 }),
        R::Restoring,
        R::Recovering,
        R::NotRecovering,
        R::Leased { owner: node, until: LogTime(70_000) },
        R::NoLease,
        R::NotLapsed,
    ];
    // Since version 6.
    let newest = [R::NoObject, R::Archived];
    let outcomes = done.iter().chain(&later).map(outcome);
    let refusals = refused.iter().chain(&newest).map(rejection);
    assert!(outcomes.eq(0..done.len() + later.len()) && refusals.eq(0..refused.len() + newest.len()));
    let before = done.into_iter().map(Ok).chain(refused.into_iter().map(Err)).chain(later.into_iter().map(Ok));
    before.chain(newest.into_iter().map(Err)).collect()
}

/// A new one does not compile here until it is added above.
fn outcome(outcome: &Outcome) -> usize {
    match outcome {
        Outcome::Done => 0,
        Outcome::Joined { .. } => 1,
        Outcome::Registered { .. } => 2,
        Outcome::Committed { .. } => 3,
        Outcome::Claimed { .. } => 4,
        Outcome::Renewed { .. } => 5,
    }
}

/// Likewise.
fn rejection(rejection: &Rejection) -> usize {
    match rejection {
        Rejection::AlreadyFounded => 0,
        Rejection::NotFounded => 1,
        Rejection::NoSuchNode(_) => 2,
        Rejection::NodeNameTaken(_) => 3,
        Rejection::TooManyNodes(_) => 4,
        Rejection::NameTaken { .. } => 5,
        Rejection::NoSuchSegment => 6,
        Rejection::NoSuchVersion(_) => 7,
        Rejection::NotOwner { .. } => 8,
        Rejection::StaleEpoch { .. } => 9,
        Rejection::HeadMoved { .. } => 10,
        Rejection::StorageOnly => 11,
        Rejection::TooFewCopies { .. } => 12,
        Rejection::NoOwnCopy => 13,
        Rejection::ReceiptExpired => 14,
        Rejection::CopySpent => 15,
        Rejection::OtherBytes => 16,
        Rejection::Redundant => 17,
        Rejection::TooManyCopies => 18,
        Rejection::NotEmpty => 19,
        Rejection::Retained(_) => 20,
        Rejection::NotExpired => 21,
        Rejection::RequestExpired => 22,
        Rejection::RequestMismatch => 23,
        Rejection::RequestsFull => 24,
        Rejection::OutOfBounds(_) => 25,
        Rejection::Pinned(_) => 26,
        Rejection::TooManyPins(_) => 27,
        Rejection::TooFewStay { .. } => 28,
        Rejection::OwnersCopy => 29,
        Rejection::Draining(_) => 30,
        Rejection::NotDraining(_) => 31,
        Rejection::LastNode => 32,
        Rejection::LastCopy(_) => 33,
        Rejection::NotEmptied { .. } => 34,
        Rejection::NodeRemoved(_) => 35,
        Rejection::HasSegments => 36,
        Rejection::OtherSource(_) => 37,
        Rejection::Restoring => 38,
        Rejection::Recovering => 39,
        Rejection::NotRecovering => 40,
        Rejection::Leased { .. } => 41,
        Rejection::NoLease => 42,
        Rejection::NotLapsed => 43,
        Rejection::NoObject => 44,
        Rejection::Archived => 45,
    }
}
