//! Local files that a remote store has not confirmed yet, and their way there.
//!
//! Segments are written into the spool as into a local store: parts, name, line in the recording's
//! index. From there each recording has one task that uploads its segments, a few at a time, and
//! confirms them in their order, however the uploads finish. Data, then index, then news: a segment
//! is in the store before anybody is told of it (a [`Follower`]), before the index in the store speaks
//! of it, and before the playlists there name it. An upload is tried until it is confirmed; one
//! recording's failures hold back no other.
//!
//! A confirmed segment is marked read-only, so that a restart does not upload it again, and stays
//! for a while: live viewers are served from here even while the store is down. A recording that is
//! over and confirmed leaves nothing behind, once what was told of it is safe elsewhere.
//!
//! What waits is bounded by the spool's limit on disk and by a few dozen bytes a segment in memory.

mod fence;
mod local;
mod pause;
mod shipping;

use super::Store;
use super::disk::Spares;
use crate::clock;
use crate::key::{MediaPath, RecordingKey};
use crate::metrics;
use bytes::Bytes;
use futures_util::future::BoxFuture;
use local::{end_before, find_indexes, unconfirmed};
use shipping::Shipping;
use std::collections::{HashMap, VecDeque};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::{Notify, Semaphore};

/// From this share of the limit on new publishes are refused, so that running ones have room.
const REFUSE_AT_PERCENT: u64 = 90;
/// From this share of the limit on the log says so.
const WARN_AT_PERCENT: u64 = 50;
/// Such lines, and those of failures, come at most this often.
const WARN_INTERVAL: Duration = Duration::from_secs(30);

/// How often a stop looks whether all is uploaded.
const SETTLE_PAUSE: Duration = Duration::from_millis(50);

/// What the configuration says.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes on disk.
    pub limit: u64,
    /// Uploads at a time, of all recordings.
    pub uploads: usize,
    /// First pause after a failed upload; doubles with each further one.
    pub pause: Duration,
    /// The index of a running recording is rewritten at most this often.
    pub index_interval: Duration,
}

/// An object that is written for viewers, made from an index.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Published {
    /// Its name.
    pub object: String,
    /// Its text.
    pub text: Bytes,
    /// Seconds for which caches may keep it.
    pub max_age_s: u32,
}

/// Who is told what the store has confirmed of one recording, and makes its playlists.
pub trait Follower: Send + Sync {
    /// Lines that were added to the index and are confirmed. Those that are not `fresh` were
    /// confirmed to an earlier process already.
    fn extend(&mut self, lines: &[u8], fresh: bool);
    /// The playlists of a recording that goes on, those that are worth a write.
    fn current(&mut self) -> Vec<Published>;
    /// The playlists of a recording that is over, from its whole index.
    fn settled(&mut self, index: &[u8]) -> Vec<Published>;
    /// The index as the store keeps it, without what nobody needs any more, and the number of its first
    /// segment that has not expired.
    fn index(&self, text: Vec<u8>) -> (Vec<u8>, u64);
    /// Whether `theirs`, which the store has under the name of `ours`, a playlist or an index, is ahead
    /// of it: then `ours` is not written.
    fn is_behind(&self, ours: &Published, theirs: &[u8]) -> bool;
    /// Confirmed segments of a running recording that stay for live viewers.
    fn keep(&self) -> usize;
    /// Ends when all that was told can be told by others too: then the spool may forget it.
    fn safe(&self) -> BoxFuture<'static, ()>;
}

/// Makes the [`Follower`] of a recording.
pub type Followers =
    Box<dyn Fn(&RecordingKey) -> BoxFuture<'static, Box<dyn Follower>> + Send + Sync>;
/// Numbers of the segments in an index, each with the length of the index up to its line's end.
pub type Ends = fn(&[u8]) -> Vec<(u64, u64)>;

/// The spool. Cheap to clone.
#[derive(Clone)]
pub struct Spool(Arc<Inner>);

struct Inner {
    root: PathBuf,
    store: Store,
    settings: Settings,
    followers: OnceLock<Followers>,
    /// Where files go that are not needed here any more.
    spares: OnceLock<Arc<Spares>>,
    /// Recordings that an earlier process left.
    resumed: OnceLock<Vec<RecordingKey>>,
    /// Whether the store knows conditions, as far as it has been asked.
    conditional: AtomicBool,
    runtime: tokio::runtime::Handle,
    uploads: Semaphore,
    used: AtomicU64,
    /// Requests that failed.
    failures: AtomicU64,
    warned_of_failure: Mutex<Option<Instant>>,
    warned_of_filling: Mutex<Option<Instant>>,
    shipments: Mutex<HashMap<String, Arc<Shipment>>>,
    /// Told when a shipment has left.
    left: Notify,
}

