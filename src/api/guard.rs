//! What stands between a request and its handler: the caller's token, and a path, a query and a
//! body that are what they should be.

use super::types::{Time, UNIX_SECONDS_MAX};
use crate::control::auth::{Caller, Denied, Need};
use crate::control::events::LISTENERS_MAX;
use crate::control::{Control, Error};
use crate::http::{Problem, of_catalog};
use crate::id::ChannelId;
use axum::extract::{FromRef, FromRequest, FromRequestParts, Path, Query, Request};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, HeaderValue, RETRY_AFTER, WWW_AUTHENTICATE};
use hyper::http::request::Parts;
use hyper::{StatusCode, Uri};
use serde::de::DeserializeOwned;
use std::ops::Range;

/// Bytes of a request's body.
const BODY_MAX: usize = 64 * 1024;
/// Rows of a list, if nothing else is asked for.
const LIMIT: usize = 100;
/// Most rows of a list.
pub(super) const LIMIT_MAX: usize = 1000;

/// A failure on its way to the client.
pub(super) struct Failure(Problem);

/// What a handler gives.
pub(super) type Answer<T> = Result<T, Failure>;

impl Failure {
    pub(super) fn bad(detail: impl Into<String>) -> Self {
        Self(Problem::new(StatusCode::BAD_REQUEST, detail))
    }
}

impl Failure {
    /// Each listener is a connection that stays.
    pub(super) fn too_many_listeners() -> Self {
        let detail = format!("{LISTENERS_MAX} listen to events already; try again");
        let problem = Problem::new(StatusCode::SERVICE_UNAVAILABLE, detail);
        Self(problem.with(RETRY_AFTER, HeaderValue::from_static("10")))
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        self.0.into_response()
    }
}

impl From<Denied> for Failure {
    fn from(denied: Denied) -> Self {
        let status = match denied {
            Denied::NoToken => {
                let problem = Problem::new(StatusCode::UNAUTHORIZED, denied.to_string());
                let bearer = HeaderValue::from_static("Bearer");
                return Self(problem.with(WWW_AUTHENTICATE, bearer));
            }
            Denied::Away => return Self(of_catalog(&denied)),
            Denied::Name(_) => StatusCode::BAD_REQUEST,
            Denied::Disabled(_) => StatusCode::CONFLICT,
            Denied::NoKey(_)
            | Denied::WrongKey(_)
            | Denied::NotSigned(_)
            | Denied::WrongSignature(_)
            | Denied::Expired(_)
            | Denied::Foreign(_)
            | Denied::Source(..)
            | Denied::Viewer(..)
            | Denied::Beyond(_) => StatusCode::FORBIDDEN,
        };
        Self(Problem::new(status, denied.to_string()))
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        let status = match error {
            Error::Denied(denied) => return denied.into(),
            Error::NoChannel(_) | Error::NoRange(..) | Error::NoToken(_) => StatusCode::NOT_FOUND,
            Error::Invalid(_) => StatusCode::BAD_REQUEST,
            Error::Live(_) | Error::NotLive(_) => StatusCode::CONFLICT,
            Error::Store(_) | Error::Index { .. } | Error::Write(_) | Error::Leaving(_) => {
                return Self(of_catalog(&error));
            }
            Error::Catalog(ref failed) if failed.is_passing() => return Self(of_catalog(&error)),
            Error::Catalog(error) => {
                tracing::error!(%error, "API");
                let detail = "the catalog cannot do that; the server's log says why";
                return Self(Problem::new(StatusCode::INTERNAL_SERVER_ERROR, detail));
            }
        };
        Self(Problem::new(status, error.to_string()))
    }
}

/// Whoever shows a token that is known.
pub(super) struct By(pub(super) Caller);

impl By {
    /// The same if it may.
    pub(super) fn may(self, need: Need<'_>) -> Answer<Caller> {
        self.0.may(need)?;
        Ok(self.0)
    }
}

impl<S: Send + Sync> FromRequestParts<S> for By
where
    Control: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let header = parts.headers.get(AUTHORIZATION);
        let text = header.and_then(|value| value.to_str().ok());
        let token = text.and_then(|text| {
            let (scheme, token) = text.split_once(' ')?;
            scheme
                .eq_ignore_ascii_case("bearer")
                .then_some(token.trim())
        });
        let control = Control::from_ref(state);
        Ok(Self(control.caller(token.ok_or(Denied::NoToken)?).await?))
    }
}

/// The channel in the path.
pub(super) struct Of(pub(super) ChannelId);

impl<S: Send + Sync> FromRequestParts<S> for Of {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(pairs) = path.map_err(|error| Failure::bad(error.body_text()))?;
        let get = |name: &str| {
            let mut pairs = pairs.iter();
            let found = pairs.find_map(|(key, value)| (key == name).then_some(value.as_str()));
            found.unwrap_or_default()
        };
        let id = ChannelId::new(get("hub"), get("channel"));
        Ok(Self(id.map_err(|error| Failure::bad(error.to_string()))?))
    }
}

