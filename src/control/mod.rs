//! The only entrance for whoever serves or publishes: who may publish where, which channels are
//! live, which playlists and segments there are.
//!
//! Speaks in our own words. Does not know HTTP, RTMP or any foreign API.

mod archive;
pub mod auth;
pub mod journal;
pub mod live;
pub mod recording;
pub mod shelf;

use crate::id::ChannelId;
use crate::key::{Container, MediaPath, RecordingKey};
use crate::playlist::Document;
use crate::store::disk::Disk;
use crate::store::{self, Cached, Meta, Object, SegmentCache, Store};
use archive::Archive;
use auth::{Denied, Grant, Keys};
use bytes::Bytes;
use journal::Index;
use live::{Claim, Refused, Registry, SecondPublisher};
use recording::Recording;
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

/// Channels, their playlists and their segments. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// What is read for viewers: the spool first, if there is one.
    segments: Store,
    disk: Disk,
    cache: SegmentCache,
    keys: Keys,
    registry: Registry,
    archive: Archive,
}

/// What control is told by the configuration.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Segments in a live playlist.
    pub window_segments: usize,
    /// How long an ended push may be taken up again.
    pub reconnect_window: Duration,
    /// What happens to a second publisher.
    pub second_publisher: SecondPublisher,
    /// Memory for segments that viewers want.
    pub cache_bytes: u64,
}

/// A channel that somebody pushes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveChannel {
    /// Which.
    pub channel: ChannelId,
    /// When the push began, in milliseconds since the Unix epoch.
    pub since_unix_ms: i64,
    /// RFC 6381 codec strings of its tracks.
    pub codecs: Vec<String>,
    /// Cropped width and height in pixels; absent for sound alone.
    pub resolution: Option<(u32, u32)>,
}

/// The bytes of a segment.
#[derive(Clone, Debug)]
pub enum SegmentBody {
    /// All of them.
    Whole(Bytes),
    /// Too many to hold for one reader.
    Stored(StoredSegment),
}

/// A segment that is read from the store piece by piece.
#[derive(Clone, Debug)]
pub struct StoredSegment {
    store: Store,
    object: String,
    meta: Meta,
}

/// Why there is nothing to serve.
#[derive(Clone, Debug, thiserror::Error)]
pub enum Lookup {
    /// Nobody ever pushed there, or it was deleted.
    #[error("there is no channel {0}")]
    NoChannel(ChannelId),
    /// The channel has other recordings, or it was deleted.
    #[error("there is no recording {0}")]
    NoRecording(RecordingKey),
    /// A push began, and no segment of it is finished.
    #[error("channel {0} has begun, but its first segment is not ready yet")]
    NotYet(ChannelId),
    /// It was removed, or is still to come.
    #[error("recording {recording} has no segment {number}")]
    NoSegment {
        /// Of which recording.
        recording: RecordingKey,
        /// Which segment.
        number: u64,
    },
    /// The store failed.
    #[error("{0}")]
    Store(#[from] store::Error),
}

impl Control {
    /// Serves and fills `store`, which is what `disk` writes, by way of its spool if it has one.
    pub fn new(
        settings: Settings,
        store: Store,
        disk: Disk,
        keys: Keys,
    ) -> Result<Self, store::Error> {
        let spool = disk.spool().cloned();
        let segments = match spool {
            Some(_) => store.behind(disk.root())?,
            None => store.clone(),
        };
        Ok(Self(Arc::new(Inner {
            archive: Archive::new(store, spool, settings.window_segments),
            cache: SegmentCache::new(settings.cache_bytes),
            registry: Registry::default(),
            settings,
            segments,
            disk,
            keys,
        })))
    }

    /// The keys of all channels.
    pub fn keys(&self) -> &Keys {
        &self.0.keys
    }

    /// What writes segments.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// Whether whoever shows `key` may publish to `hub`/`name`.
    pub fn may_publish(&self, hub: &str, name: &str, key: Option<&str>) -> Result<Grant, Denied> {
        self.0.keys.publish(hub, name, key)
    }

    /// Begins a session of a channel, as soon as a predecessor that is taken over has let go.
    pub async fn claim(&self, grant: &Grant) -> Result<Claim, Refused> {
        let claim = self.0.registry.claim(self, grant).await?;
        self.forget(grant.channel());
        Ok(claim)
    }

