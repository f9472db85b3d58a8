//! A node that plays a script: the service over tarpc, and a data plane with one copy.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use cairn_client::api::{
    Cairn, ClaimRequest, Claimed, ClusterStatus, Drain, Error, GlobalStatus, Health, Hello, JoinRequest, Joined,
    ListRequest, LoadRequest, Loaded, NodeInfo, POLL, PeerInfo, PinRequest, Progress, Recovery, ReleaseRequest,
    Removal, RemoveNodeRequest, RemoveRequest, RenewRequest, Repairs, RestoreRequest, SaveRequest, Saved,
    SegmentDetail, SegmentSummary, UnpinRequest, WatchRequest, Watched,
};
use cairn_client::codec::answering;
use cairn_client::wire::{self, Greeting, Offer, Pull, PullAnswer, Welcome};
use cairn_store::digest::{BLOCK_BYTES, BlockTable, Digest, TableBuilder};
use cairn_store::disk::SPOOL_MARK;
use cairn_store::id::{ClusterId, CopyId, Incarnation, NodeId, RequestId, SegmentId};
use cairn_store::name::Name;
use cairn_store::node::{NodeName, Role};
use cairn_store::segment::{Ack, Epoch, Kind, Version};
use futures::StreamExt;
use tarpc::context::Context;
use tarpc::server::{BaseChannel, Channel};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use uuid::Uuid;

type Answers<T> = Vec<Result<Progress<T>, Error>>;

/// What the node does.
#[derive(Default)]
pub(crate) struct Script {
    /// The answers to saves, in turn; then it goes on for ever.
    pub(crate) saves: Answers<Saved>,
    /// After so many answers the node is gone: the connection breaks, and new ones too.
    pub(crate) break_after: Option<usize>,
    /// It is another process each time, and its disk forgets what lay in the spool.
    pub(crate) forgets: bool,
    /// It has as many requests as it takes.
    pub(crate) busy: bool,
    /// The mark in its spool is another's.
    pub(crate) elsewhere: bool,
    /// The answer to lists.
    pub(crate) lists: Option<Result<Vec<SegmentSummary>, Error>>,
    /// The answers to watchers, in turn; then nothing changes any more.
    pub(crate) watches: Vec<Watched>,
    /// The bytes of its copy.
    pub(crate) copy: Vec<u8>,
}

#[derive(Default)]
struct State {
    script: Script,
    loads: Answers<Loaded>,
    answers: usize,
    saves_seen: Vec<(RequestId, Vec<u8>)>,
    loads_seen: Vec<RequestId>,
    claims_seen: Vec<RequestId>,
    watches_seen: Vec<WatchRequest>,
    pulls: usize,
    pulls_to_break: usize,
}

#[derive(Clone)]
pub(crate) struct Fake {
    state: Arc<Mutex<State>>,
    hello: Hello,
    endpoint: String,
    dir: Arc<tempfile::TempDir>,
    table: Arc<BlockTable>,
    gone: tokio::sync::watch::Sender<bool>,
}

pub(crate) fn name() -> Name {
    "db/main".parse().unwrap()
}

/// Three blocks and a bit.
pub(crate) fn bytes() -> Vec<u8> {
    (0..3 * BLOCK_BYTES + 5).map(|i| (i / 7 + i % 251) as u8).collect()
}

fn node() -> NodeName {
    "n1".parse().unwrap()
}

pub(crate) fn saved() -> Saved {
    Saved {
        name: name(),
        segment: SegmentId(Uuid::from_u128(1)),
        kind: Kind::File,
        version: Version(1),
        epoch: Epoch(1),
        size: 5,
        digest: Digest::of(b"state"),
        owner: Some(node()),
        replicas: vec![],
        ack: Ack::All,
        bytes_sent: 10,
        archived: false,
    }
}

pub(crate) fn loaded(fake: &Fake) -> Loaded {
    Loaded {
        name: name(),
        kind: Kind::File,
        version: Version(1),
        epoch: Epoch(1),
        size: bytes().len() as u64,
        digest: Digest::of(&bytes()),
        owner: Some(node()),
        claimed: false,
        stale: false,
        sources: vec![],
        node: node(),
        incarnation: fake.hello.incarnation,
        data: fake.hello.data.clone(),
        copy: CopyId(Uuid::from_u128(2)),
        path: fake.segment(),
    }
}

