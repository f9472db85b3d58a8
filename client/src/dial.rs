//! Reaching a node: endpoints tried in turn, the greeting, one connection for many calls.
//!
//! [`Client::call`] sends the same request again until it is answered for good or the time is over: a broken
//! connection and a node that cannot answer now both lead to the next endpoint. Time is tokio's, so the same code
//! runs in a simulation, with a [`Connect`] of its own.

use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use cairn_store::id::{CopyId, RequestId};
use futures::future::BoxFuture;
use tarpc::client::RpcError;
use tarpc::context::Context;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::{Instant, timeout};
use uuid::Uuid;

use crate::api::{CairnClient, Code, Error};
use crate::codec::{PATIENCE_MAX, context, transport};
use crate::fault::Cause;
use crate::retry::{Failure, Retry};
use crate::wire::{self, Greeting, Pull, PullAnswer, Refusal, RefusalCode, Welcome, WireError};

/// How long connecting and the greeting may take, unless less time is left.
pub const CONNECT_MAX: Duration = Duration::from_secs(5);

/// The longest time-out of a client: more would only overflow.
pub const TIMEOUT_MAX: Duration = PATIENCE_MAX;

/// How long it may take to find out whether an endpoint is a data port.
const PROBE_MAX: Duration = Duration::from_secs(1);

/// The least time that one endpoint gets before the next is tried.
const SHARE_MIN: Duration = Duration::from_secs(1);

/// Anything that bytes go through both ways.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<S: AsyncRead + AsyncWrite + Send + Unpin> Stream for S {}

/// How connections are made: sockets, or a simulation's.
pub trait Connect: Send + Sync {
    /// Connects to `HOST:PORT` or `unix:PATH`.
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>>;
}

/// Connects over TCP and Unix sockets.
#[derive(Clone, Copy, Debug, Default)]
pub struct SocketConnect;

impl Connect for SocketConnect {
    fn connect<'a>(&'a self, endpoint: &'a str) -> BoxFuture<'a, io::Result<Box<dyn Stream>>> {
        Box::pin(async move {
            let stream: Box<dyn Stream> = match endpoint.strip_prefix("unix:") {
                Some(path) => Box::new(UnixStream::connect(path).await?),
                None => {
                    let stream = TcpStream::connect(endpoint).await?;
                    stream.set_nodelay(true)?;
                    Box::new(stream)
                }
            };
            Ok(stream)
        })
    }
}

/// A client of the public service over a stream that was greeted already. The connection ends with its last clone.
pub fn channel<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> CairnClient {
    CairnClient::new(tarpc::client::Config::default(), transport(stream)).spawn()
}

