//! Live channels: settings, state and history.

use super::document::{
    AudioStat, CreateLiveChannelResult, ListLiveChannelResult, ListedChannel,
    LiveChannelConfiguration, LiveChannelHistory, LiveChannelStat, LiveRecord, PutChannel, Target,
    Urls, VideoStat,
};
use super::error::Error;
use super::names::{self, Page};
use super::service::{Call, xml};
use super::{Oss, time};
use crate::control::auth::{Playback, Policy};
use crate::control::channels::{Channel, ChannelState, IfLive, Wanted};
use crate::control::hubs::{Hub, HubAccess};
use crate::control::ledger::{AudioInfo, VideoInfo};
use crate::control::live::{LiveStatus, SecondPublisher};
use crate::control::settings::ChannelSettings;
use crate::id::ChannelId;
use axum::response::{IntoResponse, Response};
use hyper::StatusCode;
use std::sync::Arc;

const DESCRIPTION_MAX: usize = 128;
/// What both numbers of a target may be.
const FRAGMENTS: std::ops::RangeInclusive<u32> = 1..=100;
const FRAG_DURATION: u32 = 5;
const FRAG_COUNT: u32 = 3;
const PLAYLIST: &str = "playlist.m3u8";
/// Label that keeps a count which is less than a live window may have.
const COUNT_LABEL: &str = "oss/frag-count";
/// Label that keeps the name under which the newest push wanted its playlist.
const PUSHED_LABEL: &str = "oss/playlist-name";
/// Least segments in a live window: players need three.
const WINDOW_MIN: u32 = 3;
/// Pushes that the history tells.
const RECORDS: usize = 10;

/// What a client sets of a channel, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Wish {
    description: String,
    enabled: bool,
    frag_duration_s: u32,
    frag_count: u32,
    playlist: String,
}

impl Oss {
    /// The channel that a request names.
    pub(super) async fn channel(&self, call: &Call<'_>, hub: &Hub) -> Result<Arc<Channel>, Error> {
        let id = names::channel(&hub.name, &call.target.key)?;
        Ok(self.control().channel(&id).await?)
    }

    pub(super) async fn put_channel(&self, call: &Call<'_>, hub: &Hub) -> Result<Response, Error> {
        let id = names::channel(&hub.name, &call.target.key)?;
        let wish = Wish::parse(&PutChannel::parse(&call.body)?)?;
        let before = match self.control().channel(&id).await {
            Ok(channel) => Some(channel.settings.clone()),
            Err(crate::control::Error::NoChannel(_)) => None,
            Err(error) => return Err(error.into()),
        };
        let settings = wish.settings(before, hub);
        let put = self
            .control()
            .replace_channel(&call.by, &id, settings, IfLive::Refuse);
        let (channel, _) = put.await?;
        Ok(xml(
            "CreateLiveChannelResult",
            &CreateLiveChannelResult {
                publish_urls: self.publish_urls(call, &channel),
                play_urls: self.play_urls(call, &channel),
            },
        ))
    }

    pub(super) async fn put_channel_status(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let id = names::channel(&hub.name, &call.target.key)?;
        let enabled = match call.target.query.get("status").unwrap_or_default() {
            "enabled" => true,
            "disabled" => false,
            other => {
                let message = "The status is enabled or disabled.";
                return Err(Error::argument("status", other, "0017-00000255", message));
            }
        };
        let change = self
            .control()
            .enable_channel(&call.by, &id, enabled, IfLive::End);
        change.await?;
        Ok(StatusCode::OK.into_response())
    }

    pub(super) async fn channel_info(&self, call: &Call<'_>, hub: &Hub) -> Result<Response, Error> {
        let channel = self.channel(call, hub).await?;
        let wish = Wish::of(&channel.settings);
        Ok(xml(
            "LiveChannelConfiguration",
            &LiveChannelConfiguration {
                status: status(&channel),
                description: wish.description,
                target: Target {
                    r#type: "HLS",
                    frag_duration: wish.frag_duration_s,
                    frag_count: wish.frag_count,
                    playlist_name: wish.playlist,
                },
            },
        ))
    }