    /// A recording of an earlier process, as its index tells it, waits `left` for its publisher.
    pub fn take_up(&self, key: RecordingKey, index: &Index, left: Duration) {
        let window = self.0.settings.window_segments;
        let recording = Recording::from_index(key, window, index);
        self.0.registry.take_up(self, recording, left);
    }

    /// Ends all sessions and refuses new ones.
    pub fn stop(&self) {
        self.0.registry.stop();
    }

    /// Ends the recordings that wait for their publishers to come back.
    pub async fn end_recordings(&self) {
        self.0.registry.end_all(self).await;
    }

    /// The playlist that `path` names.
    pub async fn document(&self, path: &MediaPath) -> Result<Document, Lookup> {
        let (channel, key) = match path {
            MediaPath::Index(channel) => (channel, None),
            MediaPath::Media(key) | MediaPath::Vod(key) | MediaPath::Segment(key, ..) => {
                (&key.channel, Some(key))
            }
        };
        let not_yet = || Lookup::NotYet(channel.clone());
        let making = self.0.registry.recording(channel);
        let making = making.filter(|making| key.is_none_or(|key| key == making.key()));
        // Until a push has its first segment, the recording before it is the newest to play.
        let begun = making.is_some();
        let making = making.filter(|making| key.is_some() || making.index().is_some());
        if let Some(making) = making {
            let document = match path {
                MediaPath::Index(_) => making.index(),
                MediaPath::Vod(key) => self.0.archive.growing(key).await?,
                MediaPath::Media(_) | MediaPath::Segment(..) => making.media(),
            };
            return document.ok_or_else(not_yet);
        }
        let newest;
        let key = match key {
            Some(key) => key,
            None => {
                newest = self.0.archive.newest(channel).await?;
                newest.as_ref().ok_or_else(|| match begun {
                    true => not_yet(),
                    false => Lookup::NoChannel(channel.clone()),
                })?
            }
        };
        let archived = self.0.archive.recording(key).await?;
        let archived = archived.ok_or_else(|| Lookup::NoRecording(key.clone()))?;
        Ok(match path {
            MediaPath::Index(_) => archived.index.clone(),
            MediaPath::Vod(_) => archived.vod.clone(),
            MediaPath::Media(_) | MediaPath::Segment(..) => archived.media.clone(),
        })
    }

    /// The bytes of segment `number`.
    pub async fn segment(&self, key: &RecordingKey, number: u64) -> Result<SegmentBody, Lookup> {
        let object = key.segment(number, Container::Ts);
        match self.0.cache.get_or_read(&self.0.segments, &object).await {
            Ok(Cached::Whole(bytes)) => Ok(SegmentBody::Whole(bytes)),
            Ok(Cached::TooLarge(meta)) => Ok(SegmentBody::Stored(StoredSegment {
                store: self.0.segments.clone(),
                object,
                meta,
            })),
            Err(store::Error::NotFound { .. }) => Err(Lookup::NoSegment {
                recording: key.clone(),
                number,
            }),
            Err(error) => Err(Lookup::Store(error)),
        }
    }

    /// The channels that are live, by name.
    pub fn live(&self) -> Vec<LiveChannel> {
        let mut live = self.0.registry.live();
        live.sort_unstable_by(|a, b| a.channel.cmp(&b.channel));
        live
    }

    fn registry(&self) -> &Registry {
        &self.0.registry
    }

    fn new_recording(&self, key: RecordingKey) -> Recording {
        Recording::new(key, self.0.settings.window_segments)
    }

    fn second_publisher(&self) -> SecondPublisher {
        self.0.settings.second_publisher
    }

    fn reconnect_window(&self) -> Duration {
        self.0.settings.reconnect_window
    }

    fn forget(&self, channel: &ChannelId) {
        self.0.archive.forget(channel);
    }
}

impl SegmentBody {
    /// Bytes.
    pub fn size(&self) -> u64 {
        match self {
            Self::Whole(bytes) => bytes.len() as u64,
            Self::Stored(segment) => segment.meta.size,
        }
    }
}

impl StoredSegment {
    /// Opens a range of its bytes.
    pub async fn read(&self, range: Range<u64>) -> Result<Object, store::Error> {
        self.store.read(&self.object, Some(range)).await
    }
}
