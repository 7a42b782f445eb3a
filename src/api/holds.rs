//! Holds: ranges of a channel's time that retention leaves alone.

use super::guard::{Answer, Asked, Body, By, Changes, Failure, Named, Of, limit, times};
use super::types::{Page, Time};
use crate::control::Control;
use crate::control::auth::Need;
use crate::control::ranges::{NamedRange, RangeKind};
use crate::id::ChannelName;
use axum::Json;
use axum::extract::State;
use hyper::StatusCode;
use serde::{Deserialize, Serialize};
use utoipa::{IntoParams, ToSchema};

/// A range of time to be kept.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewHold {
    start: Time,
    end: Time,
}

/// A named range of a channel's time that retention leaves alone.
#[derive(Serialize, ToSchema)]
pub(super) struct HoldJson {
    name: String,
    start: Time,
    end: Time,
    created: Time,
}

impl From<NamedRange> for HoldJson {
    fn from(hold: NamedRange) -> Self {
        Self {
            name: hold.name.to_string(),
            start: Time(hold.range.start),
            end: Time(hold.range.end),
            created: Time(hold.created_ms),
        }
    }
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct HoldList {
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    marker: Option<String>,
}

/// List the holds of a channel, by name
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/holds", tag = "holds",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), HoldList),
    responses((status = 200, description = "A page of holds", body = Page<HoldJson>)))]
pub(super) async fn list(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Asked(list): Asked<HoldList>,
) -> Answer<Json<Page<HoldJson>>> {
    by.may(Need::ReadHub(&id.hub))?;
    let limit = limit(list.limit)?;
    let holds = control
        .ranges(RangeKind::Hold, &id, list.marker.as_deref(), limit)
        .await?;
    let next = holds.last().filter(|_| holds.len() == limit);
    Ok(Json(Page {
        next: next.map(|hold| hold.name.to_string()),
        items: holds.into_iter().map(HoldJson::from).collect(),
    }))
}

/// Keep a range of time, whatever retention says
///
/// It may reach into the future, and replaces a hold of the same name. What has expired already
/// does not come back. It stays when its channel is removed.
#[utoipa::path(put, path = "/api/v1/channels/{hub}/{channel}/holds/{name}", tag = "holds",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ("name" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = NewHold,
    responses((status = 200, description = "The hold", body = HoldJson)))]
pub(super) async fn put(
    Changes { by, id }: Changes,
    State(control): State<Control>,
    Named(name): Named,
    Body(new): Body<NewHold>,
) -> Answer<Json<HoldJson>> {
    let range = times(new.start, new.end)?;
    let hold = control
        .put_range(&by, RangeKind::Hold, &id, hold_name(&name)?, range)
        .await?;
    Ok(Json(hold.into()))
}

/// Read a hold
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/holds/{name}", tag = "holds",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ("name" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "The hold", body = HoldJson)))]
pub(super) async fn get(
    by: By,
    State(control): State<Control>,
    Of(id): Of,
    Named(name): Named,
) -> Answer<Json<HoldJson>> {
    by.may(Need::ReadHub(&id.hub))?;
    let hold = control
        .range(RangeKind::Hold, &id, &hold_name(&name)?)
        .await?;
    Ok(Json(hold.into()))
}

/// Remove a hold: what only it kept goes by retention
#[utoipa::path(delete, path = "/api/v1/channels/{hub}/{channel}/holds/{name}", tag = "holds",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), ("name" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Changes { by, id }: Changes,
    State(control): State<Control>,
    Named(name): Named,
) -> Answer<StatusCode> {
    control
        .delete_range(&by, RangeKind::Hold, &id, &hold_name(&name)?)
        .await?;
    Ok(StatusCode::NO_CONTENT)
}

fn hold_name(name: &str) -> Answer<ChannelName> {
    ChannelName::new(name).map_err(|error| {
        let text = error.to_string().replace("channel name", "hold name");
        Failure::bad(text)
    })
}
