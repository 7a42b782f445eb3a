//! Segments in memory: one cache for the whole process, bounded by bytes, shared by all readers.

use super::{Error, Meta, Store, error};
use crate::metrics;
use bytes::Bytes;
use futures_util::future::{BoxFuture, FutureExt, Shared, WeakShared};
use quick_cache::sync::{Cache, DefaultLifecycle};
use quick_cache::{DefaultHashBuilder, OptionsBuilder, Weighter};
use std::collections::HashMap;
use std::fmt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Semaphore;

/// A segment may take this share of the cache; a larger one would push out what many watch, so it
/// is streamed to each reader instead.
const SEGMENT_SHARE: u64 = 16;
/// Locks in the cache. Few, for each guards its own share and the largest segment must fit in one.
const SHARDS: usize = 4;
/// Half for what was asked for again, half for what is new: live segments are new when they are
/// wanted, and the library's usual three percent would lose them before their viewers come.
const HOT_SHARE: f64 = 0.5;
/// What a segment is expected to weigh; only sizes the tables.
const SEGMENT_LEN_TYPICAL: u64 = 1024 * 1024;
/// Segments in memory take at most so much of the capacity: what is in the cache, and what slow readers
/// still have of what was in it. Beyond it segments are streamed to each reader.
const ALIVE: u64 = 2;
/// Segments that are too large to keep and of which it is known how large: then they cost one request
/// of a remote store and not two.
const LARGE: usize = 1_000;
/// Reads from the store at one time; protects memory (each may hold a segment) and the store.
const READS_MAX: usize = 64;

/// The cache. Cheap to clone.
#[derive(Clone)]
pub struct SegmentCache(Arc<Inner>);

/// What the cache has to say of an object that exists.
#[derive(Clone, Debug)]
pub enum Cached {
    /// All of it.
    Whole(Bytes),
    /// Too large to keep: read it from the store.
    TooLarge(Meta),
}

struct Inner {
    segments:
        Cache<Arc<str>, Bytes, ByLength, DefaultHashBuilder, DefaultLifecycle<Arc<str>, Bytes>>,
    segment_len_max: u64,
    large: Cache<Arc<str>, Meta>,
    /// Reads under way, so that all who miss at one time wait for one read, and share its failure.
    flights: Mutex<HashMap<Arc<str>, WeakShared<Flight>>>,
    reads: Semaphore,
    /// Bytes of segments in memory: in the cache, or pushed out of it while readers still have them.
    alive: Arc<AtomicU64>,
    alive_max: u64,
}

type Flight = BoxFuture<'static, Result<Cached, Error>>;

#[derive(Clone)]
struct ByLength;

impl Weighter<Arc<str>, Bytes> for ByLength {
    fn weight(&self, object: &Arc<str>, bytes: &Bytes) -> u64 {
        (object.len() + bytes.len()) as u64
    }
}

impl SegmentCache {
    /// A cache of at most `capacity` bytes.
    pub fn new(capacity: u64) -> Self {
        let items = usize::try_from(capacity / SEGMENT_LEN_TYPICAL).unwrap_or(usize::MAX);
        let segments = Cache::with_options(
            OptionsBuilder::new()
                .estimated_items_capacity(items.clamp(SHARDS * 16, 1 << 20))
                .weight_capacity(capacity)
                .hot_allocation(HOT_SHARE)
                .shards(SHARDS)
                .build()
                .unwrap_or_else(|_| unreachable!("capacity and items are set")),
            ByLength,
            DefaultHashBuilder::default(),
            DefaultLifecycle::default(),
        );
        Self(Arc::new(Inner {
            segments,
            segment_len_max: capacity / SEGMENT_SHARE,
            large: Cache::new(LARGE),
            flights: Mutex::new(HashMap::new()),
            reads: Semaphore::new(READS_MAX),
            alive: Arc::default(),
            alive_max: capacity.saturating_mul(ALIVE),
        }))
    }

    /// Keeps a segment that has just been written. Copy it first if it is a slice of more.
    pub fn insert(&self, object: &str, bytes: Bytes) {
        if bytes.len() as u64 <= self.0.segment_len_max {
            self.0.segments.insert(object.into(), bytes);
        }
    }

    /// The segment, if it is here.
    pub fn get(&self, object: &str) -> Option<Bytes> {
        self.0.segments.get(object)
    }

    /// Bytes held.
    pub fn weight(&self) -> u64 {
        self.0.segments.weight()
    }

    /// The segment from memory, or from `store` into memory. A reader who goes away does not
    /// disturb the others.
    pub async fn get_or_read(&self, store: &Store, object: &str) -> Result<Cached, Error> {
        match self.get(object) {
            Some(bytes) => {
                metrics::CACHE_HITS.add(1);
                Ok(Cached::Whole(bytes))
            }
            None => {
                metrics::CACHE_MISSES.add(1);
                match self.0.large.get(object) {
                    Some(meta) => Ok(Cached::TooLarge(meta)),
                    None => self.join(store, object).await,
                }
            }
        }
    }

    /// The read of this object that is under way, or a new one.
    fn join(&self, store: &Store, object: &str) -> Shared<Flight> {
        let mut flights = self.0.flights();
        if let Some(flight) = flights.get(object).and_then(WeakShared::upgrade) {
            return flight;
        }
        let object: Arc<str> = object.into();
        let landing = Landing(self.clone(), object.clone());
        let store = store.clone();
        let flight = async move { landing.0.read(&store, &landing.1).await };
        let flight = flight.boxed().shared();
        if let Some(weak) = flight.downgrade() {
            flights.insert(object, weak);
        }
        flight
    }

