//! `/metrics`, for Prometheus. Beside the versioned API: its names are in [`crate::metrics`].

use super::guard::{Answer, By};
use crate::control::Control;
use crate::control::auth::Need;
use crate::metrics;
use axum::Router;
use axum::extract::State;
use axum::response::IntoResponse;
use axum::routing::get;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE};

/// Who may read the metrics. They name no channel, no address and no viewer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Readers {
    /// Anybody.
    All,
    /// Whoever has an API token that may look at the whole server.
    Token,
}

/// The route.
pub fn metrics(control: Control, readers: Readers) -> Router {
    let route = match readers {
        Readers::All => get(open),
        Readers::Token => get(guarded),
    };
    Router::new().route("/metrics", route).with_state(control)
}

async fn guarded(by: By, control: State<Control>) -> Answer<impl IntoResponse> {
    by.may(Need::ReadAll)?;
    Ok(open(control).await)
}

async fn open(State(control): State<Control>) -> impl IntoResponse {
    control.measure();
    let fields = [
        (CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8"),
        (CACHE_CONTROL, "no-store"),
    ];
    (fields, metrics::render())
}
