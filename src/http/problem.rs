//! Errors as RFC 9457 has them: a machine reads the status, a person reads why.

use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use hyper::header::{CACHE_CONTROL, CONTENT_TYPE, HeaderName, HeaderValue, RETRY_AFTER};
use serde::Serialize;

/// An answer that says what went wrong. Not to be stored, unless it is [`Problem::passing`].
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    status: StatusCode,
    detail: String,
    cache_control: &'static str,
    headers: Vec<(HeaderName, HeaderValue)>,
}

#[derive(Serialize)]
struct Document<'a> {
    r#type: &'static str,
    title: &'static str,
    status: u16,
    detail: &'a str,
}

impl Problem {
    /// A problem whose `detail` tells a person what is wrong, with what.
    pub fn new(status: StatusCode, detail: impl Into<String>) -> Self {
        Self {
            status,
            detail: detail.into(),
            cache_control: "no-store",
            headers: Vec::new(),
        }
    }

    /// The same, for what may be there in a second: a cache may spare us the crowd for so long.
    pub fn passing(self) -> Self {
        Self {
            cache_control: "max-age=1",
            ..self
        }
    }

    /// The same with one more header field.
    pub fn with(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.push((name, value));
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let document = Document {
            r#type: "about:blank",
            title: self.status.canonical_reason().unwrap_or("Error"),
            status: self.status.as_u16(),
            detail: &self.detail,
        };
        let text = serde_json::to_string(&document).unwrap_or_default();
        let mut response = (self.status, text).into_response();
        let headers = response.headers_mut();
        headers.extend(self.headers);
        headers.insert(
            CONTENT_TYPE,
            HeaderValue::from_static("application/problem+json"),
        );
        headers.insert(CACHE_CONTROL, HeaderValue::from_static(self.cache_control));
        response
    }
}

/// The store failed. The reason goes to the log and not to the world: it may name hosts and paths.
pub(super) fn of_store(error: crate::store::Error) -> Problem {
    let mut reason = error.to_string();
    let mut cause = std::error::Error::source(&error);
    while let Some(error) = cause {
        reason = format!("{reason}: {error}");
        cause = error.source();
    }
    tracing::warn!("http: {reason}");
    let detail = "the store does not give what it has; it is being asked again at every request";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}

/// The catalog failed, or is away. The reason goes to the log and not to the world.
pub fn of_catalog(error: &dyn std::fmt::Display) -> Problem {
    tracing::warn!("http: {error}");
    let detail = "the catalog does not answer; try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail)
        .with(RETRY_AFTER, HeaderValue::from_static("1"))
}
