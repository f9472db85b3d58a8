//! Whatever comes in at a port: it costs little, the node lives on, and others are served meanwhile.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::Path;

use cairn_client::wire::{
    self, BODY_BYTES_MAX, Body, Greeting, HEADER_BYTES, Header, Kind, Pull, PullAnswer, Push, PushAnswer, PushDone,
    RefusalCode, Sealed, Welcome,
};
use cairn_store::digest::{BLOCK_BYTES, BlockTable, Digest, TableBuilder};
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::segment::{Epoch, Version};
use cairn_store::time::LogTime;
use cairn_tests::wait::{PATIENCE, until};
use cairn_tests::{Cluster, Run, Shared, files};
use uuid::Uuid;

static CLUSTER: Shared = Shared::new(3, 0);

/// A connection to a port, whatever it is made of.
trait Socket: Read + Write {}
impl<S: Read + Write> Socket for S {}

#[derive(Clone, Copy, Debug)]
enum Port {
    Rpc,
    Data,
    Unix,
}

const PORTS: [Port; 3] = [Port::Rpc, Port::Data, Port::Unix];

fn connect(cluster: &Cluster, node: &str, port: Port) -> Box<dyn Socket> {
    let node = cluster.node(node);
    let tcp = |address: &str| {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Box::new(stream)
    };
    match port {
        Port::Rpc => tcp(&node.endpoint),
        Port::Data => tcp(&node.data),
        Port::Unix => {
            let stream = UnixStream::connect(node.dir.join("cairnd.sock")).unwrap();
            stream.set_read_timeout(Some(PATIENCE)).unwrap();
            Box::new(stream)
        }
    }
}

/// Runs what the client crate does on a stream, on bytes in memory.
fn now<T>(work: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
}

fn frame(body: &impl Body) -> Vec<u8> {
    let mut bytes = Vec::new();
    now(wire::send(&mut bytes, body)).unwrap();
    bytes
}

/// The next frame's body; none if the connection was ended instead.
fn receive<B: Body>(socket: &mut dyn Socket) -> Option<B> {
    let mut header = [0; HEADER_BYTES];
    if let Err(e) = socket.read_exact(&mut header) {
        assert!(ended(&e), "{e}");
        return None;
    }
    let header = Header::decode(&header).unwrap();
    assert_eq!(header.kind, B::KIND as u16);
    let mut body = vec![0; header.length];
    socket.read_exact(&mut body).unwrap();
    header.check(&body).unwrap();
    Some(wire::decode(&body).unwrap())
}

fn ended(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::UnexpectedEof | ErrorKind::ConnectionReset | ErrorKind::BrokenPipe)
}

/// Waits until the node ends the connection, which must not tell anything before.
fn assert_ended(socket: &mut dyn Socket, what: &str) {
    let mut buffer = [0; 64];
    match socket.read(&mut buffer) {
        Ok(0) => {}
        Ok(count) => panic!("{what}: the node answered {:?}", &buffer[..count]),
        Err(e) => assert!(ended(&e), "{what}: {e}"),
    }
}

/// Sends bytes that the node may refuse to read to their end.
fn send(socket: &mut dyn Socket, bytes: &[u8]) {
    if let Err(e) = socket.write_all(bytes) {
        assert!(ended(&e), "{e}");
    }
}

/// The node is the process that it was, and does its work for everybody else.
fn assert_serves(cluster: &Cluster, name: &str) {
    assert!(Path::new("/proc").join(cluster.node("n1").pid.to_string()).join("exe").read_link().is_ok());
    let file = files::random(&cluster.scratch(), name, BLOCK_BYTES as u64 + 1, 1);
    cluster.cairn("n1", ["save".as_ref(), name.as_ref(), file.as_os_str()]).expect(0);
    let out = cluster.scratch().join(format!("{name}.out"));
    cluster.cairn("n2", ["load".as_ref(), name.as_ref(), "--out".as_ref(), out.as_os_str()]).expect(0);
    files::same(&file, &out);
    let socket = format!("unix:{}", cluster.node("n1").dir.join("cairnd.sock").display());
    Run::of(&mut cairn_tests::run::cairn(&socket, ["show", name])).expect(0);
}

