//! Who watches a channel: whoever asked for its playlist lately.

use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Who asked for a playlist within this is a viewer.
const VIEWING: Duration = Duration::from_secs(30);
/// Viewers of one channel that are told apart; protects memory.
const VIEWERS_MAX: usize = 50_000;
/// The same of all channels.
const VIEWERS_ALL_MAX: usize = 1_000_000;
/// Between two looks for those that have gone, when there is no room: each looks at all.
const LOOK: Duration = Duration::from_secs(1);
/// Viewers of all channels that are remembered.
static VIEWERS: AtomicUsize = AtomicUsize::new(0);

/// The viewers of a channel.
#[derive(Default)]
pub(super) struct Viewers(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// When each asked last.
    at: HashMap<u64, Instant>,
    looked: Option<Instant>,
}

impl Viewers {
    /// `viewer` asked for a playlist now. Beyond the limits those who are not counted yet are not.
    pub(super) fn saw(&self, viewer: u64, now: Instant) {
        let mut seen = self.lock();
        if let Some(at) = seen.at.get_mut(&viewer) {
            *at = now;
            return;
        }
        let long_ago = |at| now.saturating_duration_since(at) >= LOOK;
        if seen.at.len() >= VIEWERS_MAX && seen.looked.is_none_or(long_ago) {
            seen.forget_old(now);
        }
        if seen.at.len() < VIEWERS_MAX && VIEWERS.load(Ordering::Relaxed) < VIEWERS_ALL_MAX {
            seen.at.insert(viewer, now);
            VIEWERS.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// How many there are now.
    pub(super) fn count(&self, now: Instant) -> usize {
        let mut seen = self.lock();
        seen.forget_old(now);
        seen.at.len()
    }

    fn lock(&self) -> MutexGuard<'_, Seen> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Seen {
    fn forget_old(&mut self, now: Instant) {
        self.looked = Some(now);
        let before = self.at.len();
        self.at
            .retain(|_, at| now.saturating_duration_since(*at) < VIEWING);
        VIEWERS.fetch_sub(before.saturating_sub(self.at.len()), Ordering::Relaxed);
    }
}

impl Drop for Viewers {
    fn drop(&mut self) {
        VIEWERS.fetch_sub(self.lock().at.len(), Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_viewers_are_told_apart_and_no_more() {
        let viewers = Viewers::default();
        let now = crate::clock::monotonic();
        let crowd = VIEWERS_MAX as u64 + 1_000;
        (0..crowd).for_each(|viewer| viewers.saw(viewer, now));
        assert_eq!(viewers.count(now), VIEWERS_MAX);
        // Who is counted stays, who comes finds room when others have gone.
        let later = now + VIEWING / 2;
        viewers.saw(7, later);
        viewers.saw(crowd, later);
        assert_eq!(viewers.count(later), VIEWERS_MAX);
        let late = now + VIEWING;
        viewers.saw(crowd, late);
        assert_eq!(viewers.count(late), 2);
        assert_eq!(viewers.count(late + VIEWING), 0);
    }
}