    pub(super) async fn channel_stat(&self, call: &Call<'_>, hub: &Hub) -> Result<Response, Error> {
        let channel = self.channel(call, hub).await?;
        let live = self.control().live_status(&channel.id);
        let stat = match (self.control().state(&channel), live) {
            (ChannelState::Disabled, _) => LiveChannelStat {
                status: "Disabled",
                ..LiveChannelStat::default()
            },
            (ChannelState::Live, Some(live)) => live_stat(&live),
            (ChannelState::Live | ChannelState::Idle, _) => LiveChannelStat {
                status: "Idle",
                ..LiveChannelStat::default()
            },
        };
        Ok(xml("LiveChannelStat", &stat))
    }

    pub(super) async fn channel_history(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let channel = self.channel(call, hub).await?;
        // One more than are told: the newest may be running.
        let all = i64::MIN..i64::MAX;
        let sessions = self.control().sessions(&channel.id, all, None, RECORDS + 1);
        let ended = sessions.await?.into_iter().filter_map(|session| {
            Some(LiveRecord {
                start_time: time::iso(session.began_ms),
                end_time: time::iso(session.ended_ms?),
                remote_addr: session.remote,
            })
        });
        let mut live_record: Vec<_> = ended.take(RECORDS).collect();
        live_record.reverse();
        Ok(xml(
            "LiveChannelHistory",
            &LiveChannelHistory { live_record },
        ))
    }

    pub(super) async fn delete_channel(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let id = names::channel(&hub.name, &call.target.key)?;
        let delete = self.control().delete_channel(&call.by, &id, IfLive::Refuse);
        delete.await?;
        Ok(StatusCode::NO_CONTENT.into_response())
    }

    pub(super) async fn list_channels(
        &self,
        call: &Call<'_>,
        hub: &Hub,
    ) -> Result<Response, Error> {
        let page = Page::parse(&call.target.query)?;
        let mut channels = self.channels_after(hub, &page, page.max_keys + 1).await?;
        let more = channels.len() > page.max_keys;
        channels.truncate(page.max_keys);
        let last = channels.last().filter(|_| more);
        let next_marker = last.map(|last| last.id.name.to_string());
        let listed = channels.iter().map(|channel| ListedChannel {
            name: channel.id.name.to_string(),
            description: channel.settings.description.clone(),
            status: status(channel),
            last_modified: time::iso(channel.changed_ms),
            publish_urls: self.publish_urls(call, channel),
            play_urls: self.play_urls(call, channel),
        });
        Ok(xml(
            "ListLiveChannelResult",
            &ListLiveChannelResult {
                live_channel: listed.collect(),
                prefix: page.prefix,
                marker: page.marker,
                max_keys: page.max_keys,
                is_truncated: more,
                next_marker,
            },
        ))
    }

    /// The first `count` channels of a page that this API can name.
    pub(super) async fn channels_after(
        &self,
        hub: &Hub,
        page: &Page,
        count: usize,
    ) -> Result<Vec<Channel>, Error> {
        let mut wanted = Wanted {
            hub: Some(hub.name.to_string()),
            prefix: Some(page.prefix.clone()).filter(|prefix| !prefix.is_empty()),
            after: Some((hub.name.to_string(), page.marker.clone())),
            ..Wanted::default()
        };
        let mut found = Vec::new();
        loop {
            let listed = self
                .control()
                .channels(&wanted, count - found.len())
                .await?;
            let channels = listed.channels.into_iter().map(|(channel, _)| channel);
            found.extend(channels.filter(|channel| names::is_channel(channel.id.name.as_str())));
            wanted.after = match listed.next {
                Some(next) if found.len() < count => Some(next),
                _ => return Ok(found),
            };
        }
    }

    fn publish_urls(&self, call: &Call<'_>, channel: &Channel) -> Urls {
        let place = self.place(call.target, &channel.id);
        let (host, bucket) = (&place.host, &place.path);
        let name = &channel.id.name;
        Urls {
            url: format!("rtmp://{host}{bucket}/live/{name}"),
        }
    }