    async fn read(&self, store: &Store, object: &str) -> Result<Cached, Error> {
        let _permit = self.0.reads.acquire().await; // never closed
        let found = store.open(object, None).await?;
        if found.meta.size > self.0.segment_len_max {
            let meta = Meta::from(&found.meta);
            self.0.large.insert(object.into(), meta.clone());
            return Ok(Cached::TooLarge(meta));
        }
        let Some(room) = Room::take(&self.0.alive, found.meta.size, self.0.alive_max) else {
            return Ok(Cached::TooLarge(Meta::from(&found.meta)));
        };
        let bytes = found.bytes().await.map_err(error("read", object))?;
        let bytes = Bytes::from_owner(Alive { bytes, _room: room });
        self.insert(object, bytes.clone());
        Ok(Cached::Whole(bytes))
    }
}

/// The bytes of a segment, counted for as long as anybody has them.
struct Alive {
    bytes: Bytes,
    _room: Room,
}

impl AsRef<[u8]> for Alive {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

struct Room {
    of: Arc<AtomicU64>,
    len: u64,
}

impl Room {
    fn take(of: &Arc<AtomicU64>, len: u64, max: u64) -> Option<Self> {
        let more = |used: u64| used.checked_add(len).filter(|used| *used <= max);
        let taken = of.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
        taken.ok().map(|_| Self {
            of: of.clone(),
            len,
        })
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        self.of.fetch_sub(self.len, Ordering::Relaxed);
    }
}

impl Inner {
    fn flights(&self) -> MutexGuard<'_, HashMap<Arc<str>, WeakShared<Flight>>> {
        // A panic elsewhere leaves the map whole: each use is one insertion or removal.
        self.flights.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Takes a read off the list when it is done or nobody waits for it any more.
struct Landing(SegmentCache, Arc<str>);

impl Drop for Landing {
    fn drop(&mut self) {
        self.0.0.flights().remove(&self.1);
    }
}

impl fmt::Debug for SegmentCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let segments = &self.0.segments;
        write!(f, "SegmentCache of {} bytes", segments.capacity())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use futures_util::future::join_all;

    const KIB: usize = 1024;

    fn whole(cached: Result<Cached, Error>) -> Option<usize> {
        match cached.expect("an object") {
            Cached::Whole(bytes) => Some(bytes.len()),
            Cached::TooLarge(_) => None,
        }
    }

    #[tokio::test]
    async fn size_decides_what_is_kept() {
        let store = Store::memory();
        let cache = SegmentCache::new(1024 * KIB as u64);
        let check = async |len: usize, kept: bool| {
            let object = format!("a/{len}");
            store.put(&object, vec![7; len].into()).await.expect("room");
            let read = whole(cache.get_or_read(&store, &object).await);
            assert_eq!(read, kept.then_some(len), "{len} bytes");
            assert_eq!(cache.get(&object).is_some(), kept, "{len} bytes");
        };
        check(0, true).await;
        check(1, true).await;
        check(64 * KIB, true).await;
        check(64 * KIB + 1, false).await;
    }

    #[tokio::test]
    async fn it_stays_within_its_bytes_and_keeps_the_newest() {
        let cache = SegmentCache::new(1024 * KIB as u64);
        for number in 0..1000 {
            cache.insert(&format!("a/{number}"), vec![0; 32 * KIB].into());
            assert!(cache.weight() <= 1024 * KIB as u64);
            assert!(
                cache.get(&format!("a/{number}")).is_some(),
                "segment {number}"
            );
        }
        let kept = (990..1000).filter(|n| cache.get(&format!("a/{n}")).is_some());
        assert_eq!(kept.count(), 10);
    }

    #[tokio::test]
    async fn concurrent_misses_are_one_read() {
        let dir = tempfile::tempdir().expect("a directory");
        let store = Store::local(dir.path()).expect("a store");
        store
            .put("a/1", vec![7; 600 * KIB].into())
            .await
            .expect("room");
        let cache = SegmentCache::new(16 * 1024 * KIB as u64);
        let readers = (0..100).map(|_| cache.get_or_read(&store, "a/1"));
        let pointers: Vec<_> = join_all(readers)
            .await
            .into_iter()
            .map(|read| match read.expect("an object") {
                Cached::Whole(bytes) => bytes.as_ptr(),
                Cached::TooLarge(meta) => panic!("{meta:?}"),
            })
            .collect();
        assert!(
            pointers.windows(2).all(|pair| pair[0] == pair[1]),
            "one copy"
        );
        assert!(cache.0.flights().is_empty());
    }

    #[tokio::test]
    async fn failures_are_shared_and_not_kept() {
        let store = Store::memory();
        let cache = SegmentCache::new(1024 * KIB as u64);
        let reads = join_all((0..10).map(|_| cache.get_or_read(&store, "a/1"))).await;
        assert!(
            reads
                .iter()
                .all(|r| matches!(r, Err(Error::NotFound { .. })))
        );
        drop(cache.get_or_read(&store, "a/1")); // asked and gone
        store
            .put("a/1", Bytes::from_static(b"x"))
            .await
            .expect("room");
        assert_eq!(whole(cache.get_or_read(&store, "a/1").await), Some(1));
        assert!(cache.0.flights().is_empty());
    }
}
