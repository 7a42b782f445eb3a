//! Signed URLs, tokens and the audit trail.

use super::Places;
use super::guard::{Admin, Answer, Asked, Body, Changes, Failure, Named, limit};
use super::types::{AuditJson, NewTokenJson, Page, Time, TokenJson};
use crate::control::Control;
use crate::control::auth::{NewToken, Playback};
use crate::control::ranges::RangeKind;
use crate::id::{ChannelName, HubName};
use crate::key::{MEDIA_ROOT, MediaPath};
use axum::Json;
use axum::extract::State;
use hyper::header::HOST;
use hyper::{HeaderMap, StatusCode, Uri};
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use utoipa::{IntoParams, ToSchema};

/// How long a signed URL works if nothing else is asked for: a day.
const EXPIRES_S: u32 = 86_400;
/// At most: ten years.
const EXPIRES_S_MAX: u32 = 315_360_000;

/// A publish URL to be signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PublishUrlRequest {
    /// How long from now on it may be used to connect; a day if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in_s: Option<u32>,
}

/// A signed publish URL.
#[derive(Serialize, ToSchema)]
pub(super) struct PublishUrl {
    /// For encoders that take one URL.
    url: String,
    /// For OBS: Server.
    server: String,
    /// For OBS: Stream Key.
    stream_key: String,
    /// Until when it may be used to connect; a push that runs then goes on.
    expires: Time,
}

/// Sign a publish URL
///
/// Whoever has it may publish without the stream key until it expires, which is looked at when an
/// encoder connects.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/publish-url", tag = "rights",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = PublishUrlRequest,
    responses((status = 200, description = "The URL", body = PublishUrl)))]
pub(super) async fn publish_url(
    Changes { id, .. }: Changes,
    State(control): State<Control>,
    State(places): State<Arc<Places>>,
    uri: Uri,
    headers: HeaderMap,
    Body(request): Body<PublishUrlRequest>,
) -> Answer<Json<PublishUrl>> {
    control.channel(&id).await?;
    let expires = expires(&control, request.expires_in_s)?;
    let server = match &places.rtmp {
        Some(place) => format!("{}/{}", place.trim_end_matches('/'), id.hub),
        None => {
            let host = host(&uri, &headers);
            let host = host.rsplit_once(':').map_or(host, |(name, port)| {
                let is_port = port.bytes().all(|byte| byte.is_ascii_digit());
                if is_port { name } else { host }
            });
            let port = match places.rtmp_port {
                1935 => String::new(),
                port => format!(":{port}"),
            };
            format!("rtmp://{host}{port}/{}", id.hub)
        }
    };
    let stream_key = format!("{}?{}", id.name, control.sign_publish(&id, expires));
    Ok(Json(PublishUrl {
        url: format!("{server}/{stream_key}"),
        server,
        stream_key,
        expires: Time(expires * 1000),
    }))
}

/// A playback URL to be signed.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct PlaybackUrlRequest {
    /// How long from now on it works; a day if absent.
    #[serde(default)]
    #[schema(minimum = 1, maximum = 315360000)]
    expires_in_s: Option<u32>,
    /// Of a clip, and not of the channel.
    #[serde(default)]
    #[schema(pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)]
    clip: Option<String>,
}

/// A playback URL.
#[derive(Serialize, ToSchema)]
pub(super) struct PlaybackUrl {
    url: String,
    /// Until when it works; absent if anybody may play the channel at any time.
    expires: Option<Time>,
}

/// Sign a playback URL
///
/// Its token covers all playlists of the channel and every segment that they name.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/playback-url", tag = "rights",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = PlaybackUrlRequest,
    responses((status = 200, description = "The URL", body = PlaybackUrl)))]
pub(super) async fn playback_url(
    Changes { id, .. }: Changes,
    State(control): State<Control>,
    State(places): State<Arc<Places>>,
    uri: Uri,
    headers: HeaderMap,
    Body(request): Body<PlaybackUrlRequest>,
) -> Answer<Json<PlaybackUrl>> {
    let channel = control.channel(&id).await?;
    let expires = expires(&control, request.expires_in_s)?;
    let path = match &request.clip {
        None => MediaPath::Index(id.clone()),
        Some(name) => {
            let name = ChannelName::new(name).map_err(|error| Failure::bad(error.to_string()))?;
            control.range(RangeKind::Clip, &id, &name).await?;
            MediaPath::Clip(id.clone(), name)
        }
    };
    let place = match &places.http {
        Some(place) => place.trim_end_matches('/').to_owned(),
        None => format!("http://{}", host(&uri, &headers)),
    };
    let url = format!("{place}{MEDIA_ROOT}{path}");
    Ok(Json(match channel.settings.playback {
        Playback::Public => PlaybackUrl { url, expires: None },
        Playback::Signed => PlaybackUrl {
            url: format!("{url}?{}", control.sign_playback(&id, expires)),
            expires: Some(Time(expires * 1000)),
        },
    }))
}

