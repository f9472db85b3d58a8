//! Health and metrics over HTTP, for probes and monitoring. Whoever asks can only read.
//!
//! - [`probe`]: `/livez` and `/readyz`: should this node be restarted, can it serve now;
//! - `/health/cluster`: what `cairn cluster health` says, as this node sees it;
//! - [`scrape`]: `/metrics`, of what was counted ([`crate::metrics`]), and of what a look at the node and at the
//!   replicated state ([`census`]) shows.
//!
//! Each connection has one request and one answer, all within one bound.

pub mod census;
pub mod probe;
pub mod scrape;

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{RawQuery, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use hyper_util::service::TowerToHyperService;
use tokio::sync::{Mutex, Semaphore};

use crate::core::Core;
use crate::env::Listener;
use crate::service::Service;

/// Connections at once. What comes beyond is closed.
const CONNECTIONS_MAX: usize = 256;
/// From a connection's begin to its end: head, answer, and the reading of it. The slowest answer waits for a quorum for two
/// seconds, and for its turn to look through the segments for five.
const CONVERSATION_MAX: Duration = Duration::from_secs(10);
/// A request's line and headers, in bytes; more is refused. No body is ever read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// Answers until the process ends: a node that must not go on says why to the last.
pub async fn serve(core: Arc<Core>, listener: Box<dyn Listener>) {
    let places = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let routes = routes(&core);
    loop {
        let (stream, from) = match listener.accept().await {
            Ok(accepted) => accepted,
            Err(e) => {
                // Out of descriptors, most likely: others may end meanwhile.
                tracing::warn!(error = %e, "an HTTP connection could not be accepted");
                core.env.clock.sleep(core.limits.work).await;
                continue;
            }
        };
        let Ok(place) = places.clone().try_acquire_owned() else { continue };
        let (env, service) = (core.env.clone(), TowerToHyperService::new(routes.clone()));
        core.env.spawn(async move {
            let _place = place;
            let mut http = http1::Builder::new();
            http.keep_alive(false).max_buf_size(HEAD_BYTES_MAX);
            let conversation = http.serve_connection(TokioIo::new(stream), service);
            match env.timeout(CONVERSATION_MAX, conversation).await {
                Some(Ok(())) => {}
                Some(Err(error)) => tracing::debug!(%from, %error, "an HTTP connection ended"),
                None => tracing::debug!(%from, "an HTTP connection took too long"),
            }
        });
    }
}

/// What the answers need.
#[derive(Clone)]
struct Asked {
    core: Arc<Core>,
    /// One census at a time, however many ask.
    counting: Arc<Mutex<()>>,
}

fn routes(core: &Arc<Core>) -> Router {
    let asked = Asked { core: core.clone(), counting: Arc::default() };
    Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/health/cluster", get(health))
        .route("/metrics", get(metrics))
        .with_state(asked)
}

async fn livez(State(asked): State<Asked>) -> Response {
    match probe::live(&asked.core) {
        Ok(()) => "ok\n".into_response(),
        Err(why) => (StatusCode::SERVICE_UNAVAILABLE, format!("{why}\n")).into_response(),
    }
}

async fn readyz(State(asked): State<Asked>, RawQuery(query): RawQuery) -> Response {
    let checks = probe::ready(&asked.core).await;
    let ready = checks.iter().all(|check| check.failed.is_none());
    let verbose = query.unwrap_or_default().split('&').any(|key| key.split('=').next() == Some("verbose"));
    let shown = checks.iter().filter(|check| verbose || check.failed.is_some());
    let text: String = shown.map(|check| format!("{check}\n")).collect();
    match ready {
        true if !verbose => "ok\n".into_response(),
        true => text.into_response(),
        false => (StatusCode::SERVICE_UNAVAILABLE, text).into_response(),
    }
}

async fn health(State(asked): State<Asked>) -> Response {
    let reasons = Service { core: asked.core }.cluster_health().await.reasons;
    let healthy = reasons.is_empty();
    let status = if healthy { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    (status, Json(serde_json::json!({ "healthy": healthy, "reasons": reasons }))).into_response()
}

async fn metrics(State(asked): State<Asked>) -> Response {
    match scrape::scrape(&asked.core, &asked.counting).await {
        Ok(text) => ([(header::CONTENT_TYPE, scrape::CONTENT_TYPE)], text).into_response(),
        Err(why) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{why}\n")).into_response(),
    }
}
