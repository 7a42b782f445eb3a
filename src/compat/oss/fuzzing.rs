//! A door for the fuzz targets, which see only what the crate exports: a request through every
//! reader of this API, without the server behind them.

use super::address::{Names, Target};
use super::document::{self, PutChannel};
use super::error::Error;
use super::operation::Operation;
use super::publish_url::PublishUrl;
use super::query::Query;
use super::signature::{AccessKeys, Caller, Request};
use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use std::collections::BTreeMap;

/// Reads a request at `now` (Unix seconds) as the service would; whether it shows a good
/// signature.
pub fn request(
    method: &str,
    host: &str,
    target: &str,
    headers: &[(&str, &str)],
    body: &[u8],
    now: i64,
) -> bool {
    let one = |key: &str, value: &str| [(key.to_owned(), value.to_owned())].into();
    let names = Names {
        domain: "oss.localhost".to_owned(),
        cnames: one("live.localhost", "yard"),
    };
    let keys = AccessKeys::new(
        &one("id", "a secret that nobody guesses"),
        &one("id", "token"),
        &BTreeMap::new(),
    );
    let answer = |error: &Error| drop(document::error(error, "0", host));
    if let Err(error) = PutChannel::parse(body) {
        answer(&error);
    }
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let of_publish = Query::parse(query)
        .and_then(|query| PublishUrl::parse(&names, Some(host), "live", path, query))
        .map(|url| url.publisher(&keys, now));
    let Ok(target) = Target::parse(&names, host, path, query) else {
        return matches!(of_publish, Some(Ok(Caller::Key(_))));
    };
    let mut map = HeaderMap::new();
    for (name, value) in headers {
        if let (Ok(name), Ok(value)) = (
            HeaderName::from_bytes(name.as_bytes()),
            HeaderValue::from_str(value),
        ) {
            map.append(name, value);
        }
    }
    let request = Request {
        method,
        target: &target,
        headers: &map,
    };
    let caller = keys.caller(request, now);
    if let Err(error) = &caller {
        answer(error);
    }
    if let Ok(method) = method.parse()
        && let Err(error) = Operation::of(&method, &target)
    {
        answer(&error);
    }
    let mut callers = [Some(caller), of_publish].into_iter().flatten();
    callers.any(|caller| matches!(caller, Ok(Caller::Key(_))))
}