/// Unix seconds.
fn expires(control: &Control, within: Option<u32>) -> Answer<i64> {
    let within = within.unwrap_or(EXPIRES_S);
    match within {
        1..=EXPIRES_S_MAX => Ok(control.now_ms() / 1000 + i64::from(within)),
        _ => Err(Failure::bad(format!(
            "expires_in_s must be 1 to {EXPIRES_S_MAX}"
        ))),
    }
}

/// What the client calls this server. It gets back only what it said itself.
fn host<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> &'a str {
    let header = headers.get(HOST).and_then(|value| value.to_str().ok());
    let authority = uri.authority().map(|authority| authority.as_str());
    header.or(authority).unwrap_or("localhost")
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct PageOf {
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    marker: Option<String>,
}

/// List the API tokens, without their secrets
#[utoipa::path(get, path = "/api/v1/tokens", tag = "rights", params(PageOf),
    responses((status = 200, description = "A page of tokens", body = Page<TokenJson>)))]
pub(super) async fn list_tokens(
    _: Admin,
    State(control): State<Control>,
    Asked(page): Asked<PageOf>,
) -> Answer<Json<Page<TokenJson>>> {
    let limit = limit(page.limit)?;
    let tokens = control.tokens(page.marker.as_deref(), limit).await?;
    let next = tokens.last().filter(|_| tokens.len() == limit);
    Ok(Json(Page {
        next: next.map(|token| token.id.clone()),
        items: tokens
            .into_iter()
            .map(|token| TokenJson::new(token, None))
            .collect(),
    }))
}

/// Make an API token
///
/// It is shown in this answer and never again.
#[utoipa::path(post, path = "/api/v1/tokens", tag = "rights", request_body = NewTokenJson,
    responses((status = 201, description = "The token", body = TokenJson)))]
pub(super) async fn make_token(
    Admin(by): Admin,
    State(control): State<Control>,
    Body(new): Body<NewTokenJson>,
) -> Answer<(StatusCode, Json<TokenJson>)> {
    let hub = new.hub.as_deref().map(HubName::new).transpose();
    let new = NewToken {
        name: new.name,
        scope: new.scope.into(),
        hub: hub.map_err(|error| Failure::bad(error.to_string()))?,
        expires_ms: new.expires.map(|expires| expires.0),
    };
    let (token, secret) = control.make_token(&by, new).await?;
    let json = TokenJson::new(token, Some(secret.reveal().to_owned()));
    Ok((StatusCode::CREATED, Json(json)))
}

/// Remove an API token, which works no more at once
#[utoipa::path(delete, path = "/api/v1/tokens/{id}", tag = "rights",
    params(("id" = String, Path)),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete_token(
    Admin(by): Admin,
    State(control): State<Control>,
    Named(id): Named,
) -> Answer<StatusCode> {
    control.delete_token(&by, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Trail {
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    #[param(pattern = "^[0-9]{1,18}$")]
    marker: Option<String>,
}

/// Who changed what, newest first
#[utoipa::path(get, path = "/api/v1/audit", tag = "rights", params(Trail),
    responses((status = 200, description = "A page of changes", body = Page<AuditJson>)))]
pub(super) async fn audit(
    _: Admin,
    State(control): State<Control>,
    Asked(page): Asked<Trail>,
) -> Answer<Json<Page<AuditJson>>> {
    let limit = limit(page.limit)?;
    let wrong = |_| Failure::bad("marker is the next of the page before");
    let before = page.marker.map(|marker| marker.parse().map_err(wrong));
    let rows = control.audit(before.transpose()?, limit).await?;
    let next = rows.last().filter(|_| rows.len() == limit);
    Ok(Json(Page {
        next: next.map(|row| row.id.to_string()),
        items: rows.into_iter().map(AuditJson::from).collect(),
    }))
}
