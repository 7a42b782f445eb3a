//! What is answered before there are routes: that the process lives, and that it is starting.

use super::problem::Problem;
use super::routes::{healthy, told};
use crate::control::health::Readiness;
use axum::Router;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{HeaderValue, RETRY_AFTER};
use std::sync::{Arc, OnceLock};
use tower::ServiceExt;

/// Stands before routes that are still to come. Cheap to clone.
#[derive(Clone, Default)]
pub struct Gate(Arc<OnceLock<Router>>);

impl Gate {
    /// Serves what [`Gate::open`] is given, once it is.
    pub fn router(&self) -> Router {
        Router::new().fallback(pass).with_state(self.clone())
    }

    /// From now on requests go to `router`. The first one stays.
    pub fn open(&self, router: Router) {
        let _ = self.0.set(router);
    }
}

async fn pass(State(gate): State<Gate>, request: Request) -> Response {
    if let Some(router) = gate.0.get() {
        return match router.clone().oneshot(request).await {
            Ok(response) => response,
            Err(never) => match never {},
        };
    }
    match request.uri().path() {
        "/healthz" => healthy().await.into_response(),
        "/readyz" => told(&Readiness::starting()),
        _ => {
            let detail = "the server is starting; try again in a moment";
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
                .with(RETRY_AFTER, HeaderValue::from_static("1"))
                .into_response()
        }
    }
}
