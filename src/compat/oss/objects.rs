//! Objects: a channel's playlists and segments. They are made by pushes and by PostVodPlaylist.

use super::Oss;
use super::error::Error;
use super::playlists::{segment_etag, segment_time};
use super::service::Call;
use crate::control::auth::Audience;
use crate::control::hubs::Hub;
use crate::control::ranges::RangeKind;
use crate::control::{self, Lookup};
use crate::http::{Peer, Representation};
use crate::id::{ChannelId, ChannelName};
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;

const SEGMENT: &str = "video/mp2t";

impl Oss {
    pub(super) async fn get_object(
        &self,
        call: &mut Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let (id, name) = named(call, hub)?;
        let peer = call.parts.extensions.get::<Peer>();
        let address = peer.map(|peer| peer.0.ip());
        let audience = self.control().may_play_from(&id, address).await?;
        call.shared &= audience == Audience::All;
        match segment_time(name) {
            Some(unix_ms) => self.get_segment(call, &id, unix_ms).await,
            None => self.get_playlist(call, &id, name).await,
        }
    }

    async fn get_segment(
        &self,
        call: &Call<'_>,
        id: &ChannelId,
        unix_ms: i64,
    ) -> Result<Response, Error> {
        let missing = || Error::no_such_key(&call.target.key);
        let found = self.control().segment_at(id, unix_ms).await?;
        let placed = found.ok_or_else(missing)?;
        let (recording, number) = (&placed.recording, placed.segment.number);
        let body = match self.control().segment(recording, number).await {
            Ok(body) => body,
            Err(Lookup::Store(error)) => return Err(control::Error::from(error).into()),
            Err(_) => return Err(missing()),
        };
        let etag = segment_etag(&recording.recording, number, body.size());
        let found = Representation::of_segment(body, SEGMENT, call.for_ever(), etag);
        Ok(found.respond(&call.parts.method, &call.parts.headers).await)
    }

    /// Removes a posted playlist. Segments go by the channel's retention, live playlists with them.
    pub(super) async fn delete_object(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let gone = Ok(StatusCode::NO_CONTENT.into_response());
        // What cannot be there is not there, and that is success here.
        let Ok((id, name)) = named(call, hub) else {
            return gone;
        };
        let there = match segment_time(name) {
            Some(unix_ms) => {
                let moment = unix_ms..unix_ms.saturating_add(1);
                let found = self.control().segments_between(&id, moment, 1).await?;
                !found.is_empty()
            }
            None => self.is_live_playlist(&id, name).await?,
        };
        if there {
            let message = "This server removes media by the retention of its channel.";
            return Err(Error::denied(message));
        }
        let Ok(clip) = ChannelName::new(name) else {
            return gone;
        };
        match self
            .control()
            .delete_range(&call.by, RangeKind::Clip, &id, &clip)
            .await
        {
            Ok(()) | Err(control::Error::NoRange(..)) => gone,
            Err(error) => Err(error.into()),
        }
    }
}

/// Channel and name of an object.
fn named<'a>(call: &Call<'a>, hub: &Hub) -> Result<(ChannelId, &'a str), Error> {
    let key = &call.target.key;
    let parts = key.split_once('/').filter(|(_, name)| !name.contains('/'));
    let channel = parts.and_then(|(channel, _)| ChannelName::new(channel).ok());
    match (channel, parts) {
        (Some(channel), Some((_, name))) => {
            let hub = hub.name.clone();
            let id = ChannelId { hub, name: channel };
            Ok((id, name))
        }
        _ => Err(Error::no_such_key(key)),
    }
}
