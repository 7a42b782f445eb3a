//! The server itself, and what happens on it.

use super::guard::{Answer, Asked, By, Failure};
use super::types::Time;
use crate::control::Control;
use crate::control::auth::Need;
use crate::control::events::{Batch, Event, Listener, Numbered};
use crate::id::HubName;
use axum::Json;
use axum::extract::State;
use axum::response::sse::{self, KeepAlive, Sse};
use futures_util::{Stream, StreamExt, stream};
use hyper::HeaderMap;
use serde::{Deserialize, Serialize};
use std::convert::Infallible;
use std::time::Duration;
use utoipa::{IntoParams, ToSchema};

/// Less than the time after which a connection on which nothing moves is closed.
const KEEP_ALIVE: Duration = Duration::from_secs(15);

/// The server.
#[derive(Serialize, ToSchema)]
pub(super) struct Server {
    version: &'static str,
    /// Its name in the history.
    node: String,
    now: Time,
    /// Channels that there are.
    channels: i64,
    /// Channels that somebody pushes to, on this server.
    live: usize,
    /// Rows of history that wait for the catalog.
    rows_waiting: usize,
}

/// The server
#[utoipa::path(get, path = "/api/v1/server", tag = "server",
    responses((status = 200, description = "Version and counts", body = Server)))]
pub(super) async fn server(by: By, State(control): State<Control>) -> Answer<Json<Server>> {
    by.may(Need::ReadAll)?;
    Ok(Json(Server {
        version: env!("CARGO_PKG_VERSION"),
        node: control.node().to_owned(),
        now: Time(control.now_ms()),
        channels: control.count_channels().await?,
        live: control.live().len(),
        rows_waiting: control.catalog_health().waiting,
    }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Which {
    /// Only of this hub.
    #[param(
        pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$",
        max_length = 128
    )]
    hub: Option<String>,
    /// Only after the event of this id; the header Last-Event-ID says the same.
    after: Option<u64>,
}

/// What happens, as it happens
///
/// Server-sent events: session_started, session_ended, segment_stored, channel_changed,
/// channel_deleted, each with an id to resume after and its channel and time as JSON. missed means
/// that there were events which are forgotten: ask the lists again.
#[utoipa::path(get, path = "/api/v1/events", tag = "server", params(Which),
    responses((status = 200, description = "Events without end", content_type = "text/event-stream", body = String)))]
pub(super) async fn events(
    by: By,
    State(control): State<Control>,
    headers: HeaderMap,
    Asked(which): Asked<Which>,
) -> Answer<Sse<impl Stream<Item = Result<sse::Event, Infallible>>>> {
    let hub = which.hub.as_deref().map(HubName::new).transpose();
    let hub = hub.map_err(|error| Failure::bad(error.to_string()))?;
    let hub = hub.or_else(|| by.0.hub().cloned());
    by.may(hub.as_ref().map_or(Need::ReadAll, Need::ReadHub))?;
    let header = headers.get("last-event-id").and_then(|id| id.to_str().ok());
    let after = header.and_then(|id| id.parse().ok()).or(which.after);
    let listener = control.events().listen(after);
    let listener = listener.ok_or_else(Failure::too_many_listeners)?;
    let batches = stream::unfold((control, listener), next);
    let events = batches.flat_map(move |batch| {
        let hub = hub.clone();
        let missed = batch
            .missed
            .then(|| sse::Event::default().event("missed").data("{}"));
        let wanted = move |numbered: &Numbered| {
            let of = &numbered.event.channel().hub;
            hub.as_ref().is_none_or(|hub| hub == of)
        };
        let events = batch
            .events
            .into_iter()
            .filter(wanted)
            .map(|numbered| written(&numbered));
        stream::iter(missed.into_iter().chain(events).map(Ok).collect::<Vec<_>>())
    });
    Ok(Sse::new(events).keep_alive(KeepAlive::new().interval(KEEP_ALIVE)))
}

async fn next(
    (control, mut listener): (Control, Listener),
) -> Option<(Batch, (Control, Listener))> {
    let batch = control.events().next(&mut listener).await;
    Some((batch, (control, listener)))
}

#[derive(Serialize)]
struct EventJson<'a> {
    at: Time,
    hub: &'a str,
    channel: &'a str,
    #[serde(flatten)]
    more: More<'a>,
}

#[derive(Serialize)]
#[serde(untagged)]
enum More<'a> {
    Started {
        recording: &'a str,
        remote: &'a str,
    },
    Ended {
        recording: &'a str,
        reason: &'a str,
    },
    Segment {
        recording: &'a str,
        number: u64,
        duration_ms: i64,
        bytes: u64,
    },
    Nothing {},
}

fn written(numbered: &Numbered) -> sse::Event {
    let (name, more) = match &numbered.event {
        Event::SessionStarted {
            recording, remote, ..
        } => (
            "session_started",
            More::Started {
                recording: recording.as_str(),
                remote,
            },
        ),
        Event::SessionEnded {
            recording, reason, ..
        } => (
            "session_ended",
            More::Ended {
                recording: recording.as_str(),
                reason,
            },
        ),
        Event::SegmentStored {
            recording,
            number,
            duration_ms,
            size,
            ..
        } => {
            let (number, duration_ms, bytes) = (*number, *duration_ms, *size);
            let recording = recording.as_str();
            (
                "segment_stored",
                More::Segment {
                    recording,
                    number,
                    duration_ms,
                    bytes,
                },
            )
        }
        Event::ChannelChanged(_) => ("channel_changed", More::Nothing {}),
        Event::ChannelDeleted(_) => ("channel_deleted", More::Nothing {}),
    };
    let channel = numbered.event.channel();
    let json = EventJson {
        at: Time(numbered.at_ms),
        hub: channel.hub.as_str(),
        channel: channel.name.as_str(),
        more,
    };
    let text = serde_json::to_string(&json).unwrap_or_default();
    sse::Event::default()
        .id(numbered.id.to_string())
        .event(name)
        .data(text)
}
