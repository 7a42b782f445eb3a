//! Playlists and segments to players, caches and browsers of any origin.

use super::problem::{self, Problem};
use super::representation::{Coding, Representation};
use super::server::Peer;
use crate::control::auth::{Audience, Denied, Playback, TOKEN};
use crate::control::{Control, Elsewhere, Lookup};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::metrics;
use crate::playlist::{Document, Freshness};
use crate::store::signed::Ask;
use axum::extract::rejection::PathRejection;
use axum::extract::{Extension, Path, RawQuery, State};
use axum::response::{IntoResponse, Response};
use hyper::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN,
    ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE, ALLOW, CACHE_CONTROL, HeaderName,
    HeaderValue, LOCATION,
};
use hyper::{HeaderMap, Method, StatusCode};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::IpAddr;
use std::ops::Range;

const PLAYLIST: &str = "application/vnd.apple.mpegurl";
const METHODS: &str = "GET, HEAD, OPTIONS";
/// A name is used once, so a copy is good for ever.
const FOR_EVER: &str = "public, max-age=31536000, immutable";
/// A settled playlist may still lose segments to retention.
const SETTLED: &str = "public, max-age=3600";

/// Whatever is asked below the media root.
pub(super) async fn media(
    State(control): State<Control>,
    path: Result<Path<String>, PathRejection>,
    RawQuery(query): RawQuery,
    peer: Option<Extension<Peer>>,
    method: Method,
    headers: HeaderMap,
) -> Response {
    let mut response = match method {
        Method::OPTIONS => preflight(),
        Method::GET | Method::HEAD => {
            let path = path.map(|Path(path)| path).unwrap_or_default();
            let asked = Asked {
                path: &path,
                query: query.as_deref().unwrap_or_default(),
                ask: match method {
                    Method::HEAD => Ask::Head,
                    _ => Ask::Get,
                },
                viewer: viewer(peer.as_ref().map(|peer| &peer.0), &headers),
                address: peer.as_ref().map(|peer| peer.0.0.ip()),
            };
            let found = find(&control, &asked, &headers).await;
            match found {
                Ok(Found::Here(found)) => found.respond(&method, &headers).await,
                Ok(Found::Elsewhere(place)) => redirect(&place),
                Err(problem) => problem.into_response(),
            }
        }
        _ => refuse(&method),
    };
    share(response.headers_mut());
    response
}

/// What somebody wants to play.
struct Asked<'a> {
    path: &'a str,
    query: &'a str,
    ask: Ask,
    viewer: u64,
    address: Option<IpAddr>,
}

/// Where that is.
enum Found {
    Here(Representation),
    Elsewhere(Elsewhere),
}

impl<'a> Asked<'a> {
    /// The first value called `name`. What we make for queries needs no escapes.
    fn get(&self, name: &str) -> Option<&'a str> {
        let mut pairs = self
            .query
            .split('&')
            .filter_map(|pair| pair.split_once('='));
        pairs.find_map(|(key, value)| (key == name).then_some(value))
    }

    /// The range of time, in milliseconds, if one is asked for.
    fn range(&self) -> Result<Option<Range<i64>>, Problem> {
        let end = |name| match self.get(name).map(seconds) {
            None => Ok(None),
            Some(Some(ms)) => Ok(Some(ms)),
            Some(None) => {
                let detail = format!("{name} is a time in unix seconds, for example 1763700000");
                Err(Problem::new(StatusCode::BAD_REQUEST, detail))
            }
        };
        Ok(match (end("start")?, end("end")?) {
            (None, None) => None,
            (start, end) => Some(start.unwrap_or(0)..end.unwrap_or(i64::MAX)),
        })
    }
}

/// Unix seconds with up to three decimals, as milliseconds.
fn seconds(text: &str) -> Option<i64> {
    let (whole, part) = text.split_once('.').unwrap_or((text, "0"));
    let digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(whole) || !digits(part) || part.len() > 3 {
        return None;
    }
    let part = format!("{part:0<3}").parse::<i64>().ok()?;
    whole
        .parse::<i64>()
        .ok()?
        .checked_mul(1000)?
        .checked_add(part)
}

