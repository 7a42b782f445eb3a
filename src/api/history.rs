//! What was pushed: sessions, segments, periods, clips.

use super::guard::{Answer, Asked, Body, By, Changes, Failure, Named, Of, limit, range, times};
use super::types::{ClipJson, NewClip, Page, PeriodJson, SegmentJson, SessionJson};
use crate::control::Control;
use crate::control::auth::Need;
use crate::control::ranges::RangeKind;
use crate::id::{ChannelId, ChannelName};
use crate::key::RecordingKey;
use axum::Json;
use axum::extract::State;
use hyper::StatusCode;
use serde::Deserialize;
use utoipa::IntoParams;

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct When {
    /// Unix seconds.
    #[param(minimum = 0, maximum = 253402300799_i64)]
    start: Option<i64>,
    /// Unix seconds.
    #[param(minimum = 0, maximum = 253402300799_i64)]
    end: Option<i64>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    #[param(pattern = "^([0-9]{8}T[0-9]{9}-[0-9a-f]{4}:)?[0-9]{1,18}$")]
    marker: Option<String>,
}

fn wrong_marker() -> Failure {
    Failure::bad("marker is the next of the page before")
}

/// List the pushes to a channel, newest first
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/sessions", tag = "history",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), When),
    responses((status = 200, description = "A page of sessions", body = Page<SessionJson>)))]
pub(super) async fn sessions(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Asked(when): Asked<When>,
) -> Answer<Json<Page<SessionJson>>> {
    by.may(Need::ReadHub(&id.hub))?;
    control.channel(&id).await?;
    let before = when
        .marker
        .map(|marker| marker.parse().map_err(|_| wrong_marker()));
    let (before, limit) = (before.transpose()?, limit(when.limit)?);
    let range = range(when.start, when.end)?;
    let rows = control.sessions(&id, range, before, limit).await?;
    let next = rows.last().filter(|_| rows.len() == limit);
    Ok(Json(Page {
        next: next.map(|row| row.began_ms.to_string()),
        items: rows.into_iter().map(SessionJson::from).collect(),
    }))
}

/// List the segments of a channel, in order
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/segments", tag = "history",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), When),
    responses((status = 200, description = "A page of segments", body = Page<SegmentJson>)))]
pub(super) async fn segments(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Asked(when): Asked<When>,
) -> Answer<Json<Page<SegmentJson>>> {
    by.may(Need::ReadHub(&id.hub))?;
    control.channel(&id).await?;
    let from = when
        .marker
        .map(|marker| segment_of(&id, &marker).ok_or_else(wrong_marker));
    let (from, limit) = (from.transpose()?, limit(when.limit)?);
    let range = range(when.start, when.end)?;
    let found = control.segments(&id, range, from, limit).await?;
    let pairs = found.iter().flat_map(|found| {
        let recording = &found.recording.recording;
        found.segments.iter().map(move |row| (recording, row))
    });
    let pairs: Vec<_> = pairs.collect();
    let next = pairs.last().filter(|_| pairs.len() == limit);
    Ok(Json(Page {
        next: next.map(|(recording, row)| format!("{recording}:{}", row.number.saturating_add(1))),
        items: pairs
            .iter()
            .map(|(recording, row)| SegmentJson::new(recording, row))
            .collect(),
    }))
}

fn segment_of(channel: &ChannelId, marker: &str) -> Option<(RecordingKey, i64)> {
    let (recording, number) = marker.split_once(':')?;
    let key = RecordingKey {
        channel: channel.clone(),
        recording: recording.parse().ok()?,
    };
    Some((key, number.parse().ok()?))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Within {
    /// Unix seconds.
    #[param(minimum = 0, maximum = 253402300799_i64)]
    start: Option<i64>,
    /// Unix seconds.
    #[param(minimum = 0, maximum = 253402300799_i64)]
    end: Option<i64>,
    /// Pushes that are looked at, from the newest on.
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
}

/// List the times in which something was pushed, in order
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/periods", tag = "history",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), Within),
    responses((status = 200, description = "The periods of the newest pushes", body = Page<PeriodJson>)))]
pub(super) async fn periods(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Asked(within): Asked<Within>,
) -> Answer<Json<Page<PeriodJson>>> {
    by.may(Need::ReadHub(&id.hub))?;
    control.channel(&id).await?;
    let range = range(within.start, within.end)?;
    let periods = control.periods(&id, range, limit(within.limit)?).await?;
    let items = periods.into_iter().map(PeriodJson::from).collect();
    Ok(Json(Page { items, next: None }))
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct ClipList {
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    marker: Option<String>,
}

/// List the clips of a channel, by name
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/clips", tag = "clips",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ClipList),
    responses((status = 200, description = "A page of clips", body = Page<ClipJson>)))]
pub(super) async fn list_clips(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Asked(list): Asked<ClipList>,
) -> Answer<Json<Page<ClipJson>>> {
    by.may(Need::ReadHub(&id.hub))?;
    control.channel(&id).await?;
    let limit = limit(list.limit)?;
    let clips = control
        .ranges(RangeKind::Clip, &id, list.marker.as_deref(), limit)
        .await?;
    let next = clips.last().filter(|_| clips.len() == limit);
    Ok(Json(Page {
        next: next.map(|clip| clip.name.to_string()),
        items: clips
            .into_iter()
            .map(|clip| ClipJson::new(&id, clip))
            .collect(),
    }))
}

/// Make a clip: a playlist over a range of time
///
/// It copies nothing, may reach over several pushes and into one that runs, and replaces a clip of
/// the same name.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/clips", tag = "clips",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = NewClip,
    responses((status = 201, description = "The clip", body = ClipJson)))]
pub(super) async fn make_clip(
    Changes { by, id }: Changes,
    State(control): State<Control>,
    Body(new): Body<NewClip>,
) -> Answer<(StatusCode, Json<ClipJson>)> {
    let name = clip_name(&new.name)?;
    let range = times(new.start, new.end)?;
    let clip = control
        .put_range(&by, RangeKind::Clip, &id, name, range)
        .await?;
    Ok((StatusCode::CREATED, Json(ClipJson::new(&id, clip))))
}

/// Read a clip
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/clips/{name}", tag = "clips",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ("name" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "The clip", body = ClipJson)))]
pub(super) async fn get_clip(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Named(name): Named,
) -> Answer<Json<ClipJson>> {
    by.may(Need::ReadHub(&id.hub))?;
    let clip = control
        .range(RangeKind::Clip, &id, &clip_name(&name)?)
        .await?;
    Ok(Json(ClipJson::new(&id, clip)))
}

/// Remove a clip; the segments stay
#[utoipa::path(delete, path = "/api/v1/channels/{hub}/{channel}/clips/{name}", tag = "clips",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ("name" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete_clip(
    Changes { by, id }: Changes,
    State(control): State<Control>,
    Named(name): Named,
) -> Answer<StatusCode> {
    control
        .delete_range(&by, RangeKind::Clip, &id, &clip_name(&name)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn clip_name(name: &str) -> Answer<ChannelName> {
    ChannelName::new(name).map_err(|error| {
        let text = error.to_string().replace("channel name", "clip name");
        Failure::bad(text)
    })
}