impl Fake {
    pub(crate) async fn start(script: Script) -> Self {
        let dir = Arc::new(tempfile::tempdir().unwrap());
        let (incarnation, spool) = (Incarnation(Uuid::now_v7()), dir.path().join("spool"));
        fs::create_dir_all(dir.path().join("segments/00")).unwrap();
        fs::create_dir(&spool).unwrap();
        let mark = if script.elsewhere { Incarnation(Uuid::now_v7()) } else { incarnation };
        fs::write(spool.join(SPOOL_MARK), mark.to_string()).unwrap();
        let (service, data) = (bind().await, bind().await);
        let hello = Hello {
            node: node(),
            id: NodeId(1),
            cluster: ClusterId(Uuid::from_u128(1)),
            incarnation,
            process: Uuid::now_v7(),
            role: Role::Executor,
            spool,
            data: data.local_addr().unwrap().to_string(),
            version: "0".into(),
        };
        let mut table = TableBuilder::new(script.copy.len() as u64);
        script.copy.chunks(BLOCK_BYTES).for_each(|block| table.push(block));
        let fake = Self {
            endpoint: service.local_addr().unwrap().to_string(),
            hello,
            dir,
            table: Arc::new(table.finish().unwrap()),
            state: Arc::new(Mutex::new(State { script, ..State::default() })),
            gone: tokio::sync::watch::channel(false).0,
        };
        fs::write(fake.segment(), &fake.state.lock().unwrap().script.copy).unwrap();
        tokio::spawn(fake.clone().serve_calls(service));
        tokio::spawn(fake.clone().serve_pulls(data));
        fake
    }

    pub(crate) fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub(crate) fn dir(&self) -> &Path {
        self.dir.path()
    }

    fn forgets(&self) -> bool {
        self.state.lock().unwrap().script.forgets
    }

    fn segment(&self) -> PathBuf {
        self.dir().join("segments/00/copy.seg")
    }

    /// Files in the spool, besides the mark.
    pub(crate) fn spooled(&self) -> usize {
        fs::read_dir(&self.hello.spool).unwrap().count() - 1
    }

    pub(crate) fn saves(&self) -> Vec<(RequestId, Vec<u8>)> {
        self.state.lock().unwrap().saves_seen.clone()
    }

    pub(crate) fn loads(&self) -> Vec<RequestId> {
        self.state.lock().unwrap().loads_seen.clone()
    }

    pub(crate) fn claims(&self) -> Vec<RequestId> {
        self.state.lock().unwrap().claims_seen.clone()
    }

    pub(crate) fn watches(&self) -> Vec<WatchRequest> {
        self.state.lock().unwrap().watches_seen.clone()
    }

    pub(crate) fn pulls(&self) -> usize {
        self.state.lock().unwrap().pulls
    }

    /// The answers to loads, in turn; the last one again and again.
    pub(crate) fn load_gives(&self, answers: Answers<Loaded>) {
        self.state.lock().unwrap().loads = answers;
    }

    /// The first pulls break after one block each.
    pub(crate) fn break_pulls(&self, count: usize) {
        self.state.lock().unwrap().pulls_to_break = count;
    }

    /// Flips a bit of the copy, in its second block.
    pub(crate) fn corrupt(&self) {
        let mut state = self.state.lock().unwrap();
        state.script.copy[BLOCK_BYTES + 9] ^= 1;
        fs::write(self.segment(), &state.script.copy).unwrap();
    }

    async fn serve_calls(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            if *self.gone.borrow() {
                continue;
            }
            greet(&mut stream).await;
            let mut gone = self.gone.subscribe();
            let most = if self.state.lock().unwrap().script.busy { 0 } else { usize::MAX };
            let calls = BaseChannel::with_defaults(answering(stream)).max_concurrent_requests(most);
            let calls = calls.execute(self.clone().serve());
            tokio::spawn(async move {
                let calls = calls.for_each_concurrent(None, |call| call);
                tokio::select! { () = calls => {}, _ = gone.wait_for(|gone| *gone) => {} }
            });
        }
    }

    /// Counts an answer; the one too many is never given.
    async fn answer(&self) {
        let over = {
            let mut state = self.state.lock().unwrap();
            state.answers += 1;
            state.script.break_after.is_some_and(|n| state.answers > n)
        };
        if over {
            self.gone.send_replace(true);
            std::future::pending::<()>().await;
        }
    }

    async fn serve_pulls(self, listener: TcpListener) {
        while let Ok((mut stream, _)) = listener.accept().await {
            greet(&mut stream).await;
            let pull: Pull = wire::receive(&mut stream).await.unwrap();
            let (copy, breaks) = {
                let mut state = self.state.lock().unwrap();
                state.pulls += 1;
                (state.script.copy.clone(), state.pulls <= state.pulls_to_break)
            };
            let (size, table) = (copy.len() as u64, self.table.as_bytes());
            let offer = Offer { size, digest: self.table.digest(), table: table.len() as u64 };
            wire::send(&mut stream, &PullAnswer(Ok(offer))).await.unwrap();
            stream.write_all(table).await.unwrap();
            let blocks = copy.chunks(BLOCK_BYTES).skip(usize::try_from(pull.from_block).unwrap());
            for block in blocks.take(if breaks { 1 } else { usize::MAX }) {
                // The other side may have enough.
                let _ = stream.write_all(block).await;
            }
        }
    }
}

async fn bind() -> TcpListener {
    TcpListener::bind("127.0.0.1:0").await.unwrap()
}

async fn greet(stream: &mut TcpStream) {
    let greeting: Greeting = wire::receive(stream).await.unwrap();
    assert_eq!(greeting, Greeting::Client);
    wire::send(stream, &Welcome(Ok(()))).await.unwrap();
}

