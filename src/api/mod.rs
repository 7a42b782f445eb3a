//! Our own API, version 1: JSON over HTTP, described by an OpenAPI document that is made of the code.
//!
//! Every answer comes from [`crate::control`]; here are only its wire shapes, and who needs which
//! token. Times are RFC 3339 in JSON and unix seconds in queries; lists have a limit and a marker;
//! failures are problem documents (RFC 9457).
//!
//! ```text
//! request ─ guard (token → Caller; path, query, body → types) ─ channels │ history │ holds │ rights │ server
//! ```

mod channels;
mod docs;
mod guard;
mod history;
mod holds;
mod metrics;
mod rights;
mod server;
mod settings;
mod types;

pub use metrics::{Readers, metrics};

use crate::control::Control;
use axum::Router;
use axum::extract::FromRef;
use std::sync::Arc;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

/// Where clients find this server, for the URLs in answers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Places {
    /// Port of RTMP, for URLs made from a request's own host.
    pub rtmp_port: u16,
    /// What publish URLs begin with, for example `rtmp://in.example.org`, if it is configured.
    pub rtmp: Option<String>,
    /// What playback URLs begin with, for example `https://cdn.example.org`, if it is configured.
    pub http: Option<String>,
}

#[derive(Clone)]
struct Api {
    control: Control,
    places: Arc<Places>,
}

impl FromRef<Api> for Control {
    fn from_ref(api: &Api) -> Self {
        api.control.clone()
    }
}

impl FromRef<Api> for Arc<Places> {
    fn from_ref(api: &Api) -> Self {
        Arc::clone(&api.places)
    }
}

/// The routes of the API, its description and its documentation.
pub fn router(control: Control, places: Places) -> Router {
    let (router, description) = described().split_for_parts();
    let api = Api {
        control,
        places: Arc::new(places),
    };
    router
        .with_state(api)
        .layer(axum::middleware::from_fn(guard::around))
        .merge(docs::router(description))
}

fn described() -> OpenApiRouter<Api> {
    OpenApiRouter::with_openapi(docs::head())
        .routes(routes!(channels::list))
        .routes(routes!(
            channels::get,
            channels::put,
            channels::patch,
            channels::delete
        ))
        .routes(routes!(channels::enable))
        .routes(routes!(channels::disable))
        .routes(routes!(channels::kick))
        .routes(routes!(channels::rotate_key))
        .routes(routes!(channels::status))
        .routes(routes!(history::sessions))
        .routes(routes!(history::segments))
        .routes(routes!(history::periods))
        .routes(routes!(history::list_clips, history::make_clip))
        .routes(routes!(history::get_clip, history::delete_clip))
        .routes(routes!(holds::list))
        .routes(routes!(holds::get, holds::put, holds::delete))
        .routes(routes!(rights::publish_url))
        .routes(routes!(rights::playback_url))
        .routes(routes!(rights::list_tokens, rights::make_token))
        .routes(routes!(rights::delete_token))
        .routes(routes!(rights::audit))
        .routes(routes!(server::server))
        .routes(routes!(server::events))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_operation_is_described_with_what_it_answers() {
        let (_, description) = described().split_for_parts();
        let text = docs::complete(description).to_json().expect("JSON");
        let document: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        let paths = document["paths"].as_object().expect("paths");
        let mut operations = 0;
        for (path, methods) in paths {
            for (method, operation) in methods.as_object().expect("methods") {
                operations += 1;
                let name = format!("{method} {path}");
                assert!(path.starts_with("/api/v1/"), "{name}");
                assert!(operation["summary"].is_string(), "{name} has no summary");
                assert!(operation["responses"]["401"].is_object(), "{name}");
                let good = ["200", "201", "204"];
                assert!(
                    good.iter()
                        .any(|code| operation["responses"][code].is_object()),
                    "{name}"
                );
            }
        }
        assert_eq!(operations, 29);
    }
}
