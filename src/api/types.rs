//! JSON of the API.

use super::settings::Settings;
use crate::control::auth::{Scope, Token};
use crate::control::channels::{Channel, ChannelState};
use crate::control::history::{AuditRow, Period, SegmentRow, SessionRow, flags};
use crate::control::ledger::TrackInfo;
use crate::control::live::LiveStatus;
use crate::control::ranges::NamedRange;
use crate::id::RecordingId;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::borrow::Cow;
use utoipa::openapi::schema::{ObjectBuilder, SchemaFormat, Type};
use utoipa::openapi::{KnownFormat, RefOr, Schema};
use utoipa::{PartialSchema, ToSchema};

/// The end of the year 9999, the last that RFC 3339 can write.
pub(super) const UNIX_SECONDS_MAX: i64 = 253_402_300_799;

/// An instant, in milliseconds since the Unix epoch; RFC 3339 in JSON.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Time(pub(super) i64);

impl Serialize for Time {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let at = chrono::DateTime::from_timestamp_millis(self.0).unwrap_or_default();
        to.collect_str(&at.to_rfc3339_opts(chrono::SecondsFormat::Millis, true))
    }
}

impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = Cow::<'de, str>::deserialize(from)?;
        let at = chrono::DateTime::parse_from_rfc3339(&text);
        let at = at.map_err(|_| {
            let example = "is no time of RFC 3339, for example 2026-01-31T12:00:00Z";
            serde::de::Error::custom(format!("{text:?} {example}"))
        })?;
        Ok(Self(at.timestamp_millis()))
    }
}

impl PartialSchema for Time {
    fn schema() -> RefOr<Schema> {
        let text = ObjectBuilder::new().schema_type(Type::String);
        let format = SchemaFormat::KnownFormat(KnownFormat::DateTime);
        text.format(Some(format)).build().into()
    }
}

impl ToSchema for Time {
    fn name() -> Cow<'static, str> {
        "Time".into()
    }
}

/// What a channel is: nobody pushes, somebody does, or nobody may.
#[derive(Clone, Copy, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum State {
    Idle,
    Live,
    Disabled,
}

impl From<ChannelState> for State {
    fn from(state: ChannelState) -> Self {
        match state {
            ChannelState::Idle => Self::Idle,
            ChannelState::Live => Self::Live,
            ChannelState::Disabled => Self::Disabled,
        }
    }
}

impl From<State> for ChannelState {
    fn from(state: State) -> Self {
        match state {
            State::Idle => Self::Idle,
            State::Live => Self::Live,
            State::Disabled => Self::Disabled,
        }
    }
}

/// A channel.
#[derive(Serialize, ToSchema)]
pub(super) struct ChannelJson {
    hub: String,
    channel: String,
    state: State,
    settings: Settings,
    created: Time,
    changed: Time,
    /// Path of its playlist.
    playlist: String,
    /// Its stream key: only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    key: Option<String>,
}

impl ChannelJson {
    pub(super) fn new(channel: &Channel, state: ChannelState, key: Option<String>) -> Self {
        let name = channel.settings.playlist_name.as_deref();
        let root = crate::key::MEDIA_ROOT;
        Self {
            hub: channel.id.hub.to_string(),
            channel: channel.id.name.to_string(),
            state: state.into(),
            settings: (&channel.settings).into(),
            created: Time(channel.created_ms),
            changed: Time(channel.changed_ms),
            playlist: format!("{root}{}/{}", channel.id, name.unwrap_or("index.m3u8")),
            key,
        }
    }
}

/// A page of a list.
#[derive(Serialize, ToSchema)]
pub(super) struct Page<T> {
    pub(super) items: Vec<T>,
    /// Ask again with this as marker for what follows; absent at the end.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) next: Option<String>,
}

/// The tracks of a push.
#[derive(Serialize, ToSchema)]
pub(super) struct TracksJson {
    video: Option<VideoJson>,
    audio: Option<AudioJson>,
}

/// A video track.
#[derive(Serialize, ToSchema)]
pub(super) struct VideoJson {
    /// RFC 6381 codec string.
    codec: String,
    width: u32,
    height: u32,
    /// Frames per second, by the bitstream or else as measured.
    frame_rate: Option<f64>,
    /// Bits of the last seconds, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_rate: Option<u64>,
}

