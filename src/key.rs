//! The only maker and parser of object names and media URLs.
//!
//! ```text
//! object  {hub}/{channel}/{recording}/0000/00000012.ts     segment 12
//!         {hub}/{channel}/{recording}/recording.jsonl      the recording's own index
//!         {hub}/{channel}/.channel.json                    what is set of the channel, and its clips
//!         {hub}/.hub.json                                  what is set of the hub
//! marker  {hub}/{channel}/{recording}.open                 beside the store: a recording without an end
//! URL     /hls/{hub}/{channel}/index.m3u8                  newest recording (multivariant)
//!         /hls/{hub}/{channel}/clip-{clip}.m3u8            a clip
//!         /hls/{hub}/{channel}/{name}.m3u8                 the channel's own name for its index
//!         /hls/{hub}/{channel}/{recording}/media.m3u8      live window
//!         /hls/{hub}/{channel}/{recording}/vod.m3u8        all of it
//!         /hls/ + object                                   segment
//! ```
#![warn(
    clippy::indexing_slicing,
    clippy::arithmetic_side_effects,
    clippy::unwrap_used,
    clippy::expect_used
)]
#![cfg_attr(
    test,
    allow(
        clippy::indexing_slicing,
        clippy::arithmetic_side_effects,
        clippy::unwrap_used,
        clippy::expect_used
    )
)]

use crate::id::{ChannelId, ChannelName, HubName, RecordingId};
use std::fmt;

/// Where all media URLs begin.
pub const MEDIA_ROOT: &str = "/hls/";
/// Segments in one folder; keeps folders under the 10,000 entries at which file systems slow down.
pub const SEGMENTS_PER_FOLDER: u64 = 4096;

/// What the names of clips' playlists begin with.
pub const CLIP_PREFIX: &str = "clip-";

const INDEX: &str = "index.m3u8";
const MEDIA: &str = "media.m3u8";
const VOD: &str = "vod.m3u8";
const PLAYLIST: &str = ".m3u8";
const JOURNAL: &str = "recording.jsonl";
const MARKER: &str = ".open";

/// The container of a segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Container {
    /// MPEG transport stream.
    Ts,
}

/// A recording of a channel: the folder of its objects.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RecordingKey {
    /// The channel.
    pub channel: ChannelId,
    /// The recording.
    pub recording: RecordingId,
}

/// What a path under [`MEDIA_ROOT`] names.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum MediaPath {
    /// The multivariant playlist of the channel's newest recording.
    Index(ChannelId),
    /// A clip of the channel.
    Clip(ChannelId, ChannelName),
    /// A playlist by a name that the channel may have given to its index: never one of the others'.
    Named(ChannelId, ChannelName),
    /// A recording's live window.
    Media(RecordingKey),
    /// A recording's whole playlist.
    Vod(RecordingKey),
    /// A segment.
    Segment(RecordingKey, u64, Container),
}

impl MediaPath {
    /// The channel that it is of.
    pub fn channel(&self) -> &ChannelId {
        match self {
            Self::Index(channel) | Self::Clip(channel, _) | Self::Named(channel, _) => channel,
            Self::Media(key) | Self::Vod(key) | Self::Segment(key, ..) => &key.channel,
        }
    }
}

impl RecordingKey {
    /// The object name of the recording's folder, without a slash at its end.
    pub fn folder(&self) -> String {
        self.to_string()
    }

    /// The object name of segment `number`.
    pub fn segment(&self, number: u64, container: Container) -> String {
        format!("{self}/{}", segment_name(number, container))
    }

    /// The object name of the recording's own index.
    pub fn journal(&self) -> String {
        format!("{self}/{JOURNAL}")
    }

    /// The name of the file that remembers, beside the store, that the recording is not over.
    pub fn marker(&self) -> String {
        format!("{self}{MARKER}")
    }

    /// The recording whose marker has this name.
    pub fn of_marker(name: &str) -> Option<Self> {
        recording_of(name.strip_suffix(MARKER)?)
    }

    /// The recording whose index has this object name.
    pub fn of_journal(object: &str) -> Option<Self> {
        let (folder, name) = object.rsplit_once('/')?;
        (name == JOURNAL).then(|| recording_of(folder))?
    }
}

/// The last part of the name of a channel's card. No channel or recording begins with a dot.
pub const CHANNEL_CARD: &str = ".channel.json";
/// The last part of the name of a hub's card.
pub const HUB_CARD: &str = ".hub.json";

/// The object name of a channel's card: what the store knows of it beside its recordings.
pub fn channel_card(channel: &ChannelId) -> String {
    format!("{channel}/{CHANNEL_CARD}")
}

/// The object name of a hub's card.
pub fn hub_card(hub: &HubName) -> String {
    format!("{hub}/{HUB_CARD}")
}

/// The name of a segment as its recording's playlists write it, relative to them.
pub fn segment_name(number: u64, container: Container) -> String {
    let Container::Ts = container;
    format!("{:04}/{number:08}.ts", number / SEGMENTS_PER_FOLDER)
}