    fn play_urls(&self, call: &Call<'_>, channel: &Channel) -> Urls {
        let place = self.place(call.target, &channel.id);
        let (host, bucket) = (&place.host, &place.path);
        let (name, playlist) = (&channel.id.name, playlist_of(&channel.settings));
        Urls {
            url: format!("http://{host}{bucket}/{name}/{playlist}"),
        }
    }
}

/// The name of a channel's live playlist.
pub(super) fn playlist_of(settings: &ChannelSettings) -> &str {
    settings.playlist_name.as_deref().unwrap_or(PLAYLIST)
}

/// Keeps the name under which a push wants its playlist, which may be the channel's own.
pub(super) fn set_pushed_playlist(settings: &mut ChannelSettings, name: Option<&str>) {
    match name.filter(|name| *name != playlist_of(settings)) {
        Some(name) => settings
            .labels
            .insert(PUSHED_LABEL.to_owned(), name.to_owned()),
        None => settings.labels.remove(PUSHED_LABEL),
    };
}

/// The names of the channel's live playlist: its own, and that of the newest push.
pub(super) fn live_playlists(settings: &ChannelSettings) -> impl Iterator<Item = &str> {
    let pushed = settings.labels.get(PUSHED_LABEL).map(String::as_str);
    [playlist_of(settings)].into_iter().chain(pushed)
}

/// Whether this is one of them.
pub(super) fn is_live_playlist(settings: &ChannelSettings, name: &str) -> bool {
    live_playlists(settings).any(|playlist| playlist == name)
}

/// Segments in a channel's live playlist.
pub(super) fn frag_count_of(settings: &ChannelSettings) -> u32 {
    let label = settings.labels.get(COUNT_LABEL);
    let label = label.and_then(|count| count.parse().ok());
    let window = settings.window.unwrap_or(FRAG_COUNT);
    label
        .filter(|count| FRAGMENTS.contains(count))
        .unwrap_or(window)
}

fn status(channel: &Channel) -> &'static str {
    match channel.settings.enabled {
        true => "enabled",
        false => "disabled",
    }
}

impl Wish {
    fn parse(put: &PutChannel) -> Result<Self, Error> {
        if put.description.len() > DESCRIPTION_MAX {
            let message = "The description is longer than 128 bytes.";
            return Err(Error::argument("Description", "", "0044-00000001", message));
        }
        let enabled = match put.status.as_str() {
            "" | "enabled" => true,
            "disabled" => false,
            other => {
                let message = "The status is enabled or disabled.";
                return Err(Error::argument("Status", other, "0044-00000002", message));
            }
        };
        if put.snapshot.is_some() {
            let message = "Snapshots are not supported by this server.";
            return Err(Error::argument("Snapshot", "", "0044-00000004", message));
        }
        let missing = || Error::argument("Target", "", "", "The target is missing.");
        let target = put.target.as_ref().ok_or_else(missing)?;
        if target.r#type != "HLS" {
            let message = "The only type of target is HLS.";
            return Err(Error::argument("Type", &target.r#type, "", message));
        }
        let number = |name: &'static str, text: &str, default, ec| {
            let number = match text {
                "" => Some(default),
                text => text
                    .parse()
                    .ok()
                    .filter(|number| FRAGMENTS.contains(number)),
            };
            let message = format!("{name} is a number from 1 to 100.");
            number.ok_or_else(|| Error::argument(name, text, ec, message))
        };
        let playlist = match target.playlist_name.as_str() {
            "" => PLAYLIST,
            name => name,
        };
        names::playlist(playlist)?;
        Ok(Self {
            description: put.description.clone(),
            enabled,
            frag_duration_s: number(
                "FragDuration",
                &target.frag_duration,
                FRAG_DURATION,
                "0044-00000014",
            )?,
            frag_count: number("FragCount", &target.frag_count, FRAG_COUNT, "0044-00000015")?,
            playlist: playlist.to_owned(),
        })
    }

    /// What a channel's settings are in this API's words; what they leave open is as the server's
    /// configuration says, and told as this API's default.
    fn of(settings: &ChannelSettings) -> Self {
        let duration_ms = settings.segment_duration_ms.unwrap_or(FRAG_DURATION * 1000);
        Self {
            description: settings.description.clone(),
            enabled: settings.enabled,
            frag_duration_s: duration_ms.div_ceil(1000),
            frag_count: frag_count_of(settings),
            playlist: playlist_of(settings).to_owned(),
        }
    }