impl Cairn for Fake {
    async fn hello(self, _: Context) -> Hello {
        self.answer().await;
        let process = if self.forgets() { Uuid::now_v7() } else { self.hello.process };
        Hello { process, ..self.hello.clone() }
    }

    async fn save(self, _: Context, request: SaveRequest) -> Result<Progress<Saved>, Error> {
        // Without a file a node is asked only for what it knows.
        let bytes =
            if request.file.is_empty() { vec![] } else { fs::read(self.hello.spool.join(&request.file)).unwrap() };
        self.state.lock().unwrap().saves_seen.push((request.request, bytes));
        if self.forgets() {
            fs::write(self.hello.spool.join(&request.file), "").unwrap();
        }
        self.answer().await;
        let next = {
            let mut state = self.state.lock().unwrap();
            if state.script.saves.is_empty() { None } else { Some(state.script.saves.remove(0)) }
        };
        match next {
            Some(answer) => answer,
            None => {
                tokio::time::sleep(POLL).await;
                Ok(Progress::Running { done: 0, total: 0, steps: 0 })
            }
        }
    }

    async fn load(self, _: Context, request: LoadRequest) -> Result<Progress<Loaded>, Error> {
        self.answer().await;
        let mut state = self.state.lock().unwrap();
        state.loads_seen.push(request.request);
        if state.loads.len() > 1 { state.loads.remove(0) } else { state.loads[0].clone() }
    }

    async fn list(self, _: Context, _: ListRequest) -> Result<Vec<SegmentSummary>, Error> {
        self.answer().await;
        self.state.lock().unwrap().script.lists.clone().unwrap()
    }

    async fn show(self, _: Context, _: Name, _: Duration) -> Result<SegmentDetail, Error> {
        panic!("nothing asks for it")
    }

    async fn watch(self, _: Context, request: WatchRequest) -> Result<Watched, Error> {
        self.state.lock().unwrap().watches_seen.push(request);
        self.answer().await;
        let next = {
            let mut state = self.state.lock().unwrap();
            if state.script.watches.is_empty() { None } else { Some(state.script.watches.remove(0)) }
        };
        match next {
            Some(answer) => Ok(answer),
            None => std::future::pending().await,
        }
    }

    async fn remove(self, _: Context, _: RemoveRequest) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn claim(self, _: Context, request: ClaimRequest) -> Result<Claimed, Error> {
        self.state.lock().unwrap().claims_seen.push(request.request);
        self.answer().await;
        Ok(Claimed { name: request.name, owner: node(), epoch: Epoch(2), head: None })
    }

    async fn renew(self, _: Context, _: RenewRequest) -> Result<Duration, Error> {
        panic!("nothing asks for it")
    }

    async fn release(self, _: Context, _: ReleaseRequest) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn nodes(self, _: Context, _: Duration) -> Result<Vec<NodeInfo>, Error> {
        panic!("nothing asks for it")
    }

    async fn status(self, _: Context, _: Duration) -> Result<ClusterStatus, Error> {
        panic!("nothing asks for it")
    }

    async fn health(self, _: Context) -> Health {
        panic!("nothing asks for it")
    }

    async fn join(self, _: Context, _: JoinRequest) -> Result<Joined, Error> {
        panic!("nothing asks for it")
    }

    async fn drain(self, _: Context, _: NodeName, _: bool, _: Duration) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn pin(self, _: Context, _: PinRequest) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn unpin(self, _: Context, _: UnpinRequest) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn peers(self, _: Context, _: Duration) -> Vec<PeerInfo> {
        panic!("nothing asks for it")
    }

    async fn repairs(self, _: Context, _: Duration) -> Result<Repairs, Error> {
        panic!("nothing asks for it")
    }

    async fn drained(self, _: Context, _: NodeName, _: bool, _: Duration) -> Result<Drain, Error> {
        panic!("nothing asks for it")
    }

    async fn removal(self, _: Context, _: NodeName, _: bool, _: Duration) -> Result<Removal, Error> {
        panic!("nothing asks for it")
    }

    async fn remove_node(self, _: Context, _: RemoveNodeRequest) -> Result<Progress<()>, Error> {
        panic!("nothing asks for it")
    }

    async fn check_stop(self, _: Context, _: NodeName, _: Duration) -> Result<Health, Error> {
        panic!("nothing asks for it")
    }

    async fn restore(self, _: Context, _: RestoreRequest) -> Result<(), Error> {
        panic!("nothing asks for it")
    }

    async fn global(self, _: Context, _: Duration) -> Result<GlobalStatus, Error> {
        panic!("nothing asks for it")
    }

    async fn recovery(self, _: Context, _: Duration) -> Result<Option<Recovery>, Error> {
        panic!("nothing asks for it")
    }

    async fn resume(self, _: Context, _: Duration) -> Result<(), Error> {
        panic!("nothing asks for it")
    }
}
