//! Requests as the SDK from PyPI sends them: `recorded.http`, written by `tests/oss/record.py`.

use hyper::HeaderMap;
use hyper::header::{HeaderName, HeaderValue};

/// A request as it stood on the wire.
#[derive(Clone, Debug)]
pub(super) struct Recorded {
    /// Signature version, addressing and call.
    pub(super) label: String,
    pub(super) method: String,
    pub(super) host: String,
    /// Still encoded, as the query is.
    pub(super) path: String,
    pub(super) query: String,
    pub(super) headers: HeaderMap,
    pub(super) body: String,
}

const FILE: &str = include_str!("recorded.http");

/// All recorded HTTP requests.
pub(super) fn requests() -> Vec<Recorded> {
    read(FILE)
}

/// All recorded RTMP URLs.
pub(super) fn rtmp_urls() -> Vec<&'static str> {
    FILE.lines()
        .filter(|line| line.starts_with("rtmp://"))
        .collect()
}

/// Reads heads of HTTP requests, each behind a line `### label`.
pub(super) fn read(text: &str) -> Vec<Recorded> {
    let records = text.split("### ").skip(1);
    records
        .filter(|record| record.contains(" HTTP/1.1"))
        .map(one)
        .collect()
}

fn one(record: &str) -> Recorded {
    let (label, request) = record.split_once('\n').expect("a label");
    let (head, body) = request.split_once("\n\n").unwrap_or((request, ""));
    let mut lines = head.lines();
    let first: Vec<_> = lines.next().expect("a request line").split(' ').collect();
    let (path, query) = first[1].split_once('?').unwrap_or((first[1], ""));
    let mut headers = HeaderMap::new();
    for line in lines.filter(|line| !line.is_empty()) {
        let (name, value) = line.split_once(':').expect("a header");
        headers.append(
            HeaderName::from_bytes(name.as_bytes()).expect("a name"),
            HeaderValue::from_bytes(value.trim().as_bytes()).expect("a value"),
        );
    }
    Recorded {
        label: label.to_owned(),
        method: first[0].to_owned(),
        host: headers["host"].to_str().expect("ASCII").to_owned(),
        path: path.to_owned(),
        query: query.to_owned(),
        headers,
        body: body.trim_end().to_owned(),
    }
}
