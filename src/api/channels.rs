//! Channels: listing, settings, states.

use super::guard::{Answer, Asked, Body, By, Changes, Failure, Of, limit};
use super::settings::Settings;
use super::types::{ChannelJson, LiveJson, Page, State, StatusJson};
use crate::control::Control;
use crate::control::auth::Need;
use crate::control::channels::{ChannelState, IfLive, Put, Wanted};
use crate::id::{ChannelName, HubName};
use axum::Json;
use axum::extract::State as Shared;
use hyper::StatusCode;
use serde::Deserialize;
use utoipa::{IntoParams, ToSchema};

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct List {
    /// Only channels of this hub.
    #[param(
        pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$",
        max_length = 128
    )]
    hub: Option<String>,
    /// Only names that begin so.
    #[param(pattern = "^([A-Za-z0-9_~-][A-Za-z0-9._~-]*)?$", max_length = 128)]
    prefix: Option<String>,
    /// Only channels in this state.
    state: Option<State>,
    /// Only channels with this label, written name=value.
    #[param(pattern = "^[^=]+=")]
    label: Option<String>,
    #[param(minimum = 1, maximum = 1000)]
    limit: Option<u32>,
    /// The next of the page before.
    marker: Option<String>,
}

/// List channels, by hub and name
#[utoipa::path(get, path = "/api/v1/channels", tag = "channels", params(List),
    responses((status = 200, description = "A page of channels", body = Page<ChannelJson>)))]
pub(super) async fn list(
    by: By,
    Shared(control): Shared<Control>,
    Asked(list): Asked<List>,
) -> Answer<Json<Page<ChannelJson>>> {
    let bad = |error: crate::id::NameError| Failure::bad(error.to_string());
    let hub = list
        .hub
        .as_deref()
        .map(HubName::new)
        .transpose()
        .map_err(bad)?;
    let hub = hub.or_else(|| by.0.hub().cloned());
    by.may(hub.as_ref().map_or(Need::ReadAll, Need::ReadHub))?;
    if let Some(prefix) = list.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
        ChannelName::new(prefix).map_err(bad)?;
    }
    let label = list.label.map(|label| {
        let pair = label.split_once('=');
        let pair = pair.map(|(label, value)| (label.to_owned(), value.to_owned()));
        pair.ok_or_else(|| Failure::bad("label is written name=value"))
    });
    let after = list.marker.map(|marker| {
        let (hub, name) = marker.rsplit_once('/').unwrap_or((&marker, ""));
        (hub.to_owned(), name.to_owned())
    });
    let wanted = Wanted {
        hub: hub.map(|hub| hub.to_string()),
        prefix: list.prefix.filter(|prefix| !prefix.is_empty()),
        label: label.transpose()?,
        state: list.state.map(ChannelState::from),
        after,
    };
    let listed = control.channels(&wanted, limit(list.limit)?).await?;
    let items = listed.channels.iter();
    Ok(Json(Page {
        items: items
            .map(|(channel, state)| ChannelJson::new(channel, *state, None))
            .collect(),
        next: listed.next.map(|(hub, name)| format!("{hub}/{name}")),
    }))
}

/// Read a channel
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "The channel", body = ChannelJson)))]
pub(super) async fn get(
    by: By,
    Shared(control): Shared<Control>,
    Of(id): Of,
) -> Answer<Json<ChannelJson>> {
    by.may(Need::ReadHub(&id.hub))?;
    let channel = control.channel(&id).await?;
    Ok(Json(ChannelJson::new(
        &channel,
        control.state(&channel),
        None,
    )))
}

/// Make a channel or replace its settings
///
/// A new channel gets a stream key, which is shown in this answer and never again. The same
/// settings again change nothing.
#[utoipa::path(put, path = "/api/v1/channels/{hub}/{channel}", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = Settings,
    responses((status = 200, description = "It was there", body = ChannelJson),
        (status = 201, description = "It was made", body = ChannelJson)))]
pub(super) async fn put(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
    Body(settings): Body<Settings>,
) -> Answer<(StatusCode, Json<ChannelJson>)> {
    let (channel, put) = control.put_channel(&by, &id, settings.into()).await?;
    let (status, key) = match put {
        Put::Created => {
            let key = control.rotate_key(&by, &id).await?;
            (StatusCode::CREATED, Some(key.reveal().to_owned()))
        }
        Put::Replaced | Put::Same => (StatusCode::OK, None),
    };
    let json = ChannelJson::new(&channel, control.state(&channel), key);
    Ok((status, Json(json)))
}

/// Change some settings of a channel
///
/// A merge patch (RFC 7396): what is absent stays, what is null is again as the configuration says.
#[utoipa::path(patch, path = "/api/v1/channels/{hub}/{channel}", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    request_body = Settings,
    responses((status = 200, description = "The channel as it is now", body = ChannelJson)))]