/// Who a node is, from its own folder.
fn identity(cluster: &Cluster, node: &str) -> (ClusterId, NodeId, Incarnation) {
    let text = fs::read_to_string(cluster.node(node).dir.join("node.toml")).unwrap();
    let value = |key: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(&format!("{key} = "))).unwrap();
        line.trim_matches('"').to_owned()
    };
    let node = NodeId(value("node").parse().unwrap());
    (value("cluster").parse().unwrap(), node, value("incarnation").parse().unwrap())
}

/// What n2 says when it means to reach n1.
fn member(cluster: &Cluster) -> Greeting {
    let (id, from, life) = identity(cluster, "n2");
    let (_, to, its_life) = identity(cluster, "n1");
    Greeting::Node { cluster: id, from: (from, life), to: (to, its_life) }
}

/// A connection that was greeted and welcomed.
fn welcomed(cluster: &Cluster, port: Port, greeting: &Greeting) -> Box<dyn Socket> {
    let mut socket = connect(cluster, "n1", port);
    socket.write_all(&frame(greeting)).unwrap();
    assert_eq!(receive::<Welcome>(socket.as_mut()), Some(Welcome(Ok(()))));
    socket
}

#[test]
fn garbage_ends_the_connection_and_nothing_else() {
    let cluster = CLUSTER.get();
    let mut noise = vec![0; 64 << 10];
    blake3::Hasher::new().update(b"noise").finalize_xof().fill(&mut noise);
    let good = frame(&Greeting::Client);
    let lying = |length: u32| {
        let mut bytes = good.clone();
        bytes[8..12].copy_from_slice(&length.to_le_bytes());
        bytes
    };
    let mut cases: Vec<(String, Vec<u8>)> = vec![
        ("noise".into(), noise),
        ("zeros".into(), vec![0; 4096]),
        ("ones".into(), vec![0xff; 4096]),
        ("HTTP".into(), b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n".to_vec()),
        ("TLS".into(), [b"\x16\x03\x01\x02\x00\x01".as_slice(), &[7; 600]].concat()),
        (
            "a frame of another kind".into(),
            frame(&Pull { request: RequestId(Uuid::nil()), copy: CopyId(Uuid::nil()), from_block: 0 }),
        ),
        ("a body that is no greeting".into(), wire::encode(Kind::Greeting, &[0xff; 100]).unwrap()),
        ("an empty body".into(), wire::encode(Kind::Greeting, &[]).unwrap()),
        ("a body with more behind it".into(), wire::encode(Kind::Greeting, &[0; 100]).unwrap()),
        ("the longest body".into(), wire::encode(Kind::Greeting, &vec![0; BODY_BYTES_MAX]).unwrap()),
        ("a length above the limit".into(), lying(BODY_BYTES_MAX as u32 + 1)),
        ("the largest length".into(), lying(u32::MAX)),
        ("a length that is too short".into(), lying(0)),
    ];
    // Any single flipped bit: in the magic, the version, the kind, the checksum, the body. (Of the length, above.)
    for byte in (0..good.len()).filter(|byte| !(4..6).contains(byte) && !(8..12).contains(byte)) {
        let mut bytes = good.clone();
        bytes[byte] ^= 0x10;
        cases.push((format!("a flipped bit in byte {byte}"), bytes));
    }
    for port in PORTS {
        for (what, bytes) in &cases {
            let mut socket = connect(&cluster, "n1", port);
            send(socket.as_mut(), bytes);
            assert_ended(socket.as_mut(), &format!("{what} at {port:?}"));
        }
        // And whoever goes before it has said anything.
        drop(connect(&cluster, "n1", port));
    }
    assert_serves(&cluster, "after-garbage");
}

#[test]
fn half_a_frame_and_then_silence_keeps_nobody_waiting() {
    let cluster = CLUSTER.get();
    let good = frame(&Greeting::Client);
    let mut long = good.clone();
    long[8..12].copy_from_slice(&(BODY_BYTES_MAX as u32).to_le_bytes());
    let mut silent = Vec::new();
    for port in PORTS {
        for bytes in [&good[..1], &good[..HEADER_BYTES - 1], &good[..HEADER_BYTES], &long] {
            for _ in 0..10 {
                let mut socket = connect(&cluster, "n1", port);
                socket.write_all(bytes).unwrap();
                silent.push(socket);
            }
        }
    }
    assert_serves(&cluster, "during-silence");
    drop(silent);
}

#[test]
fn five_hundred_silent_connections_do_not_stop_a_save() {
    let cluster = CLUSTER.get();
    let ports = [Port::Rpc, Port::Data].into_iter().cycle();
    let silent: Vec<_> = ports.take(500).map(|port| connect(&cluster, "n1", port)).collect();
    assert_serves(&cluster, "in-a-crowd");
    drop(silent);
}

#[test]
fn strangers_are_told_that_they_are_strangers() {
    let cluster = CLUSTER.get();
    let Greeting::Node { cluster: id, from, to } = member(&cluster) else { unreachable!() };
    let other_life = Incarnation(Uuid::from_u128(7));
    let cases = [
        ("another cluster", Greeting::Node { cluster: ClusterId(Uuid::from_u128(7)), from, to }),
        ("another life of the node that is meant", Greeting::Node { cluster: id, from, to: (to.0, other_life) }),
        ("another node is meant", Greeting::Node { cluster: id, from, to: from }),
        ("another life of a member", Greeting::Node { cluster: id, from: (from.0, other_life), to }),
        ("a node that is no member any more", Greeting::Node { cluster: id, from: (NodeId(0), from.1), to }),
    ];
    for port in PORTS {
        for (what, greeting) in &cases {
            let mut socket = connect(&cluster, "n1", port);
            socket.write_all(&frame(greeting)).unwrap();
            let welcome = receive::<Welcome>(socket.as_mut());
            let refusal = welcome.unwrap_or_else(|| panic!("{what} at {port:?}: no answer")).0.unwrap_err();
            // Who was a member ends when it is told that it is none any more.
            let removed = matches!(greeting, Greeting::Node { from: (NodeId(0), _), .. });
            let code = if removed { RefusalCode::Removed } else { RefusalCode::Stranger };
            assert_eq!(refusal.code, code, "{what} at {port:?}: {refusal}");
            assert_ended(socket.as_mut(), what);
        }
        drop(welcomed(&cluster, port, &member(&cluster)));
    }
}

#[test]
fn another_protocol_is_told_which_one_is_spoken_here() {
    let cluster = CLUSTER.get();
    for port in PORTS {
        for protocol in [0, wire::PROTOCOL + 1, u16::MAX] {
            let mut bytes = frame(&Greeting::Client);
            bytes[4..6].copy_from_slice(&protocol.to_le_bytes());
            let mut socket = connect(&cluster, "n1", port);
            send(socket.as_mut(), &bytes[..HEADER_BYTES]);
            let refusal = receive::<Welcome>(socket.as_mut()).unwrap().0.unwrap_err();
            assert_eq!(refusal.code, RefusalCode::Protocol, "{refusal}");
            assert!(refusal.message.contains(&protocol.to_string()), "{refusal}");
            assert_ended(socket.as_mut(), "another protocol");
        }
    }
}

fn order(copy: CopyId, size: u64) -> Push {
    let segment = SegmentId(Uuid::from_u128(copy.0.as_u128() ^ 1));
    Push {
        request: RequestId(Uuid::nil()),
        segment,
        name: "pushed".parse().unwrap(),
        version: Version(1),
        epoch: Epoch(1),
        save: true,
        copy,
        size,
    }
}

/// Whether any file of a copy lies on n1.
fn lies_there(cluster: &Cluster, copy: CopyId) -> bool {
    let [.., last] = *copy.0.as_bytes();
    let shard = cluster.node("n1").dir.join("segments").join(format!("{last:02x}"));
    let names = fs::read_dir(shard).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    names.into_iter().any(|name| name.starts_with(&copy.to_string()))
}

#[test]
fn a_client_writes_nothing_over_the_data_port() {
    let cluster = CLUSTER.get();
    let copy = CopyId(Uuid::now_v7());
    for bytes in [
        frame(&order(copy, 10)),
        wire::encode(Kind::Snapshot, &[0; 100]).unwrap(),
        wire::encode(Kind::PushDone, &[0; 100]).unwrap(),
        frame(&Greeting::Client),
    ] {
        let mut socket = welcomed(&cluster, Port::Data, &Greeting::Client);
        send(socket.as_mut(), &bytes);
        assert_ended(socket.as_mut(), "not for clients");
    }
    assert!(!lies_there(&cluster, copy));
    let mut socket = welcomed(&cluster, Port::Data, &Greeting::Client);
    send(socket.as_mut(), &frame(&Pull { request: RequestId(Uuid::nil()), copy, from_block: 0 }));
    let PullAnswer(answer) = receive(socket.as_mut()).unwrap();
    assert_eq!(answer.unwrap_err().code, RefusalCode::Gone);
    assert_serves(&cluster, "after-a-push");
}

#[test]
fn a_pull_from_beyond_the_end_is_refused_and_the_copy_stays_good() {
    let cluster = CLUSTER.get();
    let file = files::random(&cluster.scratch(), "pulled", 1000, 9);
    cluster.cairn("n1", ["save".as_ref(), "pulled".as_ref(), file.as_os_str()]).expect(0);
    let held = cluster.copy_on("n1", &files::digest(&file)).unwrap();
    let copy: CopyId = held.file_stem().unwrap().to_str().unwrap().parse().unwrap();
    for from_block in [2, u64::MAX] {
        let mut socket = welcomed(&cluster, Port::Data, &Greeting::Client);
        send(socket.as_mut(), &frame(&Pull { request: RequestId(Uuid::nil()), copy, from_block }));
        let PullAnswer(answer) = receive(socket.as_mut()).unwrap();
        answer.unwrap_err();
        // The same connection goes on.
        send(socket.as_mut(), &frame(&Pull { request: RequestId(Uuid::nil()), copy, from_block: 0 }));
        let PullAnswer(answer) = receive(socket.as_mut()).unwrap();
        let offer = answer.unwrap();
        assert_eq!((offer.size, offer.table), (1000, 32));
        let mut bytes = vec![0; 32 + 1000];
        socket.read_exact(&mut bytes).unwrap();
        assert_eq!(&bytes[32..], fs::read(&file).unwrap());
    }
    assert!(cluster.holders("n1", "pulled").contains(&("n1".into(), "durable".into())));
}

fn table_of(bytes: &[u8]) -> BlockTable {
    let mut builder = TableBuilder::new(bytes.len() as u64);
    bytes.chunks(BLOCK_BYTES).for_each(|block| builder.push(block));
    builder.finish().unwrap()
}

/// Pushes as a member would, and returns the holder's last word.
fn push(cluster: &Cluster, copy: CopyId, sent: &[u8], digest: Digest, table: &[u8]) -> Option<PushDone> {
    let mut socket = welcomed(cluster, Port::Data, &member(cluster));
    send(socket.as_mut(), &frame(&order(copy, sent.len() as u64)));
    assert_eq!(receive::<PushAnswer>(socket.as_mut()), Some(PushAnswer(Ok(()))));
    send(socket.as_mut(), sent);
    send(socket.as_mut(), &frame(&Sealed { digest, table: table.len() as u64, time: LogTime(0) }));
    send(socket.as_mut(), table);
    receive(socket.as_mut())
}

#[test]
fn every_byte_is_verified_when_it_is_received() {
    let cluster = CLUSTER.get();
    let bytes = fs::read(files::random(&cluster.scratch(), "received", 2 * BLOCK_BYTES as u64 + 9, 3)).unwrap();
    let table = table_of(&bytes);
    let mut changed = bytes.clone();
    changed[BLOCK_BYTES] ^= 1;
    let mut other_table = table.as_bytes().to_vec();
    other_table[40] ^= 1;
    let corrupt = [
        ("a byte that changed", &changed, table.digest(), table.as_bytes()),
        ("another digest", &bytes, Digest([7; 32]), table.as_bytes()),
        ("another table", &bytes, table.digest(), &other_table),
    ];
    for (what, sent, digest, table) in corrupt {
        let copy = CopyId(Uuid::now_v7());
        let PushDone(done) = push(&cluster, copy, sent, digest, table).unwrap();
        assert_eq!(done.unwrap_err().code, RefusalCode::Corrupt, "{what}");
        assert!(!lies_there(&cluster, copy), "{what}");
    }
    let copy = CopyId(Uuid::now_v7());
    assert_eq!(push(&cluster, copy, &bytes, table.digest(), &table.as_bytes()[..32]), None, "a short table");
    until("the half is gone", || (!lies_there(&cluster, copy)).then_some(()));

    // As it should be, it is taken: it is the bytes that were refused.
    let PushDone(done) = push(&cluster, copy, &bytes, table.digest(), table.as_bytes()).unwrap();
    let receipt = done.unwrap();
    assert_eq!((receipt.copy, receipt.node), (copy, identity(&cluster, "n1").1));
    assert!(lies_there(&cluster, copy));
    // And never again under the same id.
    let mut socket = welcomed(&cluster, Port::Data, &member(&cluster));
    send(socket.as_mut(), &frame(&order(copy, 10)));
    receive::<PushAnswer>(socket.as_mut()).unwrap().0.unwrap_err();
}

#[test]
fn a_push_that_breaks_off_or_is_too_large_leaves_nothing() {
    let cluster = CLUSTER.get();
    let copy = CopyId(Uuid::now_v7());
    let mut socket = welcomed(&cluster, Port::Data, &member(&cluster));
    send(socket.as_mut(), &frame(&order(copy, 3 * BLOCK_BYTES as u64)));
    assert_eq!(receive::<PushAnswer>(socket.as_mut()), Some(PushAnswer(Ok(()))));
    send(socket.as_mut(), &vec![1; BLOCK_BYTES + 1]);
    until("the copy is begun", || lies_there(&cluster, copy).then_some(()));
    drop(socket);
    until("the half is gone", || (!lies_there(&cluster, copy)).then_some(()));
    for size in [u64::MAX, 1 << 50] {
        let mut socket = welcomed(&cluster, Port::Data, &member(&cluster));
        send(socket.as_mut(), &frame(&order(copy, size)));
        receive::<PushAnswer>(socket.as_mut()).unwrap().0.unwrap_err();
        assert!(!lies_there(&cluster, copy));
    }
}

#[test]
fn garbage_after_a_good_greeting_harms_nobody_else() {
    let cluster = CLUSTER.get();
    let mut held = Vec::new();
    for port in [Port::Rpc, Port::Unix] {
        for greeting in [Greeting::Client, member(&cluster)] {
            let requests: [Vec<u8>; 5] = [
                vec![0xff; 4096],
                // Messages of a length that fits, and of a content that does not.
                [&100_u32.to_be_bytes()[..], &[0xff; 100]].concat(),
                [&0_u32.to_be_bytes()[..]; 50].concat(),
                // More than any message may have; and less than was promised.
                [&u32::MAX.to_be_bytes()[..], &[0; 100]].concat(),
                [&(1_u32 << 20).to_be_bytes()[..], &[0; 100]].concat(),
            ];
            for bytes in requests {
                let mut socket = welcomed(&cluster, port, &greeting);
                send(socket.as_mut(), &bytes);
                held.push(socket);
            }
        }
    }
    assert_serves(&cluster, "after-nonsense");
    drop(held);
    assert_serves(&cluster, "after-more-nonsense");
}
