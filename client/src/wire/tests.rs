use proptest::prelude::*;
use uuid::Uuid;

use super::*;

/// Runs what needs no reactor.
fn now<T>(work: impl Future<Output = T>) -> T {
    futures::executor::block_on(work)
}

fn received<B: Body>(mut bytes: &[u8]) -> Result<B, WireError> {
    now(receive(&mut bytes))
}

fn sent(body: &impl Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    now(send(&mut bytes, body)).unwrap();
    bytes
}

fn push(name: &str, numbers: [u64; 3], save: bool) -> Push {
    Push {
        request: RequestId(Uuid::from_u128(3)),
        segment: SegmentId(Uuid::from_u128(1)),
        name: name.parse().unwrap(),
        version: Version(numbers[0]),
        epoch: Epoch(numbers[1]),
        save,
        copy: CopyId(Uuid::from_u128(2)),
        size: numbers[2],
    }
}

#[test]
fn a_frame_has_these_bytes() {
    let bytes = sent(&Greeting::Client);
    assert_eq!(bytes[..12], *b"CRN1\x02\0\x01\0\x01\0\0\0");
    assert_eq!(bytes.len(), HEADER_BYTES + 1);
}

/// What travels is known to the byte: a change needs a new protocol, and fixtures beside these.
#[test]
fn the_frames_of_a_transfer_are_frozen() {
    let frames = [
        ("push", sent(&push("a/b", [1, 2, 3], true)), &include_bytes!("../../fixtures/push-v2.bin")[..]),
        (
            "pull",
            sent(&Pull { request: RequestId(Uuid::from_u128(3)), copy: CopyId(Uuid::from_u128(2)), from_block: 7 }),
            &include_bytes!("../../fixtures/pull-v2.bin")[..],
        ),
    ];
    for (name, frame, fixture) in frames {
        assert_eq!(frame, fixture, "{name}: {}", frame.escape_ascii());
    }
}

#[test]
fn another_kind_another_protocol_and_strangers_are_told_apart() {
    let good = sent(&Greeting::Client);
    assert!(matches!(received::<Welcome>(&good), Err(WireError::Kind { found: 1, wanted: 2 })));
    let mut other = good.clone();
    other[4] = 9;
    assert!(matches!(received::<Greeting>(&other), Err(WireError::Protocol(9))));
    assert!(matches!(received::<Greeting>(b"HTTP/1.1 400 Bad Request"), Err(WireError::Magic)));
    assert!(matches!(received::<Greeting>(&good[..HEADER_BYTES]), Err(WireError::Io(_))));
}

#[test]
fn a_lying_length_is_refused_before_anything_is_allocated() {
    let mut bytes = sent(&Greeting::Client);
    bytes[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    assert!(matches!(received::<Greeting>(&bytes), Err(WireError::TooLong(u32::MAX))));
    assert!(matches!(encode(Kind::Snapshot, &vec![0; BODY_BYTES_MAX + 1]), Err(WireError::TooLong(_))));
    assert!(encode(Kind::Snapshot, &vec![0; BODY_BYTES_MAX]).is_ok());
}

proptest! {
    #[test]
    fn what_is_sent_is_received(name in "[a-z]{1,20}(/[a-z]{1,9}){0,3}", numbers: [u64; 3], save: bool) {
        let body = push(&name, numbers, save);
        prop_assert_eq!(received::<Push>(&sent(&body)).unwrap(), body);
    }

    #[test]
    fn any_flipped_bit_is_found(at in any::<prop::sample::Index>(), bit in 0..8_u8) {
        let mut bytes = sent(&push("a/b", [1, 2, 3], true));
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        prop_assert!(received::<Push>(&bytes).is_err());
    }

    #[test]
    fn garbage_is_an_error(body in prop::collection::vec(any::<u8>(), 0..300), kind in 0..12_u16) {
        // A body that passes the checksum can still be anything.
        let mut bytes = encode(Kind::Push, &body).unwrap();
        let _ = received::<Push>(&bytes);
        let _ = received::<Welcome>(&encode(Kind::Welcome, &body).unwrap());
        let _ = received::<PullAnswer>(&encode(Kind::PullAnswer, &body).unwrap());
        bytes[6..8].copy_from_slice(&kind.to_le_bytes());
        prop_assert!(received::<Push>(&bytes).is_err() || kind == Kind::Push as u16);
        prop_assert!(received::<Push>(&body).is_err());
    }
}