pub(super) async fn patch(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
    Body(changes): Body<serde_json::Map<String, serde_json::Value>>,
) -> Answer<Json<ChannelJson>> {
    let change = |settings: &mut crate::control::settings::ChannelSettings| {
        let patched = patched(&Settings::from(&*settings), changes);
        let invalid = |error: serde_json::Error| crate::control::Error::Invalid(error.to_string());
        *settings = patched.map_err(invalid)?.into();
        Ok(())
    };
    let channel = control.change_channel(&by, &id, change).await?;
    Ok(Json(ChannelJson::new(
        &channel,
        control.state(&channel),
        None,
    )))
}

fn patched(
    settings: &Settings,
    changes: serde_json::Map<String, serde_json::Value>,
) -> Result<Settings, serde_json::Error> {
    let mut value = serde_json::to_value(settings)?;
    merge(&mut value, serde_json::Value::Object(changes));
    serde_json::from_value(value)
}

/// RFC 7396 §2. As deep as the body's JSON, which serde_json bounds.
fn merge(target: &mut serde_json::Value, patch: serde_json::Value) {
    let serde_json::Value::Object(patch) = patch else {
        *target = patch;
        return;
    };
    if !target.is_object() {
        *target = serde_json::Value::Object(serde_json::Map::new());
    }
    let Some(fields) = target.as_object_mut() else {
        return;
    };
    for (name, value) in patch {
        match value {
            serde_json::Value::Null => drop(fields.remove(&name)),
            value => merge(fields.entry(name).or_insert(serde_json::Value::Null), value),
        }
    }
}

/// What to do with a push that runs.
#[derive(Clone, Copy, Default, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum WhenLive {
    /// It is ended.
    #[default]
    End,
    /// Nothing is changed, and the answer is 409.
    Refuse,
}

#[derive(Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct Ending {
    /// What to do with a push that runs: end it (the default) or refuse.
    #[param(inline)]
    if_live: Option<WhenLive>,
}

impl Ending {
    fn if_live(&self) -> IfLive {
        match self.if_live.unwrap_or_default() {
            WhenLive::End => IfLive::End,
            WhenLive::Refuse => IfLive::Refuse,
        }
    }
}

/// Remove a channel
///
/// With its key and clips. A push that runs is ended. What was pushed stays in the store and its
/// history in the catalog.
#[utoipa::path(delete, path = "/api/v1/channels/{hub}/{channel}", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), Ending),
    responses((status = 204, description = "It is gone")))]
pub(super) async fn delete(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
    Asked(ending): Asked<Ending>,
) -> Answer<StatusCode> {
    control.delete_channel(&by, &id, ending.if_live()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Let a channel be pushed to
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/enable", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "The channel as it is now", body = ChannelJson)))]
pub(super) async fn enable(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
) -> Answer<Json<ChannelJson>> {
    let channel = control.enable_channel(&by, &id, true, IfLive::End).await?;
    Ok(Json(ChannelJson::new(
        &channel,
        control.state(&channel),
        None,
    )))
}

/// Let nobody push to a channel
///
/// A push that runs is ended within a second.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/disable", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128), Ending),
    responses((status = 200, description = "The channel as it is now", body = ChannelJson)))]
pub(super) async fn disable(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
    Asked(ending): Asked<Ending>,
) -> Answer<Json<ChannelJson>> {
    let if_live = ending.if_live();
    let channel = control.enable_channel(&by, &id, false, if_live).await?;
    Ok(Json(ChannelJson::new(
        &channel,
        control.state(&channel),
        None,
    )))
}

/// End the push that runs
///
/// Its encoder may come back at once.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/kick", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 204, description = "It is being ended")))]
pub(super) async fn kick(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
) -> Answer<StatusCode> {
    control.kick(&by, &id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Give a channel a new stream key
///
/// The old one is worth nothing from now on; a push that runs goes on. The key is shown in this
/// answer and never again.
#[utoipa::path(post, path = "/api/v1/channels/{hub}/{channel}/rotate-key", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "The channel with its new key", body = ChannelJson)))]
pub(super) async fn rotate_key(
    Changes { by, id }: Changes,
    Shared(control): Shared<Control>,
) -> Answer<Json<ChannelJson>> {
    let key = control.rotate_key(&by, &id).await?;
    let channel = control.channel(&id).await?;
    let key = Some(key.reveal().to_owned());
    Ok(Json(ChannelJson::new(
        &channel,
        control.state(&channel),
        key,
    )))
}

/// What a channel is at this moment
#[utoipa::path(get, path = "/api/v1/channels/{hub}/{channel}/status", tag = "channels",
    params(("hub" = String, Path, description = "A slash is written %2F", pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$", max_length = 128), ("channel" = String, Path, pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)),
    responses((status = 200, description = "Idle, live or disabled", body = StatusJson)))]
pub(super) async fn status(
    by: By,
    Shared(control): Shared<Control>,
    Of(id): Of,
) -> Answer<Json<StatusJson>> {
    by.may(Need::ReadHub(&id.hub))?;
    let channel = control.channel(&id).await?;
    Ok(Json(StatusJson {
        state: control.state(&channel).into(),
        live: control.live_status(&id).map(LiveJson::from),
    }))
}