    /// The settings that a channel gets: all that this API can say is replaced. What it cannot say
    /// stays as it is; a new channel is as closed to the server's other doors as its bucket.
    fn settings(self, before: Option<ChannelSettings>, hub: &Hub) -> ChannelSettings {
        let new = || ChannelSettings {
            publish: Some(Policy::Key),
            playback: match hub.access {
                HubAccess::Private => Playback::Signed,
                HubAccess::Read | HubAccess::ReadWrite => Playback::Public,
            },
            ..ChannelSettings::default()
        };
        let mut settings = before.unwrap_or_else(new);
        match self.frag_count < WINDOW_MIN {
            true => settings
                .labels
                .insert(COUNT_LABEL.to_owned(), self.frag_count.to_string()),
            false => settings.labels.remove(COUNT_LABEL),
        };
        settings.labels.remove(PUSHED_LABEL);
        ChannelSettings {
            enabled: self.enabled,
            description: self.description,
            segment_duration_ms: Some(self.frag_duration_s * 1000),
            window: Some(self.frag_count.max(WINDOW_MIN)),
            playlist_name: Some(self.playlist),
            second_publisher: Some(SecondPublisher::Reject),
            ..settings
        }
    }
}

fn live_stat(live: &LiveStatus) -> LiveChannelStat {
    let rates = &live.rates;
    let video = live.tracks.video.as_ref();
    let audio = live.tracks.audio.as_ref();
    LiveChannelStat {
        status: "Live",
        connected_time: Some(time::iso(live.since_unix_ms)),
        remote_addr: Some(live.publisher.remote.clone()),
        video: video.map(|video| VideoStat {
            width: video.width,
            height: video.height,
            frame_rate: frame_rate(video, rates.frame_rate),
            bandwidth: rates.video_bit_rate / 8,
            codec: video_codec(video),
        }),
        audio: audio.map(|audio| AudioStat {
            bandwidth: rates.audio_bit_rate / 8,
            sample_rate: audio.sample_rate,
            codec: audio_codec(audio),
        }),
    }
}

/// Frames a second: as the bitstream says, else as counted.
fn frame_rate(video: &VideoInfo, counted: f64) -> u32 {
    match video.frame_rate {
        Some((frames, seconds)) if seconds > 0 => (frames + seconds / 2) / seconds,
        // A whole number from 0 to 1000 after rounding.
        _ => counted.round().clamp(0.0, 1000.0) as u32,
    }
}

fn video_codec(video: &VideoInfo) -> String {
    match video.codec.split('.').next().unwrap_or_default() {
        "avc1" | "avc3" => "H264".to_owned(),
        "hvc1" | "hev1" => "H265".to_owned(),
        other => other.to_uppercase(),
    }
}

fn audio_codec(audio: &AudioInfo) -> String {
    match audio.codec.as_str() {
        "mp4a.40.34" | "mp4a.6B" | "mp4a.69" | "mp3" => "MP3".to_owned(),
        codec if codec.starts_with("mp4a") => "AAC".to_owned(),
        other => other.to_uppercase(),
    }
}

/// The channel's id by a URL's elements, for whoever has no request: a push.
pub(super) fn id_of(bucket: &str, channel: &str) -> Result<ChannelId, Error> {
    names::channel(&names::bucket(bucket)?, channel)
}

#[cfg(test)]
mod tests {
    use super::super::recorded;
    use super::*;
    use crate::id::HubName;

    fn hub(access: HubAccess) -> Hub {
        Hub {
            name: HubName::new("demo-bucket").expect("a name"),
            created_ms: 0,
            access,
        }
    }

    fn put(inside: &str) -> Result<Wish, Error> {
        let body = format!("<LiveChannelConfiguration>{inside}</LiveChannelConfiguration>");
        Wish::parse(&PutChannel::parse(body.as_bytes())?)
    }

