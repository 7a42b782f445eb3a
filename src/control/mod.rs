//! The entrance for whoever serves: which playlists and segments there are, and who is live.
//!
//! Speaks in our own words. Does not know HTTP, RTMP or any foreign API.

use crate::id::{ChannelId, RecordingId};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::playlist::Document;
use crate::store::{self, Cached, Meta, Object, SegmentCache, Store};
use bytes::Bytes;
use dashmap::DashMap;
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Channels, their playlists and their segments. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    store: Store,
    cache: SegmentCache,
    channels: DashMap<ChannelId, Channel>,
}

#[derive(Default)]
struct Channel {
    live: Option<LiveChannel>,
    index: Option<Document>,
    recordings: HashMap<RecordingId, Playlists>,
}

#[derive(Default)]
struct Playlists {
    media: Option<Document>,
    vod: Option<Document>,
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
    Store(#[source] store::Error),
}

impl Control {
    /// Serves what is in `store`, through a cache of at most `cache_bytes`.
    pub fn new(store: Store, cache_bytes: u64) -> Self {
        Self(Arc::new(Inner {
            store,
            cache: SegmentCache::new(cache_bytes),
            channels: DashMap::new(),
        }))
    }

    /// The store behind it.
    pub fn store(&self) -> &Store {
        &self.0.store
    }

    /// The segments in memory.
    pub fn cache(&self) -> &SegmentCache {
        &self.0.cache
    }

    /// The playlist that `path` names.
    pub async fn document(&self, path: &MediaPath) -> Result<Document, Lookup> {
        let (id, key) = match path {
            MediaPath::Index(channel) => (channel, None),
            MediaPath::Media(key) | MediaPath::Vod(key) | MediaPath::Segment(key, ..) => {
                (&key.channel, Some(key))
            }
        };
        let channel = self.0.channels.get(id);
        let channel = channel.ok_or_else(|| Lookup::NoChannel(id.clone()))?;
        let document = match key {
            None => &channel.index,
            Some(key) => {
                let recording = channel.recordings.get(&key.recording);
                let playlists = recording.ok_or_else(|| Lookup::NoRecording(key.clone()))?;
                match path {
                    MediaPath::Vod(_) => &playlists.vod,
                    _ => &playlists.media,
                }
            }
        };
        document.clone().ok_or_else(|| Lookup::NotYet(id.clone()))
    }

    /// The bytes of segment `number`.
    pub async fn segment(&self, key: &RecordingKey, number: u64) -> Result<SegmentBody, Lookup> {
        let object = key.segment(number, Container::Ts);
        match self.0.cache.get_or_read(&self.0.store, &object).await {
            Ok(Cached::Whole(bytes)) => Ok(SegmentBody::Whole(bytes)),
            Ok(Cached::TooLarge(meta)) => Ok(SegmentBody::Stored(StoredSegment {
                store: self.0.store.clone(),
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
        let channels = self.0.channels.iter();
        let mut live: Vec<_> = channels
            .filter_map(|channel| channel.live.clone())
            .collect();
        live.sort_unstable_by(|a, b| a.channel.cmp(&b.channel));
        live
    }

    /// A push begins: until its first playlist comes, lookups answer [`Lookup::NotYet`].
    pub fn begin_live(&self, live: LiveChannel) {
        let mut channel = self.0.channels.entry(live.channel.clone()).or_default();
        channel.live = Some(live);
    }

    /// The push is over; its playlists stay.
    pub fn end_live(&self, channel: &ChannelId) {
        if let Some(mut channel) = self.0.channels.get_mut(channel) {
            channel.live = None;
        }
    }

    /// From now on `path` is this playlist. The caller vouches for every byte that it names.
    pub fn put_document(&self, path: &MediaPath, document: Document) {
        let (MediaPath::Media(key) | MediaPath::Vod(key) | MediaPath::Segment(key, ..)) = path
        else {
            if let MediaPath::Index(id) = path {
                let mut channel = self.0.channels.entry(id.clone()).or_default();
                channel.index = Some(document);
            }
            return;
        };
        let mut channel = self.0.channels.entry(key.channel.clone()).or_default();
        let playlists = channel.recordings.entry(key.recording.clone()).or_default();
        match path {
            MediaPath::Media(_) => playlists.media = Some(document),
            MediaPath::Vod(_) => playlists.vod = Some(document),
            MediaPath::Index(_) | MediaPath::Segment(..) => {}
        }
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
