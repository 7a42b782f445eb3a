//! The only entrance for whoever serves or publishes: who may publish where, which channels are
//! live, which playlists and segments there are.
//!
//! Speaks in our own words. Does not know HTTP, RTMP or any foreign API.

mod archive;
pub mod auth;
mod cards;
pub mod channels;
pub mod check;
pub mod confirmed;
pub mod events;
pub mod health;
pub mod history;
pub mod hubs;
pub mod journal;
pub mod ledger;
pub mod live;
pub mod meter;
pub mod ranges;
mod reading;
pub mod recording;
mod restore;
pub mod retention;
pub mod settings;
mod shelf;
pub mod timeline;
mod viewers;
mod walk;

pub use archive::GROWING_BYTES;
pub use auth::FirstStart;
pub use reading::Elsewhere;

use crate::catalog::{self, Backlog, Catalog, CredentialRow, Health, SECRET};
use crate::id::{ChannelId, ChannelName};
use crate::key::{Container, MediaPath, RecordingKey};
use crate::metrics;
use crate::playlist::Document;
use crate::store::disk::Disk;
use crate::store::{self, Cached, Meta, Object, SegmentCache, SignedUrls, Store};
use archive::Archive;
use auth::{Auth, Denied, Grant, Policy, Token};
use bytes::Bytes;
use channels::{Channel, Memory};
use events::Events;
use journal::Index;
use live::{Claim, LiveStatus, Publisher, Refused, Registry, SecondPublisher};
use quick_cache::sync::Cache;
use ranges::RangeKind;
use recording::Recording;
use serde::Serialize;
use std::collections::BTreeSet;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::task::JoinHandle;

/// API tokens that are remembered for a moment.
const CALLERS: usize = 1_000;
/// Name of the secret by which URLs are signed.
const URLS: &str = "urls";

/// Channels, their playlists and their segments. Cheap to clone.
#[derive(Clone)]
pub struct Control(Arc<Inner>);

struct Inner {
    settings: Settings,
    /// What is read for viewers: the spool first, if there is one.
    segments: Store,
    disk: Disk,
    cache: SegmentCache,
    catalog: Catalog,
    backlog: Backlog,
    /// The task that writes what is in the backlog.
    writing: Mutex<Option<JoinHandle<()>>>,
    auth: Auth,
    memory: Memory,
    callers: Cache<String, (Instant, Token)>,
    events: Events,
    registry: Registry,
    archive: Archive,
    /// Recordings of which rows of an earlier process are being written; `None` before it is known
    /// which those are.
    restoring: Mutex<Option<BTreeSet<RecordingKey>>>,
    /// The store itself, without the spool before it.
    store: Store,
    /// Where viewers are sent for what the store has, if they are.
    urls: OnceLock<SignedUrls>,
    names: retention::Names,
}

impl Inner {
    fn is_restoring(&self, key: &RecordingKey) -> bool {
        let restoring = self.restoring();
        restoring.as_ref().is_none_or(|these| these.contains(key))
    }

    fn restoring(&self) -> MutexGuard<'_, Option<BTreeSet<RecordingKey>>> {
        self.restoring
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// What control is told by the configuration.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settings {
    /// Who may publish to a channel of which nothing else is set.
    pub publish: Policy,
    /// Name of this server, for the history.
    pub node: String,
    /// Segments in a live playlist.
    pub window_segments: usize,
    /// How long an ended push may be taken up again.
    pub reconnect_window: Duration,
    /// What happens to a second publisher.
    pub second_publisher: SecondPublisher,
    /// Memory for segments that viewers want.
    pub cache_bytes: u64,
    /// Memory for playlists of recordings that are over.
    pub playlist_bytes: u64,
}