/// An audio track.
#[derive(Serialize, ToSchema)]
pub(super) struct AudioJson {
    /// RFC 6381 codec string.
    codec: String,
    sample_rate: u32,
    channels: u8,
    /// Bits of the last seconds, per second.
    #[serde(skip_serializing_if = "Option::is_none")]
    bit_rate: Option<u64>,
}

impl From<TrackInfo> for TracksJson {
    fn from(tracks: TrackInfo) -> Self {
        Self {
            video: tracks.video.map(|video| VideoJson {
                codec: video.codec,
                width: video.width,
                height: video.height,
                frame_rate: video
                    .frame_rate
                    .map(|(num, den)| rounded(f64::from(num) / f64::from(den.max(1)))),
                bit_rate: None,
            }),
            audio: tracks.audio.map(|audio| AudioJson {
                codec: audio.codec,
                sample_rate: audio.sample_rate,
                channels: audio.channels,
                bit_rate: None,
            }),
        }
    }
}

fn rounded(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// What a channel is at this moment.
#[derive(Serialize, ToSchema)]
pub(super) struct StatusJson {
    pub(super) state: State,
    /// The push, while there is one.
    pub(super) live: Option<LiveJson>,
}

/// A push that runs.
#[derive(Serialize, ToSchema)]
pub(super) struct LiveJson {
    since: Time,
    recording: String,
    remote: String,
    encoder: Option<String>,
    tracks: TracksJson,
    bytes: u64,
    video_frames: u64,
    audio_frames: u64,
    /// Frames and tags that are in no segment.
    dropped: u64,
    discontinuities: u64,
    /// Bits of metadata of the last seconds, per second.
    data_bit_rate: u64,
    /// Pictures of the last seconds, per second.
    frame_rate: f64,
    key_frame_interval_ms: Option<u64>,
    /// How unevenly messages arrive (RFC 3550 §6.4.1).
    jitter_ms: f64,
    /// Who asked for the live playlist in the last 30 s.
    viewers: usize,
}

impl From<LiveStatus> for LiveJson {
    fn from(live: LiveStatus) -> Self {
        let (counts, rates) = (live.counts, live.rates);
        let mut tracks = TracksJson::from(live.tracks);
        if let Some(video) = &mut tracks.video {
            video.bit_rate = Some(rates.video_bit_rate);
            video.frame_rate.get_or_insert(rounded(rates.frame_rate));
        }
        if let Some(audio) = &mut tracks.audio {
            audio.bit_rate = Some(rates.audio_bit_rate);
        }
        Self {
            since: Time(live.since_unix_ms),
            recording: live.recording.recording.to_string(),
            remote: live.publisher.remote,
            encoder: live.publisher.encoder,
            tracks,
            bytes: counts.bytes,
            video_frames: counts.video_frames,
            audio_frames: counts.audio_frames,
            dropped: counts.dropped,
            discontinuities: counts.discontinuities,
            data_bit_rate: rates.data_bit_rate,
            frame_rate: rounded(rates.frame_rate),
            key_frame_interval_ms: counts.key_interval_ms,
            jitter_ms: rounded(rates.jitter_ms),
            viewers: live.viewers,
        }
    }
}

/// A push: one session of a channel.
#[derive(Serialize, ToSchema)]
pub(super) struct SessionJson {
    recording: String,
    start: Time,
    /// Absent while it runs.
    end: Option<Time>,
    /// Why it ended.
    reason: Option<String>,
    remote: String,
    encoder: Option<String>,
    tracks: TracksJson,
    bytes: i64,
    video_frames: i64,
    audio_frames: i64,
    dropped: i64,
    discontinuities: i64,
    gaps: i64,
    node: String,
}

impl From<SessionRow> for SessionJson {
    fn from(row: SessionRow) -> Self {
        let tracks: TrackInfo = serde_json::from_str(&row.tracks).unwrap_or_default();
        Self {
            recording: row.recording.recording.to_string(),
            start: Time(row.began_ms),
            end: row.ended_ms.map(Time),
            reason: row.reason,
            remote: row.remote,
            encoder: row.encoder,
            tracks: tracks.into(),
            bytes: row.bytes,
            video_frames: row.video_frames,
            audio_frames: row.audio_frames,
            dropped: row.dropped,
            discontinuities: row.discontinuities,
            gaps: row.gaps,
            node: row.node,
        }
    }
}

/// A segment.
#[derive(Serialize, ToSchema)]
pub(super) struct SegmentJson {
    recording: String,
    number: i64,
    /// Wall-clock time of its first frame.
    start: Time,
    duration_ms: i64,
    bytes: i64,
    /// Whether a discontinuity stands before it.
    discontinuity: bool,
    /// Whether it begins with a key frame.
    independent: bool,
    /// Whether its media is missing.
    gap: bool,
}

impl SegmentJson {
    pub(super) fn new(recording: &RecordingId, row: &SegmentRow) -> Self {
        let segment = row.segment();
        Self {
            recording: recording.to_string(),
            number: row.number,
            start: Time(row.date_ms),
            duration_ms: segment.duration.as_ms(),
            bytes: row.size,
            discontinuity: row.flags & flags::DISCONTINUITY != 0,
            independent: segment.independent,
            gap: segment.gap,
        }
    }
}

/// A time in which something was pushed.
#[derive(Serialize, ToSchema)]
pub(super) struct PeriodJson {
    start: Time,
    /// Absent while it goes on.
    end: Option<Time>,
}

impl From<Period> for PeriodJson {
    fn from(period: Period) -> Self {
        Self {
            start: Time(period.start_ms),
            end: period.end_ms.map(Time),
        }
    }
}

/// A clip to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewClip {
    /// Letters, digits and . _ ~ - of ASCII.
    #[schema(pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*$", max_length = 128)]
    pub(super) name: String,
    pub(super) start: Time,
    pub(super) end: Time,
}