/// The name of a segment as a playlist of the channel, one level above the recording, writes it.
pub fn segment_uri(recording: &RecordingId, number: u64, container: Container) -> String {
    format!("{recording}/{}", segment_name(number, container))
}

/// The folder of a segment within its recording.
pub fn segment_folder(number: u64) -> String {
    format!("{:04}", number / SEGMENTS_PER_FOLDER)
}

/// A recording's media playlist as the multivariant playlist writes it, relative to itself.
pub fn media_uri(recording: &RecordingId) -> String {
    format!("{recording}/{MEDIA}")
}

/// A recording's whole playlist as the multivariant playlist writes it, relative to itself.
pub fn vod_uri(recording: &RecordingId) -> String {
    format!("{recording}/{VOD}")
}

impl MediaPath {
    /// Parses a path that follows [`MEDIA_ROOT`]; `None` if it names nothing that can exist.
    pub fn parse(path: &str) -> Option<Self> {
        let (folder, name) = path.rsplit_once('/')?;
        Some(match name {
            INDEX => Self::Index(folder.parse().ok()?),
            MEDIA => Self::Media(recording_of(folder)?),
            VOD => Self::Vod(recording_of(folder)?),
            _ if name.ends_with(PLAYLIST) => {
                let channel = folder.parse().ok()?;
                match name.strip_prefix(CLIP_PREFIX) {
                    Some(clip) => Self::Clip(channel, clip.strip_suffix(PLAYLIST)?.parse().ok()?),
                    None => Self::Named(channel, name.parse().ok()?),
                }
            }
            _ => {
                let number: u64 = name.strip_suffix(".ts")?.parse().ok()?;
                let (recording, _) = folder.rsplit_once('/')?;
                let path_of = Self::Segment(recording_of(recording)?, number, Container::Ts);
                // One name for one object: leading zeros, signs and other folders do not count.
                (path_of.to_string() == path).then_some(path_of)?
            }
        })
    }
}

fn recording_of(folder: &str) -> Option<RecordingKey> {
    let (channel, recording) = folder.rsplit_once('/')?;
    Some(RecordingKey {
        channel: channel.parse().ok()?,
        recording: recording.parse().ok()?,
    })
}

impl fmt::Display for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.channel, self.recording)
    }
}

impl fmt::Debug for RecordingKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

/// The path that follows [`MEDIA_ROOT`].
impl fmt::Display for MediaPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Index(channel) => write!(f, "{channel}/{INDEX}"),
            Self::Clip(channel, clip) => write!(f, "{channel}/{CLIP_PREFIX}{clip}{PLAYLIST}"),
            Self::Named(channel, name) => write!(f, "{channel}/{name}"),
            Self::Media(key) => write!(f, "{key}/{MEDIA}"),
            Self::Vod(key) => write!(f, "{key}/{VOD}"),
            Self::Segment(key, number, container) => f.write_str(&key.segment(*number, *container)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn every_path_reads_back_as_itself(
            hub in "[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}(/[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}){0,3}",
            name in "[A-Za-z0-9_~-][A-Za-z0-9._~-]{0,20}",
            at in 0i64..4_000_000_000_000,
            salt: u16,
            number: u64,
        ) {
            let channel = ChannelId::new(&hub, &name).expect("allowed names");
            let key = RecordingKey { channel: channel.clone(), recording: RecordingId::at(at, salt) };
            for path in [
                MediaPath::Index(channel.clone()),
                MediaPath::Clip(channel, ChannelName::new(&name).expect("an allowed name")),
                MediaPath::Media(key.clone()),
                MediaPath::Vod(key.clone()),
                MediaPath::Segment(key.clone(), number, Container::Ts),
            ] {
                prop_assert_eq!(MediaPath::parse(&path.to_string()), Some(path));
            }
            prop_assert_eq!(RecordingKey::of_marker(&key.marker()), Some(key.clone()));
            prop_assert_eq!(RecordingKey::of_journal(&key.journal()), Some(key));
        }

        #[test]
        fn no_path_leaves_the_store(path in ".{0,80}") {
            if let Some(parsed) = MediaPath::parse(&path) {
                prop_assert!(!path.contains("..") || !path.split('/').any(|level| level == ".."));
                prop_assert_eq!(parsed.to_string(), path);
            }
        }
    }

    #[test]
    fn a_segment_has_one_name() {
        let good = "live/a/20251121T034455123-9f2c/0001/00004100.ts";
        assert!(MediaPath::parse(good).is_some());
        for bad in [
            "live/a/20251121T034455123-9f2c/0000/00004100.ts",
            "live/a/20251121T034455123-9f2c/0001/4100.ts",
            "live/a/20251121T034455123-9f2c/0001/+0004100.ts",
            "live/a/20251121T034455123-9f2c/0001/00004100.ts/",
            "live/../20251121T034455123-9f2c/0001/00004100.ts",
            "live/a/index.html",
            "index.m3u8",
        ] {
            assert_eq!(MediaPath::parse(bad), None, "{bad}");
        }
    }
}
