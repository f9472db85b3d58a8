//! Ten thousand connections at once: a bounded number is served, the others are told so, and nobody else suffers.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test that panics has failed, as it should")]

use std::io::{Read, Write};
use std::net::TcpStream;

use cairn_client::wire::{self, Greeting, HEADER_BYTES, Header, RefusalCode, Welcome};
use cairn_tests::run::{self, peak_kib};
use cairn_tests::wait::{PATIENCE, until};
use cairn_tests::{Cluster, Run, files};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

const CROWD: usize = 10_000;
/// Dial in so many at a time: the kernel's queue of a listening port is not what is tested.
const DIALLERS: usize = 16;
/// `limits.connections`.
const SERVED_MAX: usize = 4096;
/// Some 40 KiB for each connection that is served.
const PEAK_KIB_MAX: u64 = 256 << 10;

fn greeting() -> Vec<u8> {
    let mut bytes = Vec::new();
    let send = wire::send(&mut bytes, &Greeting::Client);
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(send).unwrap();
    bytes
}

/// A greeted connection, and what the node said.
fn arrive(endpoint: &str, greeting: &[u8]) -> (TcpStream, Welcome) {
    let mut stream = TcpStream::connect(endpoint).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(greeting).unwrap();
    let mut header = [0; HEADER_BYTES];
    stream.read_exact(&mut header).unwrap();
    let header = Header::decode(&header).unwrap();
    let mut body = vec![0; header.length];
    stream.read_exact(&mut body).unwrap();
    header.check(&body).unwrap();
    (stream, wire::decode(&body).unwrap())
}

#[test]
fn of_ten_thousand_a_bounded_number_is_served_and_the_others_are_told() {
    let limit = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: limit, maximum: limit }).unwrap();
    let enough = limit.is_none_or(|limit| limit > CROWD as u64 + 1000);
    assert!(enough, "this test opens {CROWD} connections: raise the hard limit of open files");
    let cluster = Cluster::start(3, 0);
    let (node, greeting) = (cluster.node("n1"), greeting());
    let arrived: Vec<(TcpStream, Welcome)> = std::thread::scope(|scope| {
        let dial = || (0..CROWD / DIALLERS).map(|_| arrive(&node.endpoint, &greeting)).collect::<Vec<_>>();
        let threads: Vec<_> = (0..DIALLERS).map(|_| scope.spawn(dial)).collect();
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let busy = |(_, Welcome(answer)): &&(TcpStream, Welcome)| match answer {
        Ok(()) => false,
        Err(refusal) => {
            assert_eq!(refusal.code, RefusalCode::Busy, "{refusal}");
            assert!(refusal.to_string().contains("as many connections as it takes"), "{refusal}");
            true
        }
    };
    let refused = arrived.iter().filter(busy).count();
    assert!((CROWD - SERVED_MAX..CROWD).contains(&refused), "{refused} were refused");

    // One more is told what to do; the other door of the node, and all other nodes, are as before: n1 as a replica too.
    let told = Run::of(&mut run::cairn(&node.endpoint, ["cluster", "status", "--timeout", "1s"])).expect(5).error();
    assert_eq!((&told["code"], &told["outcome"]), (&"unavailable".into(), &"none".into()), "{told}");
    let file = files::random(&cluster.scratch(), "in-a-crowd", 3 * files::BLOCK, 1);
    let saved = cluster.cairn("n2", ["save".as_ref(), "in-a-crowd".as_ref(), file.as_os_str()]).expect(0).json();
    assert_eq!(saved["replicas"].as_array().unwrap().len(), 2, "{saved}");
    let socket = format!("unix:{}", node.dir.join("cairnd.sock").display());
    Run::of(&mut run::cairn(&socket, ["load", "in-a-crowd"])).expect(0);
    let peak = peak_kib(u32::try_from(node.pid).unwrap());
    assert!(peak < PEAK_KIB_MAX, "{} MiB", peak >> 10);

    drop(arrived);
    until("there is room again", || (cluster.cairn("n1", ["ls"]).code == 0).then_some(()));
}
