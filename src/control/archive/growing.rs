//! What is made of an index that still grows: made anew when the index has changed, and looked for
//! twice a second at most, however many ask. A day's index takes a tenth of a second to render.

use super::{Miss, Weigh, off_thread};
use crate::clock;
use crate::key::RecordingKey;
use crate::store;
use bytes::Bytes;
use quick_cache::Weighter;
use quick_cache::sync::Cache;
use std::hash::{DefaultHasher, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// How long what was made stands without another look at the index.
const BELIEVED: Duration = Duration::from_millis(500);
/// What one is expected to take; only sizes the tables.
const BYTES_TYPICAL: u64 = 64 << 10;
/// So much of both ends of an index tells it from another of the same length: the beginning says
/// what retention took, the end which segment came last.
const END_BYTES: usize = 4 << 10;

pub(super) struct Growing<T>(Cache<RecordingKey, Arc<Made<T>>, ByValue>);

struct Made<T> {
    read: Instant,
    of: Stamp,
    value: T,
}

/// Which index something was made of.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Stamp {
    len: usize,
    confirmed: usize,
    ends: u64,
}

#[derive(Clone)]
struct ByValue;

impl<T: Weigh> Weighter<RecordingKey, Arc<Made<T>>> for ByValue {
    fn weight(&self, _: &RecordingKey, made: &Arc<Made<T>>) -> u64 {
        made.value.bytes()
    }
}

impl<T: Clone + Weigh + Send + Sync + 'static> Growing<T> {
    /// With memory for `bytes` of values.
    pub(super) fn new(bytes: u64) -> Self {
        let typical = usize::try_from(bytes / BYTES_TYPICAL).unwrap_or(1);
        Self(Cache::with_weighter(typical, bytes, ByValue))
    }

    /// What `render` makes of the `index` (its text, and how much of it is confirmed), or made of it
    /// before. `None` if there is no index or nothing can be made of it.
    pub(super) async fn get(
        &self,
        key: &RecordingKey,
        index: impl Future<Output = Result<Option<(Bytes, usize)>, store::Error>>,
        render: impl FnOnce(Bytes, usize) -> Option<T> + Send + 'static,
    ) -> Result<Option<T>, store::Error> {
        let before = self.0.get(key);
        if let Some(made) = before.as_ref().filter(|made| made.is_fresh()) {
            return Ok(Some(made.value.clone()));
        }
        self.0.remove_if(key, |made| !made.is_fresh());
        let make = async {
            let read = clock::monotonic();
            let (text, confirmed) = index.await?.ok_or(Miss::NotThere)?;
            let of = Stamp::of(&text, confirmed);
            let value = match before.filter(|before| before.of == of) {
                Some(before) => before.value.clone(),
                None => off_thread(move || render(text, confirmed))
                    .await
                    .ok_or(Miss::NotThere)?,
            };
            Ok(Arc::new(Made { read, of, value }))
        };
        match self.0.get_or_insert_async(key, make).await {
            Ok(made) => Ok(Some(made.value.clone())),
            Err(Miss::NotThere) => Ok(None),
            Err(Miss::Store(error)) => Err(error),
        }
    }

    pub(super) fn forget(&self, key: &RecordingKey) {
        self.0.remove(key);
    }
}

impl<T> Made<T> {
    fn is_fresh(&self) -> bool {
        clock::monotonic().saturating_duration_since(self.read) < BELIEVED
    }
}

impl Stamp {
    fn of(text: &[u8], confirmed: usize) -> Self {
        let mut hasher = DefaultHasher::new();
        let from = text.len().saturating_sub(END_BYTES);
        hasher.write(text.get(..END_BYTES).unwrap_or(text));
        hasher.write(text.get(from..).unwrap_or_default());
        Self {
            len: text.len(),
            confirmed,
            ends: hasher.finish(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::id::{ChannelId, RecordingId};
    use crate::playlist::{Document, Freshness};
    use std::sync::atomic::{AtomicUsize, Ordering};

    #[tokio::test]
    async fn many_readers_cost_one_look_and_one_rendering() {
        let (looked, rendered) = (AtomicUsize::new(0), Arc::new(AtomicUsize::new(0)));
        let growing = Growing::new(1 << 20);
        let key = RecordingKey {
            channel: ChannelId::new("live", "a").expect("a name"),
            recording: RecordingId::at(1_763_696_695_000, 0),
        };
        let ask = |text: &'static str| {
            let (looked, rendered) = (&looked, rendered.clone());
            let index = async move {
                looked.fetch_add(1, Ordering::Relaxed);
                tokio::task::yield_now().await;
                Ok((!text.is_empty()).then(|| (Bytes::from_static(text.as_bytes()), text.len())))
            };
            let render = move |text: Bytes, _| {
                rendered.fetch_add(1, Ordering::Relaxed);
                let text = String::from_utf8_lossy(&text).into_owned();
                Some(Document::new(text, Freshness::Settled))
            };
            growing.get(&key, index, render)
        };
        let count = |counter: &AtomicUsize| counter.load(Ordering::Relaxed);
        assert!(ask("").await.expect("read").is_none(), "is not kept");
        assert_eq!(count(&looked), 1);
        let hundred = futures_util::future::join_all((0..100).map(|_| ask("one"))).await;
        for document in hundred {
            let document = document.expect("read").expect("made");
            assert_eq!(document.text().as_ref(), b"one");
        }
        assert_eq!((count(&looked), count(&rendered)), (2, 1));
        // Within the time nobody looks; after it the same index is not rendered again.
        let believed = ask("two").await.expect("read").expect("made");
        assert_eq!(believed.text().as_ref(), b"one");
        tokio::time::sleep(BELIEVED).await;
        ask("one").await.expect("read").expect("made");
        assert_eq!((count(&looked), count(&rendered)), (3, 1));
        tokio::time::sleep(BELIEVED).await;
        let changed = ask("two").await.expect("read").expect("made");
        assert_eq!(changed.text().as_ref(), b"two");
        assert_eq!((count(&looked), count(&rendered)), (4, 2));
        growing.forget(&key);
        ask("two").await.expect("read").expect("made");
        assert_eq!((count(&looked), count(&rendered)), (5, 3));
    }
}
