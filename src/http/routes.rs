//! Which path leads where.

use super::problem::Problem;
use super::server::Peer;
use super::{delivery, page};
use crate::control::health::Readiness;
use crate::control::{Control, LiveChannel};
use crate::key::{MEDIA_ROOT, MediaPath};
use axum::extract::{Extension, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{any, get};
use axum::{Json, Router};
use hyper::header::CACHE_CONTROL;
use hyper::{StatusCode, Uri};
use serde::Serialize;

/// Everything that is served over HTTP. Merge other routes into it.
pub fn router(control: Control) -> Router {
    Router::new()
        .route("/", get(page::index))
        .route("/assets/{*path}", get(page::asset))
        .route("/api/v1/live", get(live))
        .route("/healthz", get(healthy))
        .route("/readyz", get(ready))
        .route("/hls/{*path}", any(delivery::media))
        .fallback(nothing)
        .with_state(control)
}

/// Whether the process lives.
pub(super) async fn healthy() -> &'static str {
    "ok\n"
}

/// How the server is, and why.
async fn ready(State(control): State<Control>) -> Response {
    told(&control.readiness())
}

/// The status is for load balancers, the document for people and programs.
pub(super) fn told(readiness: &Readiness) -> Response {
    let status = match readiness.state.takes_more() {
        true => StatusCode::OK,
        false => StatusCode::SERVICE_UNAVAILABLE,
    };
    (status, [(CACHE_CONTROL, "no-store")], Json(readiness)).into_response()
}

async fn nothing(uri: Uri) -> Response {
    let detail = format!("there is nothing at {}", uri.path());
    Problem::new(StatusCode::NOT_FOUND, detail).into_response()
}

#[derive(Serialize)]
struct Live {
    channels: Vec<LiveRow>,
}

#[derive(Serialize)]
struct LiveRow {
    hub: String,
    channel: String,
    /// Milliseconds since the Unix epoch.
    since_ms: i64,
    codecs: Vec<String>,
    width: Option<u32>,
    height: Option<u32>,
    /// Path of the multivariant playlist.
    playlist: String,
}

impl From<LiveChannel> for LiveRow {
    fn from(live: LiveChannel) -> Self {
        Self {
            hub: live.channel.hub.to_string(),
            channel: live.channel.name.to_string(),
            since_ms: live.since_unix_ms,
            codecs: live.codecs,
            width: live.resolution.map(|(width, _)| width),
            height: live.resolution.map(|(_, height)| height),
            playlist: format!("{MEDIA_ROOT}{}", MediaPath::Index(live.channel)),
        }
    }
}

/// The channels that are live and that anybody may play, for the page.
async fn live(State(control): State<Control>, peer: Option<Extension<Peer>>) -> Response {
    let address = peer.map(|Extension(Peer(peer))| peer.ip());
    let may = |live: &LiveChannel| live.public && control.may_see_from(&live.channel, address);
    let public = control.live().into_iter().filter(may);
    let channels = public.map(LiveRow::from).collect();
    ([(CACHE_CONTROL, "no-store")], Json(Live { channels })).into_response()
}