/// Why a node was not reached.
#[derive(Debug, thiserror::Error)]
pub enum DialError {
    /// No connection.
    #[error("{}", Cause(.0))]
    Connect(io::Error),
    /// Not in time.
    #[error("no answer within {}", in_words(*.0))]
    Timeout(Duration),
    /// The greeting went wrong.
    #[error("{0}")]
    Greeting(#[from] WireError),
    /// The node does not want us.
    #[error("refused: {0}")]
    Refused(#[from] Refusal),
    /// Not an address.
    #[error("not an address: write HOST:PORT or unix:PATH")]
    Address,
}

impl DialError {
    /// Whether trying again may help.
    pub fn passing(&self) -> bool {
        match self {
            Self::Connect(_) | Self::Timeout(_) | Self::Greeting(WireError::Io(_)) => true,
            Self::Refused(refusal) => refusal.code == RefusalCode::Busy,
            Self::Greeting(_) | Self::Address => false,
        }
    }

    fn code(&self) -> Code {
        match self {
            Self::Address => Code::Invalid,
            Self::Refused(refusal) if matches!(refusal.code, RefusalCode::Stranger | RefusalCode::Removed) => {
                Code::Denied
            }
            error if error.passing() => Code::Unavailable,
            _ => Code::Internal,
        }
    }
}

/// Connects to an endpoint and greets it as a client: the service's port or the data port.
pub async fn dial(connect: &dyn Connect, endpoint: &str, limit: Duration) -> Result<Box<dyn Stream>, DialError> {
    let port = |text: &str| text.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    if !endpoint.starts_with("unix:") && !port(endpoint) {
        return Err(DialError::Address);
    }
    let greeted = async {
        let mut stream = connect.connect(endpoint).await.map_err(DialError::Connect)?;
        wire::send(&mut stream, &Greeting::Client).await?;
        let Welcome(answer) = wire::receive(&mut stream).await?;
        answer?;
        Ok(stream)
    };
    timeout(limit, greeted).await.unwrap_or(Err(DialError::Timeout(limit)))
}

/// How it goes with the nodes, for whoever waits for the answer.
#[derive(Clone, Copy, Debug)]
pub enum Contact<'a> {
    /// This endpoint is asked.
    Asking(&'a str),
    /// It answered.
    Answered,
    /// It did not, or could not answer now; the next attempt follows.
    Failed(&'a Error),
}

/// Told how it goes with the nodes.
pub type OnContact = Arc<dyn Fn(Contact<'_>) + Send + Sync>;

/// A connection to one node.
#[derive(Clone, Debug)]
pub(crate) struct Session {
    rpc: CairnClient,
    pub(crate) endpoint: Arc<str>,
    serial: u64,
}

#[derive(Debug, Default)]
struct State {
    session: Option<Session>,
    /// Which endpoint to try first.
    first: usize,
    serial: u64,
    /// Whether any request was ever answered, or it was looked whether that can be at all.
    probed: bool,
}

/// Asks the nodes of a cluster. Cheap to clone; clones share one connection.
#[derive(Clone)]
pub struct Client {
    connect: Arc<dyn Connect>,
    endpoints: Arc<[String]>,
    timeout: Duration,
    state: Arc<Mutex<State>>,
    contact: Option<OnContact>,
}

impl fmt::Debug for Client {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Client").field("endpoints", &self.endpoints).field("timeout", &self.timeout).finish()
    }
}

impl Client {
    /// A client of the nodes at `endpoints`, tried in turn. Nothing is connected yet.
    ///
    /// `timeout` bounds every call with all its retries; of a save or a load, the time without progress.
    pub fn new(endpoints: Vec<String>, timeout: Duration) -> Self {
        Self::with_connect(Arc::new(SocketConnect), endpoints, timeout)
    }

    /// The same, with another way to connect.
    pub fn with_connect(connect: Arc<dyn Connect>, endpoints: Vec<String>, timeout: Duration) -> Self {
        let timeout = timeout.min(TIMEOUT_MAX);
        Self { connect, endpoints: endpoints.into(), timeout, state: Arc::default(), contact: None }
    }

    /// The same client, that tells how it goes with the nodes.
    #[must_use]
    pub fn telling(self, contact: OnContact) -> Self {
        Self { contact: Some(contact), ..self }
    }

    /// The bound of every call.
    pub fn timeout(&self) -> Duration {
        self.timeout
    }

    /// Whom it asks.
    pub fn endpoints(&self) -> &[String] {
        &self.endpoints
    }

    /// The way to connect.
    pub fn connector(&self) -> &dyn Connect {
        self.connect.as_ref()
    }

    /// How long a node should wait for a quorum before it answers a question: a little less than this client waits
    /// for that node, so that the node's reason arrives.
    pub fn wait(&self) -> Duration {
        shortened(self.share())
    }

    /// The `wait` of a request that changes something: as long as this client goes on asking, on whatever node, so
    /// that the answer is remembered for all retries.
    pub fn wait_in_all(&self) -> Duration {
        shortened(self.timeout)
    }

    /// Sends one request until it is answered for good, or the time is over: then the error is the last one, with
    /// `Code::Unavailable`.
    ///
    /// `ask` makes the same request at every attempt. `mutating` says whether it changes anything: if so, and an
    /// attempt may have reached a node and was not answered, the error's outcome is unknown. May be dropped at any
    /// point.
    pub async fn call<T, F>(&self, mutating: bool, ask: impl Fn(CairnClient, Context) -> F) -> Result<T, Error>
    where
        F: Future<Output = Result<Result<T, Error>, RpcError>>,
    {
        self.call_within(self.share(), mutating, ask).await
    }

    /// The same, where one attempt may take so long.
    pub(crate) async fn call_within<T, F>(
        &self,
        limit: Duration,
        mutating: bool,
        ask: impl Fn(CairnClient, Context) -> F,
    ) -> Result<T, Error>
    where
        F: Future<Output = Result<Result<T, Error>, RpcError>>,
    {
        let mut retry = Retry::new(self.timeout, mutating);
        loop {
            let attempt = async {
                let session = self.session(retry.left()).await?;
                let answer = self.ask(&session, limit.min(retry.left()), &ask).await;
                if self.endpoints.len() > 1 && answer.as_ref().is_err_and(|failure| failure.error.retryable) {
                    // Another node may have the leader that this one misses.
                    self.turn(&session);
                }
                answer
            };
            match attempt.await {
                Ok(answer) => return Ok(answer),
                Err(failure) => retry.again(failure).await?,
            }
        }
    }

    /// The connection in use, or a new one to the first endpoint that answers.
    pub(crate) async fn session(&self, left: Duration) -> Result<Session, Failure> {
        let first = {
            let state = self.state();
            if let Some(session) = &state.session {
                return Ok(session.clone());
            }
            state.first
        };
        let (mut causes, deadline) = (Vec::new(), Instant::now() + left);
        for turn in 0..self.endpoints.len() {
            let index = (first + turn) % self.endpoints.len();
            let Some(endpoint) = self.endpoints.get(index) else { continue };
            let left = deadline.saturating_duration_since(Instant::now());
            self.tell(Contact::Asking(endpoint));
            match dial(self.connector(), endpoint, self.share().min(left).min(CONNECT_MAX)).await {
                Ok(stream) => {
                    let mut state = self.state();
                    state.serial += 1;
                    let session =
                        Session { rpc: channel(stream), endpoint: endpoint.as_str().into(), serial: state.serial };
                    state.first = index;
                    state.session = Some(session.clone());
                    return Ok(session);
                }
                Err(error) => causes.push((endpoint, error)),
            }
        }
        let error = unreached(&causes);
        self.tell(Contact::Failed(&error));
        Err(Failure::unreached(error))
    }

    /// One attempt on one connection. A connection that did not answer is left.
    pub(crate) async fn ask<T, F>(
        &self,
        session: &Session,
        limit: Duration,
        ask: impl FnOnce(CairnClient, Context) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Result<T, Error>, RpcError>>,
    {
        self.tell(Contact::Asking(&session.endpoint));
        let asked = self.ask_once(session, limit, ask).await;
        match &asked {
            Err(failure) if failure.error.retryable => self.tell(Contact::Failed(&failure.error)),
            _ => self.tell(Contact::Answered),
        }
        asked
    }

    async fn ask_once<T, F>(
        &self,
        session: &Session,
        limit: Duration,
        ask: impl FnOnce(CairnClient, Context) -> F,
    ) -> Result<T, Failure>
    where
        F: Future<Output = Result<Result<T, Error>, RpcError>>,
    {
        let endpoint = &session.endpoint;
        let failure = match timeout(limit, ask(session.rpc.clone(), context())).await {
            Ok(Ok(answer)) => {
                self.state().probed = true;
                return answer.map_err(Failure::answered);
            }
            Ok(Err(RpcError::Send(cause))) => {
                Failure::unreached(Error::unavailable(format!("cannot send to {endpoint}: {cause}")))
            }
            // tarpc's answer when a connection has too many requests in flight, and its only one: not begun. It says
            // `WouldBlock`, but writes the kind as a signed number and reads it as an unsigned one: another arrives.
            Ok(Err(RpcError::Server(error))) => {
                return Err(Failure::unreached(Error::unavailable(format!("{endpoint} is busy: {}", error.detail))));
            }
            Ok(Err(_)) if self.is_data_port(endpoint, limit).await => Failure::unreached(self.data_port(endpoint)),
            Ok(Err(error)) => Failure::unanswered(Error::unavailable(format!("lost {endpoint}: {error}"))),
            Err(_) => {
                let limit = in_words(limit);
                Failure::unanswered(Error::unavailable(format!("no answer from {endpoint} within {limit}")))
            }
        };
        self.turn(session);
        Err(failure)
    }

    /// Whether an endpoint that never answered is a node's data port: it answers what no service does. Looked at once.
    async fn is_data_port(&self, endpoint: &str, limit: Duration) -> bool {
        if std::mem::replace(&mut self.state().probed, true) {
            return false;
        }
        let asked = async {
            let mut stream = dial(self.connector(), endpoint, PROBE_MAX).await.ok()?;
            let (request, copy) = (RequestId(Uuid::nil()), CopyId(Uuid::nil()));
            wire::send(&mut stream, &Pull { request, copy, from_block: 0 }).await.ok()?;
            wire::receive::<PullAnswer>(&mut stream).await.ok()
        };
        timeout(PROBE_MAX.min(limit), asked).await.ok().flatten().is_some()
    }

    /// Trying it again is of no use; another endpoint may be.
    fn data_port(&self, endpoint: &str) -> Error {
        let message = format!("{endpoint} is the data port of a node (listen.data), which takes no commands");
        let error = match self.endpoints.len() {
            1 => Error::new(Code::Invalid, message),
            _ => Error::unavailable(message),
        };
        error.hint("give the node's listen.rpc address: ENDPOINT in `cairn node ls`, port 7420 by default")
    }

    fn tell(&self, contact: Contact<'_>) {
        if let Some(tell) = &self.contact {
            tell(contact);
        }
    }

    /// Leaves a connection; the next one goes to the next endpoint.
    pub(crate) fn turn(&self, session: &Session) {
        let mut state = self.state();
        if state.session.as_ref().is_some_and(|s| s.serial == session.serial) {
            state.first = (state.first + 1) % self.endpoints.len().max(1);
            state.session = None;
        }
    }

    /// What one endpoint gets of the time.
    pub(crate) fn share(&self) -> Duration {
        let endpoints = u32::try_from(self.endpoints.len()).unwrap_or(u32::MAX).max(1);
        (self.timeout / endpoints).max(SHARE_MIN).min(self.timeout)
    }

    fn state(&self) -> std::sync::MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// To the millisecond: what is finer says nothing.
fn in_words(span: Duration) -> humantime::FormattedDuration {
    humantime::format_duration(Duration::from_millis(u64::try_from(span.as_millis()).unwrap_or(u64::MAX)))
}

pub(crate) fn shortened(span: Duration) -> Duration {
    span - (span / 10).min(Duration::from_millis(500))
}

fn unreached(causes: &[(&String, DialError)]) -> Error {
    let hint = "is cairnd running there? see --endpoint and CAIRN_ENDPOINTS";
    let message = match causes {
        [] => return Error::new(Code::Invalid, "no endpoint to ask").hint(hint),
        [(endpoint, error)] => format!("cannot reach a node at {endpoint}: {error}"),
        many => {
            let each: Vec<String> = many.iter().map(|(endpoint, error)| format!("{endpoint}: {error}")).collect();
            format!("cannot reach any node: {}", each.join("; "))
        }
    };
    if causes.iter().any(|(_, error)| error.passing()) {
        Error::unavailable(message).hint(hint)
    } else {
        Error::new(causes.first().map_or(Code::Internal, |(_, error)| error.code()), message).hint(hint)
    }
}
