//! Recordings that are over, read from the store: which is a channel's newest, and its playlists.
//!
//! What was read is kept, bounded by bytes; many readers of one recording cause one reading.

mod growing;

use super::Settings;
use super::journal::Index;
use super::recording::{Recent, Recording};
use crate::clock;
use crate::id::{ChannelId, RecordingId};
use crate::key::RecordingKey;
use crate::playlist::{Document, Freshness, vod};
use crate::store::{self, Spool, Store};
use bytes::Bytes;
use growing::Growing;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// Memory for whole playlists of recordings that still grow, and as much for recordings in the spool.
pub const GROWING_BYTES: u64 = 16 << 20;
/// What one is expected to take; only sizes the tables.
const PLAYLIST_BYTES_TYPICAL: u64 = 32 << 10;
/// Channels whose newest recording is remembered.
const CHANNELS: usize = 10_000;
/// How long "there is no recording" and "this is the newest" are believed. A push of this process
/// is known at once; this is for what others do to the store, and against storms of questions.
const BELIEVED: Duration = Duration::from_secs(2);
/// Folders that are looked at for a channel's newest recording: a push without a single segment
/// leaves none, so this is reached by broken stores only.
const FOLDERS_MAX: usize = 16;

/// The recordings in a store.
pub(super) struct Archive {
    store: Store,
    spool: Option<Spool>,
    window_segments: usize,
    recordings: Cache<RecordingKey, Arc<Archived>, ByText>,
    /// Recordings that are over and have not left the spool.
    spooled: Growing<Arc<Archived>>,
    /// The whole playlists of recordings that are being made.
    growing: Growing<Document>,
    newest: Cache<ChannelId, (Instant, Option<RecordingKey>)>,
}

/// The playlists of a recording that is over.
pub(super) struct Archived {
    pub(super) index: Document,
    pub(super) media: Document,
    pub(super) vod: Document,
    pub(super) recent: Recent,
}

/// Why there is nothing to keep.
#[derive(Debug)]
enum Miss {
    NotThere,
    Store(store::Error),
}

impl From<store::Error> for Miss {
    fn from(error: store::Error) -> Self {
        Self::Store(error)
    }
}

#[derive(Clone)]
struct ByText;

impl Weighter<RecordingKey, Arc<Archived>> for ByText {
    fn weight(&self, _: &RecordingKey, archived: &Arc<Archived>) -> u64 {
        archived.bytes()
    }
}

/// How much memory something takes.
trait Weigh {
    fn bytes(&self) -> u64;
}

impl Weigh for Document {
    fn bytes(&self) -> u64 {
        const OVERHEAD: u64 = 256;
        // A text may come to be held compressed as well.
        OVERHEAD + 2 * self.text().len() as u64
    }
}

impl Weigh for Arc<Archived> {
    fn bytes(&self) -> u64 {
        self.index.bytes() + self.vod.bytes() + self.media.bytes()
    }
}

impl Archive {
    pub(super) fn new(store: Store, spool: Option<Spool>, settings: &Settings) -> Self {
        let bytes = settings.playlist_bytes;
        let typical = usize::try_from(bytes / PLAYLIST_BYTES_TYPICAL).unwrap_or(CHANNELS);
        Self {
            store,
            spool,
            window_segments: settings.window_segments,
            recordings: Cache::with_weighter(typical, bytes, ByText),
            spooled: Growing::new(GROWING_BYTES),
            growing: Growing::new(GROWING_BYTES),
            newest: Cache::new(CHANNELS),
        }
    }

    /// Memory that playlists of ended recordings take, as it is counted against its limit.
    pub(super) fn bytes(&self) -> u64 {
        self.recordings.weight()
    }

    /// The playlists of a recording that is not being made; `None` if there is no such recording.
    pub(super) async fn recording(
        &self,
        key: &RecordingKey,
    ) -> Result<Option<Arc<Archived>>, store::Error> {
        if let Some(spooled) = self.unconfirmed(key).await? {
            return Ok(Some(spooled));
        }
        let read = async { self.read(key).await?.ok_or(Miss::NotThere) };
        match self.recordings.get_or_insert_async(key, read).await {
            Ok(archived) => Ok(Some(archived)),
            // Not kept: a recording that begins now is there in a moment.
            Err(Miss::NotThere) => Ok(None),
            Err(Miss::Store(error)) => Err(error),
        }
    }

    /// The index of a recording that has not left the spool, and how much of it is confirmed.
    async fn in_spool(&self, key: &RecordingKey) -> Option<(Bytes, usize)> {
        let found = self.spool.as_ref()?.index(key).await;
        found
            .inspect_err(|error| tracing::error!(recording = %key, %error, "its index cannot be read in the spool"))
            .ok()
            .flatten()
    }

    /// A recording that is over and not yet confirmed: its last live playlist stands, and the whole
    /// one still grows. `None` if it is not in the spool.
    async fn unconfirmed(&self, key: &RecordingKey) -> Result<Option<Arc<Archived>>, store::Error> {
        if self.spool.is_none() {
            return Ok(None);
        }
        let window_segments = self.window_segments;
        let of = key.clone();
        let render = move |text: Bytes, confirmed| {
            let recording = Recording::from_index(of, window_segments, &Index::parse(&text));
            Some(Arc::new(Archived {
                index: recording.index()?,
                media: recording.media()?,
                recent: recording.recent()?,
                vod: event(text.get(..confirmed).unwrap_or_default()),
            }))
        };
        let index = async { Ok(self.in_spool(key).await) };
        self.spooled.get(key, index, render).await
    }