/// Who asks, as well as anybody can tell: one household may share an address, one proxy many.
fn viewer(peer: Option<&Peer>, headers: &HeaderMap) -> u64 {
    let mut hasher = DefaultHasher::new();
    peer.map(|peer| peer.0.ip()).hash(&mut hasher);
    for name in ["user-agent", "x-forwarded-for"] {
        headers
            .get(name)
            .map(HeaderValue::as_bytes)
            .hash(&mut hasher);
    }
    hasher.finish()
}

async fn find(control: &Control, asked: &Asked<'_>, headers: &HeaderMap) -> Result<Found, Problem> {
    let parsed = MediaPath::parse(asked.path).ok_or_else(|| {
        let detail = "the path names no playlist and no segment";
        Problem::new(StatusCode::NOT_FOUND, detail).passing()
    })?;
    let token = asked.get(TOKEN);
    let may = control.may_play(parsed.channel(), token, asked.address);
    let may = may.await.map_err(missing)?;
    let document = match &parsed {
        MediaPath::Segment(key, number, container) => {
            // The store does not look from where somebody comes.
            if may.audience == Audience::All
                && let Some(place) = control.elsewhere(key, *number, asked.ask).await
            {
                return Ok(Found::Elsewhere(place));
            }
            let found = segment(control, key, *number, *container, may.audience).await;
            return found.map(Found::Here);
        }
        MediaPath::Index(channel) => match asked.range()? {
            Some(range) => control.range_document(channel, range).await,
            None => control.document(&parsed).await,
        },
        MediaPath::Clip(..) | MediaPath::Named(..) | MediaPath::Media(_) | MediaPath::Vod(_) => {
            control.document(&parsed).await
        }
    };
    let mut document = document.map_err(missing)?;
    metrics::PLAYLISTS.add(1);
    if matches!(parsed, MediaPath::Media(_)) {
        control.viewed(parsed.channel(), asked.viewer);
    }
    // The token goes along to whatever the playlist names.
    if let (Playback::Signed, Some(token)) = (may.playback, token) {
        document = document.with_query(&format!("{TOKEN}={token}"));
    }
    let cache_control = kept_by(may.audience, cache_control(&document));
    let found = Representation::of_document(document, PLAYLIST, cache_control, headers).await;
    Ok(Found::Here(found))
}

/// Sends a player to where the segment is. Only its own cache may keep that: the URL lets everybody in.
fn redirect(place: &Elsewhere) -> Response {
    let mut response = StatusCode::FOUND.into_response();
    let kept = format!("private, max-age={}", place.life.as_secs() / 2);
    let headers = response.headers_mut();
    for (name, value) in [(LOCATION, &place.url), (CACHE_CONTROL, &kept)] {
        // A URL has no character that a header has not.
        if let Ok(value) = HeaderValue::from_str(value) {
            headers.insert(name, value);
        }
    }
    response
}

async fn segment(
    control: &Control,
    key: &RecordingKey,
    number: u64,
    container: Container,
    audience: Audience,
) -> Result<Representation, Problem> {
    let Container::Ts = container;
    let body = control.segment(key, number).await.map_err(missing)?;
    Ok(Representation {
        content_type: "video/mp2t",
        // The name stands for the bytes; the size is for a store that was tampered with.
        etag: format!("\"{}-{number:x}-{:x}\"", key.recording, body.size()),
        cache_control: kept_by(audience, FOR_EVER.to_owned()),
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

/// What not everybody may have is kept by no cache that others share.
fn kept_by(audience: Audience, cache_control: String) -> String {
    match (audience, cache_control.strip_prefix("public")) {
        (Audience::All, _) => cache_control,
        (Audience::Some, Some(rest)) => format!("private{rest}"),
        (Audience::Some, None) => format!("private, {cache_control}"),
    }
}

fn missing(lookup: Lookup) -> Problem {
    match lookup {
        Lookup::Store(error) => problem::of_store(error),
        Lookup::Denied(Denied::Away) => problem::of_catalog(&Denied::Away),
        Lookup::Denied(denied) => Problem::new(StatusCode::FORBIDDEN, denied.to_string()),
        Lookup::Range(_) => Problem::new(StatusCode::BAD_REQUEST, lookup.to_string()),
        Lookup::Catalog(error) => problem::of_catalog(&*error),
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