/// A recording in the spool.
#[derive(Debug)]
struct Shipment {
    key: RecordingKey,
    state: Mutex<State>,
    wake: Notify,
}

#[derive(Debug, Default)]
struct State {
    /// Segments that are not confirmed, in order.
    queue: VecDeque<Item>,
    /// For so many of them uploads have begun.
    begun: usize,
    /// Length of the index in the spool.
    index_len: u64,
    /// Length of the index up to which everything is confirmed.
    confirmed_len: u64,
    /// Length of the index up to which everything was confirmed to an earlier process; 0 if this
    /// one has begun the recording.
    resumed_len: u64,
    /// Whether an earlier process has written objects of this recording.
    resumed: bool,
    /// Confirmed segments that are still here.
    kept: VecDeque<Item>,
    /// Nothing follows.
    ended: bool,
    /// Those who add to its index and are not to find it gone.
    stays: usize,
    /// Its last objects are being written: nothing is added to its index any more.
    leaving: bool,
    /// By the index in the store segments before this number have expired, as far as this process knows.
    indexed_before: u64,
    /// Somebody waits for the index in the store.
    index_wanted: bool,
}

/// Whether a recording is in the spool.
#[derive(Debug)]
pub enum Presence {
    /// It is, and does not leave while somebody has this.
    Here(Stay),
    /// All of it is confirmed, and what is written of it last is on its way.
    Leaving,
    /// The store alone has it.
    Gone,
}

/// As long as this is there, a recording stays in the spool.
#[derive(Debug)]
pub struct Stay(Arc<Shipment>);

impl Drop for Stay {
    fn drop(&mut self) {
        self.0.lock().stays -= 1;
        self.0.wake.notify_one();
    }
}

#[derive(Clone, Debug)]
struct Item {
    object: String,
    size: u64,
    /// Length of the index that speaks of it; 0 if it does not yet.
    index_len: u64,
    /// When it was finished, in milliseconds since the Unix epoch.
    since_ms: i64,
}

impl Item {
    /// Its media sequence number.
    fn number(&self) -> Option<u64> {
        match MediaPath::parse(&self.object) {
            Some(MediaPath::Segment(_, number, _)) => Some(number),
            _ => None,
        }
    }
}

impl Spool {
    /// A spool in `root` for `store`; belongs to the runtime that it is made in.
    pub fn new(root: &Path, store: Store, settings: Settings) -> Self {
        Self(Arc::new(Inner {
            root: root.to_owned(),
            store,
            settings,
            followers: OnceLock::new(),
            spares: OnceLock::new(),
            resumed: OnceLock::new(),
            conditional: AtomicBool::new(true),
            runtime: tokio::runtime::Handle::current(),
            uploads: Semaphore::new(settings.uploads),
            used: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            warned_of_failure: Mutex::new(None),
            warned_of_filling: Mutex::new(None),
            shipments: Mutex::default(),
            left: Notify::new(),
        }))
    }

    /// From now on these are told what is confirmed. Call it before anything is written; once.
    pub fn follow(&self, followers: Followers) {
        // A second call changes nothing.
        let _ = self.0.followers.set(followers);
    }

    /// From now on files that are not needed any more are written over. Once.
    pub(super) fn recycle(&self, spares: Arc<Spares>) {
        // A second call changes nothing.
        let _ = self.0.spares.set(spares);
    }

    /// Takes up what an earlier process left. `is_open` says whether a recording may go on.
    pub fn resume(&self, is_open: impl Fn(&RecordingKey) -> bool, ends: Ends) -> io::Result<()> {
        let indexes = find_indexes(&self.0.root)?;
        let keys: Vec<_> = { indexes.iter() }
            .filter_map(|index| RecordingKey::of_journal(index))
            .collect();
        // It is called once.
        let _ = self.0.resumed.set(keys.clone());
        for key in keys {
            let text = fs::read(self.0.root.join(key.journal()))?;
            let (queue, kept, size) = unconfirmed(&self.0.root, &key, &text, ends)?;
            self.0.used.fetch_add(size, Ordering::Relaxed);
            let confirmed_len = match queue.front() {
                None => text.len() as u64,
                Some(first) => end_before(&ends(&text), first),
            };
            tracing::info!(recording = %key, segments = queue.len(), bytes = size, "uploads are taken up again");
            let state = State {
                queue,
                begun: 0,
                index_len: text.len() as u64,
                confirmed_len,
                resumed_len: confirmed_len,
                resumed: true,
                kept,
                ended: !is_open(&key),
                ..State::default()
            };
            // Locked before its task begins, which takes it off the list in the end.
            let mut shipments = self.0.shipments();
            shipments.insert(key.folder(), self.ship(&key, state));
        }
        Ok(())
    }

