//! A client of etcd that puts one key again and again, over gRPC: the least of it that this one call needs.

use h2::client::SendRequest;
use http::{HeaderMap, Request};
use tokio::net::TcpStream;
use tokio_util::bytes::Bytes;
use uuid::Uuid;

use crate::bench::load::Repeat;
use crate::report::Report;

/// What is put, in bytes.
const VALUE_BYTES: usize = 1 << 10;
/// The call, as gRPC names it.
const CALL: &str = "/etcdserverpb.KV/Put";

/// One client, on a connection of its own.
pub(in crate::bench) struct Put {
    connection: SendRequest<Bytes>,
    uri: String,
    body: Bytes,
}

impl Put {
    /// Connects; `nth` makes its key differ from that of others.
    pub(in crate::bench) async fn new(endpoint: &str, nth: u32) -> Result<Self, Report> {
        let stream = TcpStream::connect(endpoint).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let (connection, driver) = h2::client::handshake(stream).await.map_err(failed)?;
        // It ends with the connection.
        tokio::spawn(driver);
        Ok(Self { connection, uri: format!("http://{endpoint}{CALL}"), body: message(&format!("bench/{nth}")) })
    }
}

impl Repeat for Put {
    async fn once(&mut self) -> Result<(), Report> {
        let mut connection = self.connection.clone().ready().await.map_err(failed)?;
        let request = Request::post(&self.uri).header("content-type", "application/grpc").header("te", "trailers");
        let (answer, mut stream) =
            connection.send_request(request.body(()).map_err(failed)?, false).map_err(failed)?;
        stream.send_data(self.body.clone(), true).map_err(failed)?;
        let answer = answer.await.map_err(failed)?;
        // An error without an answer has its status at once.
        let early = status(answer.headers());
        let mut body = answer.into_body();
        while let Some(part) = body.data().await {
            let length = part.map_err(failed)?.len();
            body.flow_control().release_capacity(length).map_err(failed)?;
        }
        let late = body.trailers().await.map_err(failed)?.as_ref().and_then(status);
        match early.or(late).as_deref() {
            Some("0") => Ok(()),
            other => Err(failed(format!("gRPC status {}", other.unwrap_or("missing")))),
        }
    }
}

fn status(headers: &HeaderMap) -> Option<String> {
    headers.get("grpc-status")?.to_str().ok().map(str::to_owned)
}

fn failed(error: impl std::fmt::Display) -> Report {
    Report::internal(format!("etcd did not answer a put: {error}"))
}

/// A `PutRequest` of a key and a value, framed as gRPC has it.
fn message(key: &str) -> Bytes {
    let mut value = vec![0; VALUE_BYTES];
    blake3::Hasher::new().update(Uuid::now_v7().as_bytes()).finalize_xof().fill(&mut value);
    let mut fields = Vec::new();
    for (number, bytes) in [(1, key.as_bytes()), (2, value.as_slice())] {
        // Protobuf: the field's number and kind (2: bytes), the length, the bytes.
        fields.push(number << 3 | 2);
        let mut length = bytes.len();
        while length >= 0x80 {
            fields.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        fields.push(length as u8);
        fields.extend_from_slice(bytes);
    }
    // gRPC: not compressed, the length, the message.
    let length = u32::try_from(fields.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&[0], length.as_slice(), &fields].concat().into()
}
