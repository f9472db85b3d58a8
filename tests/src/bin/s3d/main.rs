//! `s3d`: an S3 server for tests, over a folder. Buckets are folders in it, objects are files in these.
//!
//! - `faults`: what goes wrong, read anew from a file at each request;
//! - `paced`: a body that is slow, or ends too early;
//! - `strict`: `s3s-fs`, and what a store must do that it does not;
//! - `aliases`: the short names under which `strict` stores long ones.
//!
//! A request goes through `answer`: its fault is looked up, its body is paced, `s3s` checks its signature, `strict`
//! does it, and the body of the reply is paced as well. Only one `s3d` may serve a folder.

mod aliases;
mod faults;
mod paced;
mod strict;

use std::convert::Infallible;
use std::io::Write;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use clap::Parser;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use s3s::{Body, S3Error, S3ErrorCode, StdError};
use s3s_fs::FileSystem;
use tokio::net::TcpListener;

use faults::Faults;
use paced::{Cut, Paced};
use strict::Strict;

/// How long a failed `accept` is waited for: the files that are open may become fewer.
const ACCEPT_AGAIN: Duration = Duration::from_millis(20);

/// An S3 server for tests.
#[derive(Debug, Parser)]
struct Args {
    /// Where buckets lie, each a folder
    #[arg(long)]
    dir: PathBuf,
    /// Where to listen on 127.0.0.1; 0 is a free port
    #[arg(long, default_value_t = 0)]
    port: u16,
    /// The access key that is let in
    #[arg(long)]
    key: String,
    /// Its secret
    #[arg(long)]
    secret: String,
    /// A file of faults, read at each request; none if it is not there
    #[arg(long)]
    faults: Option<PathBuf>,
    /// Serve what `s3s-fs` does by itself, with its faults
    #[arg(long)]
    raw: bool,
}

#[tokio::main]
async fn main() -> ExitCode {
    match serve(Args::parse()).await {
        Ok(never) => match never {},
        Err(error) => {
            // Nobody else is left who could be told.
            let _ = writeln!(std::io::stderr(), "s3d: {error}");
            ExitCode::FAILURE
        }
    }
}

/// Serves until the process is ended.
async fn serve(args: Args) -> Result<Infallible, StdError> {
    let files = FileSystem::new(&args.dir).map_err(|error| format!("{}: {error:?}", args.dir.display()))?;
    let mut builder = if args.raw {
        S3ServiceBuilder::new(files)
    } else {
        S3ServiceBuilder::new(Strict::new(files, args.dir.canonicalize()?)?)
    };
    builder.set_auth(SimpleAuth::from_single(args.key, args.secret));
    let store = builder.build();
    let faults = Arc::new(Faults::new(args.faults));

    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, args.port)).await?;
    let mut stdout = std::io::stdout();
    writeln!(stdout, "listening {}", listener.local_addr()?)?;
    stdout.flush()?;

    loop {
        let Ok((socket, _)) = listener.accept().await else {
            tokio::time::sleep(ACCEPT_AGAIN).await;
            continue;
        };
        let _ = socket.set_nodelay(true);
        let (store, faults) = (store.clone(), Arc::clone(&faults));
        let service = service_fn(move |request| answer(store.clone(), Arc::clone(&faults), request));
        tokio::spawn(async move {
            // That a client went away, or was cut off, is its own affair.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(socket), service).await;
        });
    }
}

/// The reply to one request. An error drops the connection.
async fn answer(
    store: S3Service,
    faults: Arc<Faults>,
    request: Request<Incoming>,
) -> Result<Response<Body>, StdError> {
    let fault = match faults.of(request.method(), request.uri()).await {
        Ok(fault) => fault,
        Err(error) => return refusal(StatusCode::INTERNAL_SERVER_ERROR, Some(error)),
    };
    tokio::time::sleep(Duration::from_millis(fault.delay_ms)).await;
    let is_head = *request.method() == Method::HEAD;
    let cut = Cut::default();
    let request = request.map(|body| Paced::new(body, &fault, &cut));
    if let Some(status) = fault.status {
        drain(request.into_body()).await?;
        return refusal(StatusCode::from_u16(status)?, None);
    }
    let response = store.call(request.map(Body::http_body_unsync)).await.map_err(StdError::from)?;
    if cut.happened() || fault.lost {
        return Err("cut off, as wished".into());
    }
    Ok(if is_head { response } else { response.map(|body| Body::http_body_unsync(Paced::new(body, &fault, &cut))) })
}

/// Reads to the end: who is refused while it still sends may see a broken pipe and not the reply.
async fn drain(mut body: Paced) -> Result<(), StdError> {
    while let Some(frame) = body.frame().await {
        frame?;
    }
    Ok(())
}

/// What S3 says with a status.
fn refusal(status: StatusCode, why: Option<String>) -> Result<Response<Body>, StdError> {
    let code = match status {
        StatusCode::SERVICE_UNAVAILABLE => S3ErrorCode::SlowDown,
        StatusCode::INTERNAL_SERVER_ERROR => S3ErrorCode::InternalError,
        StatusCode::FORBIDDEN => S3ErrorCode::AccessDenied,
        StatusCode::NOT_FOUND => S3ErrorCode::NoSuchKey,
        StatusCode::PRECONDITION_FAILED => S3ErrorCode::PreconditionFailed,
        other => S3ErrorCode::Custom(other.canonical_reason().unwrap_or("Fault").replace(' ', "").into()),
    };
    let mut error = S3Error::with_message(code, why.unwrap_or_else(|| "a fault that was wished for".to_owned()));
    error.set_status_code(status);
    Ok(error.to_http_response()?)
}
