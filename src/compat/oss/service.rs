//! The HTTP side: one request in, one answer out, the same for every operation.
//!
//! The order of checks: the signature, the bucket, what its ACL lets the caller do, and only then
//! whether the thing itself is there. Who may not look is not told what there is.

use super::address::{NotText, Target};
use super::error::{Code, Error};
use super::names;
use super::operation::{Need, Operation};
use super::signature::{Caller, Request as SignedRequest};
use super::{Oss, document};
use crate::clock;
use crate::control::auth;
use crate::control::hubs::{Hub, HubAccess};
use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use hyper::header::{
    CACHE_CONTROL, CONNECTION, CONTENT_TYPE, HOST, HeaderName, HeaderValue, SERVER,
};
use hyper::http::request::Parts;
use hyper::{Method, StatusCode};
use std::time::Duration;

/// Bytes of a request's body: a channel's configuration has some hundred.
const BODY_MAX: usize = 64 << 10;
/// Time for a body to arrive; protects connections from clients that send it by single bytes.
const BODY_TIME_MAX: Duration = Duration::from_secs(20);
const REQUEST_ID: HeaderName = HeaderName::from_static("x-oss-request-id");
const XML: HeaderValue = HeaderValue::from_static("application/xml");

/// Everything that an operation may look at. The caller may do it.
pub(super) struct Call<'a> {
    pub(super) target: &'a Target,
    pub(super) parts: &'a Parts,
    pub(super) body: Bytes,
    /// Whether strangers may read what is in the bucket, and so shared caches may keep it.
    pub(super) shared: bool,
    /// How the trail of changes names the caller.
    pub(super) by: auth::Caller,
}

impl Call<'_> {
    /// How long a copy of bytes is good that never change.
    pub(super) fn for_ever(&self) -> &'static str {
        match self.shared {
            true => "public, max-age=31536000, immutable",
            false => "private, max-age=31536000, immutable",
        }
    }

    /// The same of a text that may change at any time: whoever has a copy asks whether it did.
    pub(super) fn ask(&self) -> &'static str {
        match self.shared {
            true => "no-cache",
            false => "private, no-cache",
        }
    }
}

impl Oss {
    /// The API's routes.
    pub fn router(&self) -> Router {
        Router::new().fallback(handle).with_state(self.clone())
    }

    async fn answer(&self, parts: &Parts, body: Body, host: &str) -> Result<Response, Error> {
        let (path, query) = (parts.uri.path(), parts.uri.query().unwrap_or_default());
        let target =
            Target::parse(self.names(), host, path, query).map_err(|NotText| not_text())?;
        let signed = SignedRequest {
            method: parts.method.as_str(),
            target: &target,
            headers: &parts.headers,
        };
        let now_s = clock::now().unix_ms().div_euclid(1000);
        let caller = self.keys().caller(signed, now_s)?;
        let operation = Operation::of(&parts.method, &target)?;
        let body = read(body).await?;
        let mut call = Call {
            target: &target,
            parts,
            body,
            shared: false,
            by: auth::Caller::server("oss"),
        };
        if operation == Operation::ListBuckets {
            check(caller, HubAccess::Private, operation, "")?;
            return self.list_buckets(&call, caller).await;
        }
        let bucket = names::bucket(&target.bucket)?;
        let hub = self.control().hub(&bucket).await?;
        let access = hub.as_ref().map_or(HubAccess::Private, |hub| hub.access);
        check(caller, access, operation, &target.bucket)?;
        call.shared = access >= HubAccess::Read;
        if operation == Operation::CreateBucket {
            return self.create_bucket(&call, &bucket, hub).await;
        }
        let hub = hub.ok_or_else(|| Error::no_such_bucket(&target.bucket))?;
        self.carry_out(operation, &mut call, &hub).await
    }

    async fn carry_out(
        &self,
        operation: Operation,
        call: &mut Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        use Operation as O;
        match operation {
            O::ListBuckets | O::CreateBucket => Err(Error::method_not_allowed()),
            O::DeleteBucket => self.delete_bucket(call, hub).await,
            O::GetBucketInfo => Ok(self.bucket_info(call, hub)),
            O::GetBucketLocation => Ok(self.bucket_location()),
            O::GetBucketAcl => Ok(self.bucket_acl(hub)),
            O::PutBucketAcl => self.put_bucket_acl(call, hub).await,
            O::ListObjects => self.list_objects(call, hub).await,
            O::ListUploads => Ok(self.list_uploads(call, hub)),
            O::ListChannels => self.list_channels(call, hub).await,
            O::PutChannel => self.put_channel(call, hub).await,
            O::PutChannelStatus => self.put_channel_status(call, hub).await,
            O::GetChannelInfo => self.channel_info(call, hub).await,
            O::GetChannelStat => self.channel_stat(call, hub).await,
            O::GetChannelHistory => self.channel_history(call, hub).await,
            O::DeleteChannel => self.delete_channel(call, hub).await,
            O::PostVodPlaylist => self.post_vod_playlist(call, hub).await,
            O::GetVodPlaylist => self.get_vod_playlist(call, hub).await,
            O::GetObject => self.get_object(call, hub).await,
            O::DeleteObject => self.delete_object(call, hub).await,
        }
    }
}

