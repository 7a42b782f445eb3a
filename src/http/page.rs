//! The web page: plain files inside the binary.

use super::problem::Problem;
use super::representation::Representation;
use crate::playlist::{Document, Freshness};
use axum::extract::Path;
use axum::response::{IntoResponse, Response};
use hyper::header::{CONTENT_SECURITY_POLICY, HeaderValue, X_CONTENT_TYPE_OPTIONS};
use hyper::{HeaderMap, Method, StatusCode};
use rust_embed::Embed;
use std::collections::HashMap;
use std::sync::LazyLock;

/// `web/` as it was at build time. `web/vendor/hls.min.js` may be missing: the page then plays
/// with the browser's own HLS and says how to get it.
#[derive(Embed)]
#[folder = "web/"]
struct Web;

const INDEX: &str = "index.html";
/// A new server brings a new page, so browsers ask each time; the entity tag keeps that cheap.
const ASK_EACH_TIME: &str = "no-cache";
/// Nothing from elsewhere. `blob:` is how hls.js hands media to the browser and starts its worker.
const POLICY: &str = "default-src 'self'; media-src 'self' blob:; worker-src 'self' blob:; \
     img-src 'self' data:; object-src 'none'; base-uri 'none'; form-action 'none'; \
     frame-ancestors 'self'";

/// The files by name, compressed when the first asks.
static FILES: LazyLock<HashMap<String, Document>> = LazyLock::new(|| {
    let text = |name: &str| String::from_utf8(Web::get(name)?.data.into_owned()).ok();
    let files = Web::iter().filter_map(|name| Some((name.to_string(), text(&name)?)));
    files
        .map(|(name, text)| (name, Document::new(text, Freshness::Settled)))
        .collect()
});

pub(super) async fn index(method: Method, headers: HeaderMap) -> Response {
    file(INDEX, &method, &headers).await
}

pub(super) async fn asset(
    Path(path): Path<String>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    file(&path, &method, &headers).await
}

async fn file(name: &str, method: &Method, headers: &HeaderMap) -> Response {
    let Some(document) = FILES.get(name) else {
        let detail = format!("the page has no file {name}");
        return Problem::new(StatusCode::NOT_FOUND, detail).into_response();
    };
    let found = Representation::of_document(
        document.clone(),
        content_type(name),
        ASK_EACH_TIME.to_owned(),
        headers,
    );
    let mut response = found.await.respond(method, headers).await;
    let headers = response.headers_mut();
    headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static(POLICY));
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    response
}

fn content_type(name: &str) -> &'static str {
    match name.rsplit_once('.').map(|(_, extension)| extension) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js") => "text/javascript; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "text/plain; charset=utf-8",
    }
}
