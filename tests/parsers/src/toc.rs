//! The `.toc` of a copy.

use cairn_store::digest::{BLOCK_BYTES, BlockTable, Digest, TableBuilder};
use cairn_store::disk::{TOC_KIND, Toc};
use cairn_store::id::{ClusterId, CopyId, NodeId, SegmentId};
use cairn_store::record;
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::LogTime;
use uuid::Uuid;

use crate::{crc, named};

/// The file's bytes, as they are and with the checksum mended; and as the bytes of a copy whose `.toc` is written here.
pub fn run(bytes: &[u8]) {
    read(bytes);
    read(&crc::records(bytes));
    let toc = toc_of(bytes);
    let good = record::encode(TOC_KIND, &toc).unwrap();
    assert_eq!(record::decode(TOC_KIND, &good), Ok((toc, &[][..])));
    if let Some((at, flip)) = bytes.split_first()
        && let Some(flip) = flip.first().filter(|flip| **flip != 0)
    {
        let mut bad = good;
        let at = usize::from(*at) % bad.len();
        bad[at] ^= flip;
        assert!(record::decode::<Toc>(TOC_KIND, &bad).is_err(), "a byte that changed is found");
    }
}

fn read(bytes: &[u8]) {
    // As the file of the copy that it tells of, else of any.
    let claimed = record::decode::<Toc>(TOC_KIND, bytes).ok().map(|(toc, _)| toc.copy);
    let copy = claimed.unwrap_or(CopyId(Uuid::nil()));
    let read = Toc::decode(bytes, copy);
    assert!(Toc::decode(bytes, CopyId(Uuid::from_u128(!copy.0.as_u128()))).is_err(), "it is no other copy's");
    let Ok(toc) = read else { return };
    assert_eq!(toc.copy, copy, "it tells of another copy");
    assert_eq!(toc.table.digest(), toc.digest, "the table leads to the digest");
    let table = BlockTable::checked(toc.table.size(), toc.table.as_bytes(), toc.digest);
    assert_eq!(table.as_ref(), Ok(&toc.table));
    let written = record::encode(TOC_KIND, &toc).unwrap();
    assert_eq!(record::decode(TOC_KIND, &written), Ok((toc, &[][..])));
}

fn toc_of(bytes: &[u8]) -> Toc {
    let mut builder = TableBuilder::new(bytes.len() as u64);
    bytes.chunks(BLOCK_BYTES).for_each(|block| builder.push(block));
    let table = builder.finish().unwrap();
    Toc {
        cluster: ClusterId(Uuid::from_u128(1)),
        node: NodeId(2),
        copy: CopyId(Uuid::from_u128(3)),
        segment: SegmentId(Uuid::from_u128(4)),
        name: "app/state".parse().unwrap(),
        version: Version(5),
        epoch: Epoch(6),
        digest: Digest::of(bytes),
        table,
        until: LogTime(3_600_000),
    }
}

/// Of an empty copy, of one block, and of three.
pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let of = |bytes: &[u8]| record::encode(TOC_KIND, &toc_of(bytes)).unwrap();
    let newer = record::Kind { version: 9, ..TOC_KIND };
    named([
        ("empty", of(b"")),
        ("one-block", of(b"some bytes")),
        ("three-blocks", of(&vec![7; 2 * BLOCK_BYTES + 1])),
        ("newer", record::encode(newer, &7_u8).unwrap()),
    ])
}