    /// Whether there is no room for another publisher.
    pub fn refuses(&self) -> bool {
        self.share() >= REFUSE_AT_PERCENT
    }

    /// Bytes on disk.
    pub fn used(&self) -> u64 {
        self.0.used.load(Ordering::Relaxed)
    }

    /// The index of a recording that has not left the spool, and how much of it is confirmed.
    pub async fn index(&self, key: &RecordingKey) -> io::Result<Option<(Bytes, usize)>> {
        let Some(shipment) = self.0.shipments().get(&key.folder()).cloned() else {
            return Ok(None);
        };
        let confirmed = usize::try_from(shipment.lock().confirmed_len).unwrap_or(usize::MAX);
        let path = self.0.root.join(key.journal());
        match blocking(move || fs::read(path)).await {
            Ok(text) => {
                let confirmed = confirmed.min(text.len());
                Ok(Some((text.into(), confirmed)))
            }
            // It left in this moment.
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The first segment of a recording that the store has not confirmed, if there is one; `None` if
    /// the recording has left the spool.
    pub fn unconfirmed(&self, key: &RecordingKey) -> Option<Option<u64>> {
        let shipment = self.0.shipments().get(&key.folder()).cloned()?;
        let state = shipment.lock();
        Some(state.queue.front().and_then(Item::number))
    }

    /// Whether a recording is here. Who adds to its index holds on to it meanwhile.
    pub fn presence(&self, key: &RecordingKey) -> Presence {
        let Some(shipment) = self.0.shipments().get(&key.folder()).cloned() else {
            return Presence::Gone;
        };
        let mut state = shipment.lock();
        if state.leaving {
            return Presence::Leaving;
        }
        state.stays += 1;
        drop(state);
        Presence::Here(Stay(shipment))
    }

    /// Whether a recording is all confirmed, and only its last objects are on their way.
    pub fn is_leaving(&self, key: &RecordingKey) -> bool {
        let shipment = self.0.shipments().get(&key.folder()).cloned();
        shipment.is_some_and(|shipment| shipment.lock().leaving)
    }

    /// Whether the store's own index says that segments before this number have expired; if not, it
    /// will soon. Of a recording that is not here whoever asks can tell himself.
    pub fn has_indexed(&self, key: &RecordingKey, before: u64) -> bool {
        let Some(shipment) = self.0.shipments().get(&key.folder()).cloned() else {
            return true;
        };
        let mut state = shipment.lock();
        let has = state.indexed_before >= before;
        if !has && !state.index_wanted {
            state.index_wanted = true;
            shipment.wake.notify_one();
        }
        has
    }

    /// The index of a running recording is rewritten in the store at most this often.
    pub fn index_interval(&self) -> Duration {
        self.0.settings.index_interval
    }

    /// The first segment of a recording that is still here, confirmed or not, if there is one; `None`
    /// if the recording has left the spool.
    pub fn first(&self, key: &RecordingKey) -> Option<Option<u64>> {
        let shipment = self.0.shipments().get(&key.folder()).cloned()?;
        let state = shipment.lock();
        let first = state.kept.front().or_else(|| state.queue.front());
        Some(first.and_then(Item::number))
    }

    /// The recordings of a channel that have not left the spool.
    pub fn recordings(&self, channel: &crate::id::ChannelId) -> Vec<RecordingKey> {
        let shipments = self.0.shipments();
        let keys = shipments.values().map(|shipment| &shipment.key);
        keys.filter(|key| key.channel == *channel)
            .cloned()
            .collect()
    }

    /// The recordings that an earlier process left, those that have left meanwhile too.
    pub fn resumed(&self) -> Vec<RecordingKey> {
        self.0.resumed.get().cloned().unwrap_or_default()
    }

    /// Waits until everything is confirmed and every recording has left.
    pub async fn drain(&self) {
        loop {
            let left = self.0.left.notified();
            if self.0.shipments().is_empty() {
                return;
            }
            left.await;
        }
    }

    /// How much of the room is used, in percent, if that is worth a warning.
    pub fn is_filling(&self) -> Option<u64> {
        Some(self.share()).filter(|share| *share >= WARN_AT_PERCENT)
    }

    /// Waits until no segment waits for its upload. What can still change, such as the index of a
    /// recording that is not over, may be left.
    pub async fn settle(&self) {
        let is_quiet = || {
            let idle = self.0.uploads.available_permits() >= self.0.settings.uploads;
            let shipments = self.0.shipments();
            idle && shipments.values().all(|one| one.lock().queue.is_empty())
        };
        while !is_quiet() {
            tokio::time::sleep(SETTLE_PAUSE).await;
        }
    }

    /// Tells the metrics what is in it.
    pub fn measure(&self) {
        let now_ms = clock::now().unix_ms();
        let (mut segments, mut oldest_ms) = (0, now_ms);
        for shipment in self.0.shipments().values() {
            let state = shipment.lock();
            segments += state.queue.len();
            oldest_ms = oldest_ms.min(state.queue.front().map_or(now_ms, |item| item.since_ms));
        }
        metrics::SPOOL_BYTES.set(self.used() as f64);
        metrics::SPOOL_LIMIT.set(self.0.settings.limit as f64);
        metrics::SPOOL_SEGMENTS.set(segments as f64);
        metrics::SPOOL_AGE.set((now_ms - oldest_ms) as f64 / 1000.0);
    }

    fn share(&self) -> u64 {
        self.used().saturating_mul(100) / self.0.settings.limit.max(1)
    }

    /// Whether a segment may be written. Called by the threads that write files.
    pub(super) fn has_room(&self) -> bool {
        self.used() < self.0.settings.limit
    }

    /// Bytes were written.
    pub(super) fn grew(&self, bytes: u64) {
        self.0.used.fetch_add(bytes, Ordering::Relaxed);
    }

    /// Bytes were removed.
    pub(super) fn shrank(&self, bytes: u64) {
        let less = |used: u64| Some(used.saturating_sub(bytes));
        let _ = self
            .0
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// The index has grown to `index_len`.
    pub(super) fn noted(&self, index: &str, index_len: u64) {
        if let Some(key) = RecordingKey::of_journal(index) {
            let shipment = self.shipment(&key);
            shipment.lock().index_len = index_len;
            shipment.wake.notify_one();
        }
    }

    /// A segment has its name, and its line if there is an `index_len`.
    pub(super) fn stored(&self, object: String, size: u64, index: &str, index_len: Option<u64>) {
        let Some(key) = RecordingKey::of_journal(index) else {
            return;
        };
        let shipment = self.shipment(&key);
        let mut state = shipment.lock();
        state.index_len = index_len.unwrap_or(state.index_len);
        state.queue.push_back(Item {
            object,
            size,
            index_len: index_len.unwrap_or(0),
            since_ms: clock::now().unix_ms(),
        });
        drop(state);
        shipment.wake.notify_one();
        self.warn_if_filling();
    }

    /// Nothing will be added to the recording.
    pub(super) fn ended(&self, index: &str) {
        if let Some(key) = RecordingKey::of_journal(index) {
            let shipment = self.shipment(&key);
            shipment.lock().ended = true;
            shipment.wake.notify_one();
        }
    }

    fn shipment(&self, key: &RecordingKey) -> Arc<Shipment> {
        let mut shipments = self.0.shipments();
        let folder = key.folder();
        if let Some(known) = shipments.get(&folder) {
            return known.clone();
        }
        let shipment = self.ship(key, State::default());
        shipments.insert(folder, shipment.clone());
        shipment
    }

    fn ship(&self, key: &RecordingKey, state: State) -> Arc<Shipment> {
        let shipment = Arc::new(Shipment {
            key: key.clone(),
            state: Mutex::new(state),
            wake: Notify::new(),
        });
        let shipping = Shipping::new(self.clone(), shipment.clone());
        self.0.runtime.spawn(shipping.run());
        shipment
    }

    fn warn_if_filling(&self) {
        let share = self.share();
        if share < WARN_AT_PERCENT {
            return;
        }
        if self.0.may_warn(&self.0.warned_of_filling) {
            tracing::warn!(
                percent = share,
                bytes = self.used(),
                "the store is behind and the spool fills; at {REFUSE_AT_PERCENT}% new publishes are refused, at 100% segments become gaps"
            );
        }
    }
}

impl Inner {
    fn shipments(&self) -> MutexGuard<'_, HashMap<String, Arc<Shipment>>> {
        self.shipments
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the last such line is long enough ago.
    fn may_warn(&self, warned: &Mutex<Option<Instant>>) -> bool {
        let now = clock::monotonic();
        let mut warned = warned.lock().unwrap_or_else(PoisonError::into_inner);
        let quiet = |at| now.saturating_duration_since(at) > WARN_INTERVAL;
        let may = warned.is_none_or(quiet);
        if may {
            *warned = Some(now);
        }
        may
    }
}

impl Shipment {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn blocking<T: Send + 'static>(
    job: impl FnOnce() -> io::Result<T> + Send + 'static,
) -> io::Result<T> {
    tokio::task::spawn_blocking(job).await?
}

#[cfg(test)]
mod tests;
