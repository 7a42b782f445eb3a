//! One representation of a resource, and the answer to a request for it: whole, a part of it, only
//! its header, or the word that the client has it already.

use super::problem::Problem;
use super::range::{self, Ranged};
use super::{conditions, problem};
use crate::control::{SegmentBody, StoredSegment};
use crate::playlist::{Document, Freshness};
use axum::body::Body;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{
    ACCEPT_RANGES, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, CONTENT_TYPE,
    ETAG, HeaderName, HeaderValue, VARY,
};
use hyper::{HeaderMap, Method, StatusCode};
use std::ops::Range;

/// Bytes with what HTTP says about them.
pub struct Representation {
    pub(super) content_type: &'static str,
    /// Strong, in its quotes.
    pub(super) etag: String,
    pub(super) cache_control: String,
    pub(super) coding: Coding,
    pub(super) body: SegmentBody,
}

/// Whether there are several representations of the resource.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Coding {
    /// There is this one.
    Only,
    /// The plain one of two.
    Plain,
    /// The compressed one of two.
    Gzip,
}

impl Representation {
    /// A text, compressed or plain as the request's headers want it.
    pub async fn of_text(
        text: String,
        content_type: &'static str,
        cache_control: &str,
        headers: &HeaderMap,
    ) -> Self {
        // How fresh it is says `cache_control`.
        let document = Document::new(text, Freshness::Settled);
        Self::of_document(document, content_type, cache_control.to_owned(), headers).await
    }

    /// A segment under a name that always means these bytes, as long as a copy is good for.
    pub fn of_segment(
        body: SegmentBody,
        content_type: &'static str,
        cache_control: &str,
        etag: String,
    ) -> Self {
        Self {
            content_type,
            etag,
            cache_control: cache_control.to_owned(),
            coding: Coding::Only,
            body,
        }
    }

    /// Its entity tag, in its quotes.
    pub fn etag(&self) -> &str {
        &self.etag
    }

    /// The text of a document as the request's headers want it, compressed or plain.
    pub(super) async fn of_document(
        document: Document,
        content_type: &'static str,
        cache_control: String,
        headers: &HeaderMap,
    ) -> Self {
        let gzip = conditions::prefers_gzip(headers);
        let (bytes, etag, coding) = if gzip {
            let etag = document.etag_gzip().to_owned();
            (compressed(document).await, etag, Coding::Gzip)
        } else {
            let etag = document.etag().to_owned();
            (document.text().clone(), etag, Coding::Plain)
        };
        Self {
            content_type,
            etag,
            cache_control,
            coding,
            body: SegmentBody::Whole(bytes),
        }
    }

    /// The answer to a request with this method, GET or HEAD, and these headers, in the order of
    /// precedence of RFC 9110 §13.2.2.
    pub async fn respond(self, method: &Method, headers: &HeaderMap) -> Response {
        if conditions::wants_other(headers, &self.etag) {
            let detail = format!("what is here now has the entity tag {}", self.etag);
            return Problem::new(StatusCode::PRECONDITION_FAILED, detail).into_response();
        }
        if conditions::has_it(headers, &self.etag) {
            let mut response = StatusCode::NOT_MODIFIED.into_response();
            self.describe(response.headers_mut());
            return response;
        }
        let size = self.body.size();
        let asked = conditions::range(headers, &self.etag).filter(|_| method == Method::GET);
        let (status, range) = match asked.map_or(Ranged::Whole, |asked| range::parse(asked, size)) {
            Ranged::Whole => (StatusCode::OK, 0..size),
            Ranged::Part(range) => (StatusCode::PARTIAL_CONTENT, range),
            Ranged::Unsatisfiable => return unsatisfiable(size),
        };
        let mut response = match self.body_of(method, range.clone()).await {
            Ok(body) => (status, body).into_response(),
            Err(problem) => return problem.into_response(),
        };
        let headers = response.headers_mut();
        self.describe(headers);
        set(headers, CONTENT_TYPE, self.content_type);
        set(headers, ACCEPT_RANGES, "bytes");
        set(
            headers,
            CONTENT_LENGTH,
            &(range.end - range.start).to_string(),
        );
        if self.coding == Coding::Gzip {
            set(headers, CONTENT_ENCODING, "gzip");
        }
        if status == StatusCode::PARTIAL_CONTENT {
            let part = format!(
                "bytes {}-{}/{size}",
                range.start,
                range.end.saturating_sub(1)
            );
            set(headers, CONTENT_RANGE, &part);
        }
        response
    }

    /// What a 304 says as well.
    fn describe(&self, headers: &mut HeaderMap) {
        set(headers, ETAG, &self.etag);
        set(headers, CACHE_CONTROL, &self.cache_control);
        if self.coding != Coding::Only {
            set(headers, VARY, "accept-encoding");
        }
    }

    async fn body_of(&self, method: &Method, range: Range<u64>) -> Result<Body, Problem> {
        match &self.body {
            _ if method == Method::HEAD || range.is_empty() => Ok(Body::empty()),
            SegmentBody::Whole(bytes) => {
                // It is within the bytes, so it fits.
                Ok(bytes.slice(range.start as usize..range.end as usize).into())
            }
            SegmentBody::Stored(segment) => stream(segment, range).await,
        }
    }
}

async fn stream(segment: &StoredSegment, range: Range<u64>) -> Result<Body, Problem> {
    let object = segment.read(range).await.map_err(problem::of_store)?;
    Ok(Body::from_stream(object.body))
}

async fn compressed(document: Document) -> Bytes {
    if !document.is_slow_to_compress() {
        return document.gzip().clone();
    }
    let work = document.clone();
    match tokio::task::spawn_blocking(move || work.gzip().clone()).await {
        Ok(bytes) => bytes,
        Err(_) => document.gzip().clone(), // the runtime is stopping
    }
}

fn unsatisfiable(size: u64) -> Response {
    let detail = format!("there are {size} bytes, and the range begins after them");
    let mut response = Problem::new(StatusCode::RANGE_NOT_SATISFIABLE, detail).into_response();
    set(
        response.headers_mut(),
        CONTENT_RANGE,
        &format!("bytes */{size}"),
    );
    response
}

/// Sets a field whose value is made of names, numbers and constants, and so is always valid.
fn set(headers: &mut HeaderMap, name: HeaderName, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        headers.insert(name, value);
    }
}
