//! Playlists and segments to players, caches and browsers of any origin.

use super::problem::{self, Problem};
use super::representation::{Coding, FOR_EVER, Representation};
use crate::control::{Control, Lookup};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::playlist::{Document, Freshness};
use axum::extract::rejection::PathRejection;
use axum::extract::{Path, State};
use axum::response::{IntoResponse, Response};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, HeaderName, HeaderValue,
};
use hyper::{HeaderMap, Method, StatusCode};

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const METHODS: &str = "GET, HEAD, OPTIONS";
/// A settled playlist may still lose segments to retention.
const SETTLED: &str = "public, max-age=3600";

/// Whatever is asked below the media root.
pub(super) async fn media(
    State(control): State<Control>,
    path: Result<Path<String>, PathRejection>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let mut response = match method {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => {
            let path = path.map(|Path(path)| path).unwrap_or_default();
            let found = find(&control, &path, &headers).await;
            match found {
                Ok(found) => found.respond(&method, &headers).await,
                Err(problem) => problem.into_response(),
            }
        }
        _ => refuse(&method),
    };
    share(response.headers_mut());
    response
}

async fn find(
    control: &Control,
    path: &str,
    headers: &HeaderMap,
) -> Result<Representation, Problem> {
    let parsed = MediaPath::parse(path).ok_or_else(|| {
        let detail = "the path names no playlist and no segment";
        Problem::new(StatusCode::NOT_FOUND, detail).passing()
    })?;
    match &parsed {
        MediaPath::Segment(key, number, container) => {
            segment(control, key, *number, *container).await
        }
        playlist => {
            let document = control.document(playlist).await.map_err(missing)?;
            let cache_control = cache_control(&document);
            Ok(Representation::of_document(document, PLAYLIST, cache_control, headers).await)
        }
    }
}

async fn segment(
    control: &Control,
    key: &RecordingKey,
    number: u64,
    container: Container,
) -> Result<Representation, Problem> {
    let Container::Ts = container;
    let body = control.segment(key, number).await.map_err(missing)?;
    Ok(Representation {
        content_type: "video/mp2t",
        // The name stands for the bytes; the size is for a store that was tampered with.
        etag: format!("\"{}-{number:x}-{:x}\"", key.recording, body.size()),
        cache_control: FOR_EVER.to_owned(),
        coding: Coding::Only,
        body,
    })
}

fn cache_control(document: &Document) -> String {
    match document.freshness() {
        Freshness::Live { max_age_s: 0 } => "no-cache".to_owned(),
        Freshness::Live { max_age_s } => format!("public, max-age={max_age_s}"),
        Freshness::Settled => SETTLED.to_owned(),
    }
}

fn missing(lookup: Lookup) -> Problem {
    match lookup {
        Lookup::Store(error) => problem::of_store(error),
        lookup => Problem::new(StatusCode::NOT_FOUND, lookup.to_string()).passing(),
    }
}

fn refuse(method: &Method) -> Response {
    let detail = format!("media is read with GET or HEAD; {method} does nothing here");
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, detail)
        .with(ALLOW, HeaderValue::from_static(METHODS))
        .into_response()
}

/// The answer to a browser that asks whether it may ask (Fetch standard §3.2).
fn preflight() -> Response {
    let mut response = StatusCode::NO_CONTENT.into_response();
    fields(
        response.headers_mut(),
        [
            (ALLOW, METHODS),
            (ACCESS_CONTROL_ALLOW_METHODS, METHODS),
            (
                ACCESS_CONTROL_ALLOW_HEADERS,
                "range, authorization, if-none-match, if-match, if-range, cache-control, content-type",
            ),
            (ACCESS_CONTROL_MAX_AGE, "86400"),
        ],
    );
    response
}

/// Every answer may be read from every origin: failures too, or players cannot tell why. No
/// credentials are taken, so the asterisk is enough and caches need not vary.
fn share(headers: &mut HeaderMap) {
    fields(
        headers,
        [
            (ACCESS_CONTROL_ALLOW_ORIGIN, "*"),
            (
                ACCESS_CONTROL_EXPOSE_HEADERS,
                "content-length, content-range, date, etag, age, retry-after",
            ),
        ],
    );
}

fn fields<const N: usize>(headers: &mut HeaderMap, fields: [(HeaderName, &'static str); N]) {
    for (name, value) in fields {
        headers.insert(name, HeaderValue::from_static(value));
    }
}
