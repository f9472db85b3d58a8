//! tarpc's messages, through the codec as both sides have it: what a client sends and gets, and what members do.

use std::pin::pin;
use std::time::Duration;

use bincode::Options;
use cairn_client::api::{
    CairnRequest, CairnResponse, Code, Error, FRAME_BYTES_MAX, JoinRequest, LoadRequest, Progress, SaveRequest,
    WatchRequest,
};
use cairn_client::codec;
use cairn_node::raft::rpc::{self, NotNow, PeerRequest, PeerResponse, Stopped};
use cairn_node::raft::types::{Types, Vote};
use cairn_store::archive::Policy;
use cairn_store::id::{CopyId, Incarnation, RequestId};
use cairn_store::meta::Command;
use cairn_store::node::{Profile, Role};
use cairn_store::segment::{Ack, Kind, Version};
use cairn_store::time::LogTime;
use futures::StreamExt;
use futures::executor::block_on;
use openraft::raft::{AppendEntriesRequest, VoteRequest};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tarpc::{ClientMessage, Request, Response};
use uuid::Uuid;

use crate::{named, same_again};

/// The public service: what a node gets from anybody, and what a client gets from what it takes for a node.
pub fn client(bytes: &[u8]) {
    requests::<CairnRequest, CairnResponse>(bytes);
    responses::<CairnRequest, CairnResponse>(bytes);
}

/// The same between members.
pub fn member(bytes: &[u8]) {
    requests::<PeerRequest, PeerResponse>(bytes);
    responses::<PeerRequest, PeerResponse>(bytes);
}

/// A stream of frames, and one frame's content.
fn requests<Req: Serialize + DeserializeOwned, Resp: Serialize + DeserializeOwned>(bytes: &[u8]) {
    for stream in [bytes, &framed(bytes)] {
        let stream = tokio::io::join(stream, tokio::io::sink());
        let mut messages = pin!(codec::answering::<_, Req, Resp>(stream));
        while let Some(Ok(message)) = block_on(messages.next()) {
            if let ClientMessage::Request(request) = message {
                same_again(options, &request.message);
            }
        }
    }
}

fn responses<Req: Serialize + DeserializeOwned, Resp: Serialize + DeserializeOwned>(bytes: &[u8]) {
    for stream in [bytes, &framed(bytes)] {
        let stream = tokio::io::join(stream, tokio::io::sink());
        let mut messages = pin!(codec::transport::<_, Response<Resp>, ClientMessage<Req>>(stream));
        while let Some(Ok(response)) = block_on(messages.next()) {
            // tarpc's own refusals change on their way: it writes their kind as a signed number, and reads it as another.
            if let Ok(message) = response.message {
                same_again(options, &message);
            }
        }
    }
}

fn options() -> impl Options {
    bincode::DefaultOptions::new().with_limit(FRAME_BYTES_MAX as u64)
}

/// One frame.
fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).expect("a short message");
    [&length.to_be_bytes(), bytes].concat()
}

fn request<T: Serialize>(message: T) -> Vec<u8> {
    let request = ClientMessage::Request(Request { context: rpc::context(), id: 7, message });
    options().serialize(&request).unwrap()
}

fn response<T: Serialize>(message: T) -> Vec<u8> {
    options().serialize(&Response { request_id: 7, message: Ok(message) }).unwrap()
}

/// Most kinds of request, and some answers.
pub fn client_seeds() -> Vec<(String, Vec<u8>)> {
    let id = RequestId(Uuid::from_u128(3));
    let wait = Duration::from_secs(30);
    let name = || "app/state".parse().unwrap();
    let save = SaveRequest {
        request: id,
        wait,
        name: name(),
        file: "state.db".into(),
        kind: Kind::File,
        replicas: 2,
        ack: Ack::Quorum,
        keep: 3,
        if_version: Some(Version(4)),
        epoch: None,
        labels: [("app".to_owned(), "postgres".to_owned())].into(),
        archive: Some(Policy::Every(3)),
    };
    let load = LoadRequest {
        request: id,
        wait,
        name: name(),
        version: Some(Version(4)),
        on: Some("n2".parse().unwrap()),
        claim: true,
        lease: Some(Duration::from_secs(5)),
        stale: false,
        from_tier: true,
    };
    let address = |port: u16| format!("127.0.0.1:{port}");
    let profile = Profile {
        name: "n1".parse().unwrap(),
        role: Role::Executor,
        zone: "a".into(),
        rpc: address(1),
        data: address(2),
        http: address(3),
        capacity: 1 << 40,
    };
    let join = JoinRequest { incarnation: Incarnation(Uuid::from_u128(9)), profile, wait };
    let watch = WatchRequest { prefix: "app/".into(), from: Some(3), cluster: None, wait };
    let refused = Error::new(Code::Conflict, "the name is taken").hint("use another one");
    let hello = request(CairnRequest::Hello {});
    named([
        ("hello", hello.clone()),
        ("two-frames", [framed(&hello), framed(&hello)].concat()),
        ("save", request(CairnRequest::Save { request: save })),
        ("load", request(CairnRequest::Load { request: load })),
        ("join", request(CairnRequest::Join { request: join })),
        ("watch", request(CairnRequest::Watch { request: watch })),
        ("show", request(CairnRequest::Show { name: name(), wait })),
        ("running", response(CairnResponse::Save(Ok(Progress::Running { done: 1, total: 2, steps: 3 })))),
        ("refused", response(CairnResponse::Load(Err(refused)))),
        ("nodes", response(CairnResponse::Nodes(Ok(Vec::new())))),
    ])
}

/// Raft's messages, and what else members ask.
pub fn member_seeds() -> Vec<(String, Vec<u8>)> {
    let vote = Vote::new_committed(3, 1);
    let entries = crate::log::entries();
    let append = AppendEntriesRequest::<Types> { vote, prev_log_id: None, entries, leader_commit: None };
    let ask = VoteRequest::<Types>::new(vote, None);
    let copy = CopyId(Uuid::from_u128(2));
    named([
        ("append", request(PeerRequest::Append { request: append })),
        ("vote", request(PeerRequest::Vote { request: ask })),
        ("propose", request(PeerRequest::Propose { command: Command::Tick })),
        ("renew", request(PeerRequest::Renew { copy, time: LogTime(7) })),
        ("ping", request(PeerRequest::Ping {})),
        ("stopped", response(PeerResponse::Append(Err(Stopped("a full disk".into()))))),
        ("not-now", response(PeerResponse::Propose(Err(NotNow::Unsure)))),
        ("heard", response(PeerResponse::Heard(Ok(vec![(cairn_store::id::NodeId(1), 5)])))),
    ])
}
