use std::time::Duration;

use super::*;

fn at(ms: u64) -> Moment {
    Moment { at: Duration::from_millis(ms), ..Moment::default() }
}

fn node(name: &str) -> String {
    name.to_owned()
}

fn save(by: &str, bytes: &[u8]) -> Op {
    Op::Save { node: node(by), digest: Digest::of(bytes), if_version: None, epoch: None }
}

fn saved(version: u64, epoch: u64) -> Ret {
    Ret::Saved { version: Version(version), epoch: Epoch(epoch) }
}

fn loaded(version: u64, epoch: u64, bytes: &[u8], owner: &str) -> Ret {
    let (version, epoch) = (Version(version), Epoch(epoch));
    Ret::Loaded { version, epoch, digest: Digest::of(bytes), owner: Some(node(owner)) }
}

fn call(op: Op, begin: u64, end: Option<(u64, Ret)>) -> Modelled {
    Modelled { op, begin: at(begin), end: end.map(|(ms, ret)| (at(ms), ret)) }
}

/// Nobody is emptied.
fn is_linearizable(calls: &[Modelled]) -> bool {
    super::is_linearizable(calls, &Arc::default())
}

#[test]
fn whoever_is_emptied_may_lose_what_it_owns_and_has_lost_it_then() {
    let first = call(save("n1", b"a"), 0, Some((10, saved(1, 1))));
    let ownerless = Ret::Loaded { version: Version(1), epoch: Epoch(1), digest: Digest::of(b"a"), owner: None };
    let read = call(Op::Load, 20, Some((30, ownerless)));
    let again = call(save("n1", b"b"), 40, Some((50, saved(2, 1))));
    let emptied = |node: &str| Arc::new(BTreeSet::from([node.to_owned()]));
    let both = [first.clone(), read.clone()];
    assert!(super::is_linearizable(&both, &emptied("n1")));
    assert!(!super::is_linearizable(&both, &emptied("n2")) && !is_linearizable(&both));
    assert!(super::is_linearizable(&[first.clone(), again.clone()], &emptied("n1")), "it need not");
    assert!(!super::is_linearizable(&[first, read, again], &emptied("n1")), "who is not the owner saves");
}

#[test]
fn a_read_that_goes_back_is_found() {
    let first = call(save("n1", b"a"), 0, Some((10, saved(1, 1))));
    let second = call(save("n1", b"b"), 20, Some((30, saved(2, 1))));
    let read =
        |begin, version, bytes: &[u8]| call(Op::Load, begin, Some((begin + 5, loaded(version, 1, bytes, "n1"))));
    assert!(is_linearizable(&[first.clone(), second.clone(), read(40, 2, b"b")]));
    assert!(is_linearizable(&[first.clone(), second.clone(), read(22, 1, b"a")]), "at the same time");
    assert!(!is_linearizable(&[first.clone(), second.clone(), read(40, 1, b"a")]), "an old version");
    assert!(!is_linearizable(&[first, second, read(40, 2, b"a")]), "other bytes");
}

#[test]
fn a_call_without_an_answer_may_have_happened_or_not() {
    let first = call(save("n1", b"a"), 0, Some((10, saved(1, 1))));
    let open = call(Op::Claim { node: node("n2") }, 20, None);
    let read = |owner, epoch| call(Op::Load, 40, Some((50, loaded(1, epoch, b"a", owner))));
    assert!(is_linearizable(&[first.clone(), open.clone(), read("n1", 1)]));
    assert!(is_linearizable(&[first.clone(), open.clone(), read("n2", 2)]));
    assert!(!is_linearizable(&[first.clone(), open.clone(), read("n3", 2)]));
    assert!(!is_linearizable(&[first, open, read("n2", 3)]));
}

#[test]
fn a_load_that_takes_over_may_give_what_its_node_saved_since() {
    let (name, digest) = ("job/a".parse::<cairn_store::name::Name>().unwrap(), Digest::of(b"b"));
    let told = |told| Some((at(60), told));
    let call = |ask, begin, told: Option<(Moment, Told)>| Call {
        node: "n2".parse().unwrap(),
        request: cairn_client::request::new_id(),
        name: name.clone(),
        ask,
        asked: at(begin),
        told,
    };
    let save = |bytes: &[u8]| Ask::Save {
        digest: Digest::of(bytes),
        replicas: 0,
        ack: cairn_store::segment::Ack::All,
        keep: 2,
        if_version: None,
        epoch: None,
    };
    let saved = |version, epoch, bytes: &[u8]| Told::Saved {
        segment: cairn_store::id::SegmentId(uuid::Uuid::nil()),
        version: Version(version),
        epoch: Epoch(epoch),
        digest: Digest::of(bytes),
        owner: Some("n2".parse().unwrap()),
    };
    let first = call(save(b"a"), 0, Some((at(10), saved(1, 1, b"a"))));
    let loaded = |epoch| Told::Loaded {
        version: Version(2),
        epoch: Epoch(epoch),
        digest,
        read: digest,
        owner: Some("n2".parse().unwrap()),
        claimed: true,
    };
    let taken = |epoch| call(Ask::Load { version: None, claim: true, stale: false }, 20, told(loaded(epoch)));
    let second = call(save(b"b"), 30, Some((at(40), saved(2, 2, b"b"))));
    let judge = |calls: Vec<Call>| search(&History { calls, ..History::default() }).wrong.len();
    assert_eq!(judge(vec![first.clone(), taken(2), second.clone()]), 0);
    assert_eq!(judge(vec![first, taken(3), second]), 1, "it took over after the save, so in the epoch of the save");
}

#[test]
fn two_owners_in_one_epoch_are_found() {
    let first = call(save("n1", b"a"), 0, Some((10, saved(1, 1))));
    let claim = |by: &str, epoch| {
        let ret = Ret::Claimed { head: Version(1), epoch: Epoch(epoch) };
        call(Op::Claim { node: node(by) }, 20, Some((30, ret)))
    };
    assert!(is_linearizable(&[first.clone(), claim("n2", 2), claim("n3", 3)]));
    assert!(!is_linearizable(&[first.clone(), claim("n2", 2), claim("n3", 2)]));
    let late = call(save("n1", b"b"), 40, Some((50, saved(2, 1))));
    assert!(!is_linearizable(&[first, claim("n2", 2), late]), "a save in an old epoch");
}

#[test]
fn a_removed_name_begins_anew_above_its_last_epoch() {
    let first = call(save("n1", b"a"), 0, Some((10, saved(1, 4))));
    let removed = call(Op::Remove, 20, Some((30, Ret::Done)));
    let absent = call(Op::Load, 40, Some((45, Ret::Absent)));
    let again = |epoch| call(save("n2", b"b"), 50, Some((60, saved(1, epoch))));
    assert!(is_linearizable(&[first.clone(), removed.clone(), absent.clone(), again(5)]));
    assert!(is_linearizable(&[first.clone(), removed.clone(), again(9)]), "failed first saves use epochs up");
    assert!(!is_linearizable(&[first.clone(), removed, again(4)]));
    assert!(!is_linearizable(&[first, absent]));
}