/// Somebody who may change the channel in the path. What the body says does not matter before.
pub(super) struct Changes {
    pub(super) by: Caller,
    pub(super) id: ChannelId,
}

impl<S: Send + Sync> FromRequestParts<S> for Changes
where
    Control: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let by = By::from_request_parts(parts, state).await?;
        let Of(id) = Of::from_request_parts(parts, state).await?;
        let by = by.may(Need::ChangeHub(&id.hub))?;
        Ok(Self { by, id })
    }
}

/// Somebody who may change rights.
pub(super) struct Admin(pub(super) Caller);

impl<S: Send + Sync> FromRequestParts<S> for Admin
where
    Control: FromRef<S>,
{
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let by = By::from_request_parts(parts, state).await?;
        Ok(Self(by.may(Need::Admin)?))
    }
}

/// The last part of the path.
pub(super) struct Named(pub(super) String);

impl<S: Send + Sync> FromRequestParts<S> for Named {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let path = Path::<Vec<(String, String)>>::from_request_parts(parts, state).await;
        let Path(pairs) = path.map_err(|error| Failure::bad(error.body_text()))?;
        let last = pairs.into_iter().next_back();
        Ok(Self(last.map(|(_, value)| value).unwrap_or_default()))
    }
}

/// A query in which every field is known.
pub(super) struct Asked<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Asked<T> {
    type Rejection = Failure;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Answer<Self> {
        let query = Query::from_request_parts(parts, state).await;
        let Query(query) = query.map_err(|error| Failure::bad(error.body_text()))?;
        Ok(Self(query))
    }
}

/// A JSON body in which every field is known. No body at all is an empty object.
pub(super) struct Body<T>(pub(super) T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequest<S> for Body<T> {
    type Rejection = Failure;

    async fn from_request(request: Request, _: &S) -> Answer<Self> {
        let (parts, body) = request.into_parts();
        let bytes = axum::body::to_bytes(body, BODY_MAX).await;
        let bytes = bytes.map_err(|_| {
            let detail = format!("a body has at most {BODY_MAX} bytes");
            Failure(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, detail))
        })?;
        let content_type = parts.headers.get(hyper::header::CONTENT_TYPE);
        let content_type = content_type
            .and_then(|value| value.to_str().ok())
            .unwrap_or("");
        let essence = content_type.split(';').next().unwrap_or("").trim();
        let json = ["application/json", "application/merge-patch+json"];
        // A page of another origin can send anything but this without being asked first.
        if !bytes.is_empty() && !json.iter().any(|json| essence.eq_ignore_ascii_case(json)) {
            let detail = "the body is JSON: send the header Content-Type: application/json";
            return Err(Failure(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                detail,
            )));
        }
        let bytes: &[u8] = if bytes.is_empty() { b"{}" } else { &bytes };
        let read = serde_json::from_slice(bytes);
        read.map(Self)
            .map_err(|error| Failure::bad(format!("the body is not right: {error}")))
    }
}

/// The rows that a list may have.
pub(super) fn limit(asked: Option<u32>) -> Answer<usize> {
    let limit = asked.map_or(Some(LIMIT), |asked| usize::try_from(asked).ok());
    let limit = limit.filter(|limit| (1..=LIMIT_MAX).contains(limit));
    limit.ok_or_else(|| Failure::bad(format!("limit must be 1 to {LIMIT_MAX}")))
}

/// A range of unix seconds, as milliseconds.
pub(super) fn range(start: Option<i64>, end: Option<i64>) -> Answer<Range<i64>> {
    let ms = |name: &str, seconds: i64| match seconds {
        0..=UNIX_SECONDS_MAX => Ok(seconds * 1000),
        _ => Err(Failure::bad(format!(
            "{name} must be unix seconds: 0 to {UNIX_SECONDS_MAX}"
        ))),
    };
    let start = ms("start", start.unwrap_or(0))?;
    let end = ms("end", end.unwrap_or(UNIX_SECONDS_MAX))?;
    match start < end {
        true => Ok(start..end),
        false => Err(Failure::bad("end must be after start")),
    }
}

/// A range of instants.
pub(super) fn times(start: Time, end: Time) -> Answer<Range<i64>> {
    match start.0 < end.0 {
        true => Ok(start.0..end.0),
        false => Err(Failure::bad("end must be after start")),
    }
}

/// Around every request: no text of ours has a zero byte, and PostgreSQL takes none; no answer is
/// to be stored, some have keys in them.
pub(super) async fn around(request: Request, next: Next) -> Response {
    if has_zero_byte(request.uri()) {
        let detail = "there is a zero byte in the path or in the query";
        return Failure::bad(detail).into_response();
    }
    let mut response = next.run(request).await;
    let no_store = HeaderValue::from_static("no-store");
    response.headers_mut().insert(CACHE_CONTROL, no_store);
    response
}

fn has_zero_byte(uri: &Uri) -> bool {
    uri.path().contains("%00") || uri.query().is_some_and(|query| query.contains("%00"))
}