async fn handle(State(oss): State<Oss>, request: Request) -> Response {
    let (parts, body) = request.into_parts();
    let host = host_of(&parts);
    let id: String = clock::random::<12>()
        .iter()
        .map(|byte| format!("{byte:02X}"))
        .collect();
    let answer = oss.answer(&parts, body, &host).await;
    let mut response = match answer {
        Ok(response) => translated(response, &parts.method, &id, &host),
        Err(error) => {
            tracing::debug!(
                request = id, method = %parts.method, path = parts.uri.path(),
                code = error.code.as_str(), "oss: {}", error.message
            );
            refusal(&error, &parts.method, &id, &host)
        }
    };
    let headers = response.headers_mut();
    headers.insert(SERVER, HeaderValue::from_static("millstream"));
    if let Ok(id) = HeaderValue::from_str(&id) {
        headers.insert(REQUEST_ID, id);
    }
    response
}

/// The body of a request, which is short and comes at once.
async fn read(body: Body) -> Result<Bytes, Error> {
    let read = tokio::time::timeout(BODY_TIME_MAX, to_bytes(body, BODY_MAX)).await;
    let wrong = "The body of the request is too long, or did not arrive.";
    match read {
        Ok(Ok(body)) => Ok(body),
        Ok(Err(_)) | Err(_) => Err(Error::new(Code::EntityTooLarge, wrong)),
    }
}

/// The host that the client asked: of an absolute target (RFC 9112 §3.2.2), else of its header.
fn host_of(parts: &Parts) -> String {
    let header = parts.headers.get(HOST).and_then(|host| host.to_str().ok());
    let authority = parts.uri.authority().map(|authority| authority.as_str());
    authority.or(header).unwrap_or_default().to_owned()
}

/// Whether the caller may do that in a bucket with this access; a key that does not reach a bucket
/// is nobody there. In a bucket that is not there a stranger may do nothing, and is not told that it
/// is not there.
fn check(
    caller: Caller<'_>,
    access: HubAccess,
    operation: Operation,
    bucket: &str,
) -> Result<(), Error> {
    let reached = match caller {
        Caller::Key(limits) if bucket.is_empty() || limits.reaches(bucket) => Some(limits),
        Caller::Key(_) | Caller::Anonymous => None,
    };
    let public = match operation.need() {
        Need::Owner => false,
        Need::Read => access >= HubAccess::Read,
        Need::Write => access >= HubAccess::ReadWrite,
    };
    let may = public || reached.is_some_and(|key| !(key.read_only && operation.changes()));
    let message = "You have no right to access this object because of bucket acl.";
    may.then_some(()).ok_or_else(|| Error::denied(message))
}

/// An answer of the shared helpers: what they refuse, they refuse in other words.
fn translated(response: Response, method: &Method, id: &str, host: &str) -> Response {
    let error = match response.status() {
        StatusCode::PRECONDITION_FAILED => Error::new(
            Code::PreconditionFailed,
            "At least one of the pre-conditions you specified did not hold.",
        ),
        StatusCode::RANGE_NOT_SATISFIABLE => Error::new(
            Code::InvalidRange,
            "The requested range cannot be satisfied.",
        ),
        status if status.is_server_error() => away(),
        _ => return response,
    };
    refusal(&error, method, id, host)
}

fn refusal(error: &Error, method: &Method, id: &str, host: &str) -> Response {
    let status = error.code.status();
    let mut response = match *method {
        Method::HEAD => status.into_response(),
        _ => (status, document::error(error, id, host)).into_response(),
    };
    let headers = response.headers_mut();
    headers.insert(CONTENT_TYPE, XML);
    headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    if error.code == Code::EntityTooLarge {
        // The rest of the body is not read.
        headers.insert(CONNECTION, HeaderValue::from_static("close"));
    }
    response
}

/// A document with status 200.
pub(super) fn xml<T: serde::Serialize>(root: &str, value: &T) -> Response {
    ([(CONTENT_TYPE, XML)], document::write(root, value)).into_response()
}

/// The catalog or the store does not answer; the SDK tries again.
pub(super) fn away() -> Error {
    let message = "The server cannot look that up just now. Please try again.";
    Error::new(Code::InternalError, message)
}

fn not_text() -> Error {
    let message = "The path or the query of the request is not UTF-8.";
    Error::argument("Path", "", "0017-00000259", message)
}