/// A channel that somebody pushes to.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct LiveChannel {
    /// Which.
    pub channel: ChannelId,
    /// When the push began, in milliseconds since the Unix epoch.
    pub since_unix_ms: i64,
    /// Whether anybody may play it.
    pub public: bool,
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
    /// It was never made, or it was deleted.
    #[error("there is no channel {0}")]
    NoChannel(ChannelId),
    /// Nobody has pushed there yet.
    #[error("nothing has been pushed to channel {0} yet")]
    Never(ChannelId),
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
    /// The channel has no playlist of this name.
    #[error("channel {0} has no playlist {1}")]
    NoPlaylist(ChannelId, ChannelName),
    /// Nothing was pushed in the time that was asked for.
    #[error("nothing was pushed to channel {0} in that time")]
    Nothing(ChannelId),
    /// The time that was asked for cannot be served.
    #[error("the range is not good: {0}")]
    Range(&'static str),
    /// A right is missing.
    #[error("{0}")]
    Denied(#[from] Denied),
    /// The catalog failed.
    #[error("{0}")]
    Catalog(Arc<Error>),
    /// The store failed.
    #[error("{0}")]
    Store(#[from] store::Error),
}

impl From<Error> for Lookup {
    fn from(error: Error) -> Self {
        match error {
            Error::NoChannel(channel) => Self::NoChannel(channel),
            Error::NoRange(_, channel, name) => match name.parse() {
                Ok(name) => Self::NoPlaylist(channel, name),
                Err(_) => Self::NoChannel(channel),
            },
            Error::Denied(denied) => Self::Denied(denied),
            Error::Store(error) => Self::Store(error),
            error => Self::Catalog(Arc::new(error)),
        }
    }
}

/// Why control did not do what it was asked.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// There is no such channel.
    #[error("there is no channel {0}")]
    NoChannel(ChannelId),
    /// The channel has no such clip or hold.
    #[error("channel {1} has no {0} {2:?}")]
    NoRange(RangeKind, ChannelId, String),
    /// There is no such API token.
    #[error("there is no API token {0:?}")]
    NoToken(String),
    /// A value is outside its limits.
    #[error("{0}")]
    Invalid(String),
    /// It is being pushed to, and that was not to be ended.
    #[error("channel {0} is live")]
    Live(ChannelId),
    /// Nobody pushes to it.
    #[error("nobody publishes to channel {0}")]
    NotLive(ChannelId),
    /// A right is missing.
    #[error(transparent)]
    Denied(Denied),
    /// The catalog failed.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The store failed.
    #[error(transparent)]
    Store(#[from] store::Error),
    /// The index of a recording cannot be written.
    #[error("cannot write {object}: {source}")]
    Index {
        /// Its name.
        object: String,
        /// Why.
        source: std::io::Error,
    },
    /// A line of an index cannot be written.
    #[error(transparent)]
    Write(#[from] store::disk::WriteError),
    /// The index of a recording cannot be added to in this moment.
    #[error("recording {0} is just leaving the spool")]
    Leaving(RecordingKey),
}

impl Control {
    /// Serves and fills `store`, which is what `disk` writes, by way of its spool if it has one, and
    /// keeps its books in `catalog`.
    pub async fn open(
        settings: Settings,
        store: Store,
        disk: Disk,
        catalog: Catalog,
    ) -> Result<Self, Error> {
        let secret = signing_secret(&catalog).await?;
        let wrong = || catalog::Error::Row("the secret by which URLs are signed".to_owned());
        let auth = Auth::new(settings.publish, &secret).ok_or_else(wrong)?;
        let (backlog, writing) = Backlog::start(catalog.clone());
        let spool = disk.spool().cloned();
        let segments = match spool {
            Some(_) => store.behind(disk.root())?,
            None => store.clone(),
        };
        Ok(Self(Arc::new(Inner {
            archive: Archive::new(store.clone(), spool, &settings),
            names: retention::Names::default(),
            store,
            urls: OnceLock::new(),
            cache: SegmentCache::new(settings.cache_bytes),
            registry: Registry::default(),
            memory: Memory::new(),
            callers: Cache::new(CALLERS),
            events: Events::new(),
            restoring: Mutex::default(),
            writing: Mutex::new(Some(writing)),
            settings,
            segments,
            disk,
            catalog,
            backlog,
            auth,
        })))
    }

    /// What writes segments.
    pub fn disk(&self) -> &Disk {
        &self.0.disk
    }

    /// What happened lately.
    pub fn events(&self) -> &Events {
        &self.0.events
    }

    /// Name of this server in the history.
    pub fn node(&self) -> &str {
        &self.0.settings.node
    }

    /// The time by which credentials expire, in milliseconds since the Unix epoch.
    pub fn now_ms(&self) -> i64 {
        crate::clock::now().unix_ms()
    }

    /// How the catalog is.
    pub fn catalog_health(&self) -> Health {
        self.0.backlog.health()
    }

    /// Begins a session of a channel, as soon as a predecessor that is taken over has let go.
    pub async fn claim(&self, grant: &Grant, publisher: &Publisher) -> Result<Claim, Refused> {
        let claim = self.0.registry.claim(self, grant, publisher).await?;
        let id = grant.channel();
        // It may have been disabled since the grant, before there was a session to be told.
        if let Ok(known) = self.known(id).await
            && !known.is_none_or(|known| known.channel.settings.enabled)
        {
            return Err(Refused::Disabled(id.clone()));
        }
        self.forget(id);
        Ok(claim)
    }

    /// A recording of an earlier process, as its index tells it, waits `left` for its publisher.
    pub async fn take_up(
        &self,
        key: RecordingKey,
        index: &Index,
        left: Duration,
    ) -> Result<(), Error> {
        let channel = self.channel_or_default(&key.channel).await?;
        let recording = Recording::from_index(key, self.window_of(&channel), index);
        self.0.registry.take_up(self, channel, recording, left);
        Ok(())
    }

    /// How long an ended push of a channel may be taken up again.
    pub async fn reconnect_window(&self, channel: &ChannelId) -> Result<Duration, Error> {
        let channel = self.channel_or_default(channel).await?;
        Ok(self.reconnect_window_of(&channel))
    }

    /// What the publisher of a channel does at this moment; `None` if nobody publishes.
    pub fn live_status(&self, channel: &ChannelId) -> Option<LiveStatus> {
        self.0.registry.status(channel)
    }

    /// Somebody asked for a playlist of a channel; `viewer` tells them apart.
    pub fn viewed(&self, channel: &ChannelId, viewer: u64) {
        self.0.registry.viewed(channel, viewer);
    }

    /// Waits until what running pushes had to tell is in the catalog, at most for `limit`; false if
    /// rows are left: the recordings' own indexes have them.
    pub async fn settle(&self, limit: Duration) -> bool {
        let writing = self.0.writing.lock();
        let writing = writing.unwrap_or_else(PoisonError::into_inner).take();
        let Some(writing) = writing else { return true };
        let written = async {
            while self.0.backlog.health().waiting > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let settled = tokio::time::timeout(limit, written).await.is_ok();
        writing.abort();
        settled
    }

    /// Ends all sessions and refuses new ones: from now on the server is draining.
    pub fn stop(&self) {
        self.0.registry.stop();
    }

    /// Ends the recordings that wait for their publishers to come back.
    pub async fn end_recordings(&self) {
        self.0.registry.end_all(self).await;
    }

    /// Tells the metrics what is so at this moment. Call it when somebody is about to read them.
    pub fn measure(&self) {
        metrics::PUBLISHERS.set(self.0.registry.live_names().len() as f64);
        metrics::CACHE_BYTES.set(self.0.cache.weight() as f64);
        metrics::PLAYLIST_BYTES.set(self.0.archive.bytes() as f64);
        let catalog = self.catalog_health();
        metrics::CATALOG_ROWS.set(catalog.waiting as f64);
        metrics::CATALOG_REFUSED.raise_to(catalog.refused);
        self.0.disk.measure();
    }

    /// The playlist that `path` names.
    pub async fn document(&self, path: &MediaPath) -> Result<Document, Lookup> {
        let (channel, key) = match path {
            MediaPath::Index(channel) => (channel, None),
            MediaPath::Clip(channel, name) => {
                let clip = self.range(RangeKind::Clip, channel, name).await?;
                return self.range_document(channel, clip.range).await;
            }
            MediaPath::Named(channel, name) => {
                let known = self.channel(channel).await?;
                if known.settings.playlist_name.as_deref() != Some(name.as_str()) {
                    return Err(Lookup::NoPlaylist(channel.clone(), name.clone()));
                }
                let index = MediaPath::Index(channel.clone());
                return Box::pin(self.document(&index)).await;
            }
            MediaPath::Media(key) | MediaPath::Vod(key) | MediaPath::Segment(key, ..) => {
                (&key.channel, Some(key))
            }
        };
        let not_yet = || Lookup::NotYet(channel.clone());
        let making = self.0.registry.recording(channel);
        let making = making.filter(|making| key.is_none_or(|key| key == making.key()));
        // Until a push has its first segment, the recording before it is the newest to play.
        let begun = making.as_ref().map(|making| making.key().clone());
        let making = making.filter(|making| key.is_some() || making.index().is_some());
        if let Some(making) = making {
            let document = match path {
                MediaPath::Index(_) | MediaPath::Named(..) | MediaPath::Clip(..) => making.index(),
                MediaPath::Vod(key) => self.0.archive.growing(key).await?,
                MediaPath::Media(_) | MediaPath::Segment(..) => making.media(),
            };
            return document.ok_or_else(not_yet);
        }
        let newest;
        let key = match key {
            Some(key) => key,
            None => {
                newest = self.0.archive.newest(channel, begun.as_ref()).await?;
                newest.as_ref().ok_or_else(|| match begun {
                    Some(_) => not_yet(),
                    None => Lookup::Never(channel.clone()),
                })?
            }
        };
        let archived = self.0.archive.recording(key).await?;
        let archived = archived.ok_or_else(|| Lookup::NoRecording(key.clone()))?;
        Ok(match path {
            MediaPath::Index(_) | MediaPath::Named(..) | MediaPath::Clip(..) => {
                archived.index.clone()
            }
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

    fn settings(&self) -> &Settings {
        &self.0.settings
    }

    fn archive(&self) -> &Archive {
        &self.0.archive
    }

    /// Segments in the live playlist of a channel.
    fn window_of(&self, channel: &Channel) -> usize {
        let window = channel.settings.window;
        let window = window.and_then(|window| usize::try_from(window).ok());
        window.unwrap_or(self.0.settings.window_segments)
    }

    /// The same of a channel that may have changed since its push began: the larger counts.
    fn window_of_name(&self, channel: &ChannelId) -> usize {
        let own = self
            .live_settings(channel)
            .map(|channel| self.window_of(&channel));
        own.unwrap_or(0).max(self.0.settings.window_segments)
    }

    fn reconnect_window_of(&self, channel: &Channel) -> Duration {
        let window = channel.settings.reconnect_window_ms;
        let window = window.map(|ms| Duration::from_millis(ms.into()));
        window.unwrap_or(self.0.settings.reconnect_window)
    }

    fn catalog(&self) -> &Catalog {
        &self.0.catalog
    }

    fn backlog(&self) -> &Backlog {
        &self.0.backlog
    }

    fn store(&self) -> &Store {
        &self.0.store
    }

    /// Who changes clips and holds, and who lets segments expire, take turns.
    fn names(&self) -> &retention::Names {
        &self.0.names
    }

    fn auth(&self) -> &Auth {
        &self.0.auth
    }

    fn memory(&self) -> &Memory {
        &self.0.memory
    }

    fn callers(&self) -> &Cache<String, (Instant, Token)> {
        &self.0.callers
    }

    /// The settings of a channel that is live or may be again: known without asking anybody.
    fn live_settings(&self, channel: &ChannelId) -> Option<Arc<Channel>> {
        self.0.registry.channel(channel)
    }

    fn forget(&self, channel: &ChannelId) {
        self.0.archive.forget(channel);
    }
}

/// The secret that URLs are signed by, made when the catalog has none.
async fn signing_secret(catalog: &Catalog) -> Result<String, catalog::Error> {
    loop {
        if let Some(row) = catalog.credential(SECRET, URLS).await? {
            return Ok(row.secret);
        }
        let row = CredentialRow {
            kind: SECRET.to_owned(),
            id: URLS.to_owned(),
            secret: Auth::new_secret(),
            about: "{}".to_owned(),
            created_ms: crate::clock::now().unix_ms(),
        };
        // Another node may be first: then that one's is read.
        catalog.add_credential(&row).await?;
    }
}

/// The JSON of a value of ours: none of them has a map with keys other than text, so there always is one.
fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).unwrap_or_default()
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

#[cfg(test)]
mod tests;