    #[test]
    fn what_the_sdk_sends_is_understood() {
        let requests = recorded::requests().into_iter();
        let mut some = false;
        for request in requests.filter(|request| request.label.ends_with("create_live_channel")) {
            let put = PutChannel::parse(request.body.as_bytes()).expect("a configuration");
            let expected = Wish {
                description: "barn & <yard>".to_owned(),
                enabled: true,
                frag_duration_s: 5,
                frag_count: 3,
                playlist: "test.m3u8".to_owned(),
            };
            assert_eq!(Wish::parse(&put), Ok(expected), "{}", request.label);
            some = true;
        }
        assert!(some);
    }

    #[test]
    fn what_is_left_out_has_its_default_and_what_is_wrong_its_number() {
        let target = |inside: &str| put(&format!("<Target><Type>HLS</Type>{inside}</Target>"));
        let expected = Wish {
            description: String::new(),
            enabled: true,
            frag_duration_s: 5,
            frag_count: 3,
            playlist: "playlist.m3u8".to_owned(),
        };
        assert_eq!(target(""), Ok(expected.clone()));
        assert_eq!(
            target("<FragDuration/><FragCount></FragCount><PlaylistName />"),
            Ok(expected)
        );
        let check = |found: Result<Wish, Error>, ec: &str| {
            assert_eq!(found.map_err(|error| error.ec), Err(ec));
        };
        check(put(""), "");
        check(put("<Target><Type>RTMP</Type></Target>"), "");
        check(
            put(&format!("<Description>{}</Description>", "x".repeat(129))),
            "0044-00000001",
        );
        check(put("<Status>live</Status>"), "0044-00000002");
        check(
            put("<Snapshot><Interval>1</Interval></Snapshot>"),
            "0044-00000004",
        );
        for bad in ["0", "101", "x", "-1", "1.5"] {
            check(
                target(&format!("<FragDuration>{bad}</FragDuration>")),
                "0044-00000014",
            );
            check(
                target(&format!("<FragCount>{bad}</FragCount>")),
                "0044-00000015",
            );
        }
        check(
            target("<PlaylistName>a/b.m3u8</PlaylistName>"),
            "0044-00000016",
        );
        check(
            target("<PlaylistName>x.txt</PlaylistName>"),
            "0044-00000017",
        );
        check(
            target("<PlaylistName>xx.text</PlaylistName>"),
            "0044-00000018",
        );
    }

    #[test]
    fn settings_are_told_as_they_were_set() {
        for (frag_duration_s, frag_count) in [(1, 1), (2, 3), (100, 100), (7, 2)] {
            let wish = Wish {
                description: "d".to_owned(),
                enabled: false,
                frag_duration_s,
                frag_count,
                playlist: "x.m3u8".to_owned(),
            };
            let settings = wish.clone().settings(None, &hub(HubAccess::Private));
            assert!(settings.check().is_ok(), "{settings:?}");
            assert_eq!(Wish::of(&settings), wish);
            assert_eq!(settings.second_publisher, Some(SecondPublisher::Reject));
        }
    }

    #[test]
    fn what_this_api_cannot_say_stays() {
        let wish = put("<Target><Type>HLS</Type></Target>").expect("a configuration");
        let mut before = ChannelSettings {
            playback: Playback::Public,
            retention_s: Some(86_400),
            labels: [("team".to_owned(), "a".to_owned())].into(),
            ..ChannelSettings::default()
        };
        set_pushed_playlist(&mut before, Some("pushed.m3u8"));
        assert!(is_live_playlist(&before, "pushed.m3u8"));
        let after = wish
            .clone()
            .settings(Some(before), &hub(HubAccess::Private));
        assert_eq!(
            (after.playback, after.retention_s),
            (Playback::Public, Some(86_400))
        );
        assert_eq!(after.labels, [("team".to_owned(), "a".to_owned())].into());
        assert!(
            !is_live_playlist(&after, "pushed.m3u8") && is_live_playlist(&after, "playlist.m3u8")
        );
        let of = |access| wish.clone().settings(None, &hub(access)).playback;
        assert_eq!(of(HubAccess::Private), Playback::Signed);
        assert_eq!(of(HubAccess::Read), Playback::Public);
    }
}