    /// The whole index of a recording, and the length up to which the store has confirmed it: the
    /// spool's, which knows more, before the store's.
    pub(super) async fn index(
        &self,
        key: &RecordingKey,
    ) -> Result<Option<(Bytes, usize)>, store::Error> {
        if let Some(known) = self.in_spool(key).await {
            return Ok(Some(known));
        }
        let text = found(self.store.get(&key.journal()).await)?;
        Ok(text.map(|text| {
            let confirmed = text.len();
            (text, confirmed)
        }))
    }

    /// The whole playlist of a recording that is still being made, as its index tells it now.
    pub(super) async fn growing(
        &self,
        key: &RecordingKey,
    ) -> Result<Option<Document>, store::Error> {
        let render = |text: Bytes, confirmed| {
            let text = text.get(..confirmed).unwrap_or_default();
            let is_segment = |line: &[u8]| line.starts_with(b"{\"segment\"");
            let any = text.split(|byte| *byte == b'\n').any(is_segment);
            any.then(|| event(text))
        };
        self.growing.get(key, self.index(key), render).await
    }

    /// The newest recording of a channel that has segments, beside the one that is being `made`:
    /// its index may have lines already, and is not to be taken for that of one that is over.
    pub(super) async fn newest(
        &self,
        channel: &ChannelId,
        made: Option<&RecordingKey>,
    ) -> Result<Option<RecordingKey>, store::Error> {
        let now = clock::monotonic();
        if let Some((at, known)) = self.newest.get(channel)
            && now.saturating_duration_since(at) < BELIEVED
        {
            return Ok(known);
        }
        let found = self.find_newest(channel, made).await?;
        self.newest.insert(channel.clone(), (now, found.clone()));
        Ok(found)
    }

    /// A recording of this channel has changed or ended.
    pub(super) fn forget(&self, channel: &ChannelId) {
        self.newest.remove(channel);
    }

    /// A recording has lost segments.
    pub(super) fn forget_recording(&self, key: &RecordingKey) {
        self.recordings.remove(key);
        self.spooled.forget(key);
        self.growing.forget(key);
        self.forget(&key.channel);
    }

    async fn find_newest(
        &self,
        channel: &ChannelId,
        made: Option<&RecordingKey>,
    ) -> Result<Option<RecordingKey>, store::Error> {
        let known = self.of_channel(channel).await?;
        for key in known.into_iter().rev().take(FOLDERS_MAX) {
            if made != Some(&key) && self.recording(&key).await?.is_some() {
                return Ok(Some(key));
            }
        }
        Ok(None)
    }

    /// Where the recordings live.
    pub(super) fn store(&self) -> &Store {
        &self.store
    }

    /// The recordings of a channel that have a folder in the store or in the spool, oldest first.
    pub(super) async fn of_channel(
        &self,
        channel: &ChannelId,
    ) -> Result<Vec<RecordingKey>, store::Error> {
        let spooled = self.spool.as_ref().map(|spool| spool.recordings(channel));
        let spooled = spooled.unwrap_or_default();
        let mut ids: Vec<_> = spooled.into_iter().map(|key| key.recording).collect();
        match self.store.list_folders(&channel.to_string()).await {
            Ok(folders) => ids.extend(
                folders
                    .iter()
                    .filter_map(|folder| folder.rsplit('/').next()?.parse::<RecordingId>().ok()),
            ),
            // What waits in the spool is newer than nearly everything that does not.
            Err(error) if !ids.is_empty() => {
                tracing::warn!(%channel, %error, "recordings in the store cannot be listed");
            }
            Err(error) => return Err(error),
        }
        ids.sort_unstable();
        ids.dedup();
        let key = |recording| RecordingKey {
            channel: channel.clone(),
            recording,
        };
        Ok(ids.into_iter().map(key).collect())
    }

    async fn read(&self, key: &RecordingKey) -> Result<Option<Arc<Archived>>, store::Error> {
        let Some(text) = found(self.store.get(&key.journal()).await)? else {
            return Ok(None);
        };
        let key = key.clone();
        let window_segments = self.window_segments;
        Ok(off_thread(move || {
            let mut index = Index::parse(&text);
            // A recording that a crash cut off has no end in its index; it is over all the same.
            index.ended = true;
            let recording = Recording::from_index(key, window_segments, &index);
            let vod = vod::render(
                index.target_duration_s,
                index.discontinuities(),
                &index.segments,
                true,
            );
            Some(Arc::new(Archived {
                index: recording.index()?,
                media: recording.media()?,
                recent: recording.recent()?,
                vod: Document::new(vod, Freshness::Settled),
            }))
        })
        .await)
    }
}

/// The whole playlist of a recording that may grow.
fn event(index: &[u8]) -> Document {
    let index = Index::parse(index);
    let max_age_s = index.target_duration_s / 2;
    let text = vod::render(
        index.target_duration_s,
        index.discontinuities(),
        &index.segments,
        false,
    );
    Document::new(text, Freshness::Live { max_age_s })
}

fn found<T>(result: Result<T, store::Error>) -> Result<Option<T>, store::Error> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(store::Error::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    }
}

/// Renders where it may take its time: a day's playlist takes tens of milliseconds.
async fn off_thread<T: Send + 'static>(
    render: impl FnOnce() -> Option<T> + Send + 'static,
) -> Option<T> {
    tokio::task::spawn_blocking(render).await.ok().flatten()
}