/// A named range of a channel's time, with a playlist of its own.
#[derive(Serialize, ToSchema)]
pub(super) struct ClipJson {
    name: String,
    start: Time,
    end: Time,
    created: Time,
    /// Path of its playlist.
    playlist: String,
}

impl ClipJson {
    pub(super) fn new(channel: &crate::id::ChannelId, clip: NamedRange) -> Self {
        let path = crate::key::MediaPath::Clip(channel.clone(), clip.name.clone());
        Self {
            name: clip.name.to_string(),
            start: Time(clip.range.start),
            end: Time(clip.range.end),
            created: Time(clip.created_ms),
            playlist: format!("{}{path}", crate::key::MEDIA_ROOT),
        }
    }
}

/// What a token allows: to look, to change channels, or everything.
#[derive(Clone, Copy, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub(super) enum ScopeJson {
    Read,
    Channels,
    Admin,
}

/// A token to be made.
#[derive(Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewTokenJson {
    /// What its owner calls it.
    #[serde(default)]
    #[schema(max_length = 200)]
    pub(super) name: String,
    pub(super) scope: ScopeJson,
    /// The only hub that it reaches.
    #[serde(default)]
    #[schema(
        pattern = "^[A-Za-z0-9_~-][A-Za-z0-9._~-]*(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*){0,3}$",
        max_length = 128
    )]
    pub(super) hub: Option<String>,
    /// When it stops to work.
    #[serde(default)]
    pub(super) expires: Option<Time>,
}

/// An API token.
#[derive(Serialize, ToSchema)]
pub(super) struct TokenJson {
    id: String,
    name: String,
    scope: ScopeJson,
    hub: Option<String>,
    created: Time,
    expires: Option<Time>,
    /// The token itself: only in the answer that makes it.
    #[serde(skip_serializing_if = "Option::is_none")]
    token: Option<String>,
}

impl TokenJson {
    pub(super) fn new(token: Token, secret: Option<String>) -> Self {
        Self {
            id: token.id,
            name: token.name,
            scope: match token.scope {
                Scope::Read => ScopeJson::Read,
                Scope::Channels => ScopeJson::Channels,
                Scope::Admin => ScopeJson::Admin,
            },
            hub: token.hub.map(|hub| hub.to_string()),
            created: Time(token.created_ms),
            expires: token.expires_ms.map(Time),
            token: secret,
        }
    }
}

impl From<ScopeJson> for Scope {
    fn from(scope: ScopeJson) -> Self {
        match scope {
            ScopeJson::Read => Self::Read,
            ScopeJson::Channels => Self::Channels,
            ScopeJson::Admin => Self::Admin,
        }
    }
}

/// A change that somebody made.
#[derive(Serialize, ToSchema)]
pub(super) struct AuditJson {
    at: Time,
    /// Who.
    actor: String,
    action: String,
    object: String,
    /// What it was changed to.
    detail: serde_json::Value,
}

impl From<AuditRow> for AuditJson {
    fn from(row: AuditRow) -> Self {
        Self {
            at: Time(row.at_ms),
            actor: row.actor,
            action: row.action,
            object: row.object,
            detail: serde_json::from_str(&row.detail).unwrap_or_default(),
        }
    }
}
