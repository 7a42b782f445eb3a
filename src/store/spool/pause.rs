//! Patience with a store that fails.

use super::super::Error;
use super::Inner;
use crate::clock;
use crate::metrics;
use std::sync::atomic::Ordering;
use std::time::Duration;

/// Longest pause: so late at most is it noticed that the store is back.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Back-off with jitter, and a line in the log now and then.
pub(super) struct Pause<'a> {
    inner: &'a Inner,
    object: &'a str,
    next: Duration,
}

impl<'a> Pause<'a> {
    pub(super) fn new(inner: &'a Inner, object: &'a str) -> Self {
        let next = inner.settings.pause;
        Self {
            inner,
            object,
            next,
        }
    }

    /// After a failure.
    pub(super) async fn after(&mut self, error: &Error) {
        let failures = self.inner.failures.fetch_add(1, Ordering::Relaxed) + 1;
        metrics::STORE_FAILURES.add(1);
        if self.inner.may_warn(&self.inner.warned_of_failure) {
            let cause = std::error::Error::source(error).map(ToString::to_string);
            tracing::warn!(
                object = self.object, %error, cause, failures, waiting_bytes = self.inner.used.load(Ordering::Relaxed),
                "uploads fail; they are tried until they are confirmed"
            );
        }
        let [jitter] = clock::random::<1>();
        let share = 128 + u32::from(jitter) / 2; // half to all of it
        tokio::time::sleep(self.next * share / 256).await;
        self.next = (self.next * 2).min(PAUSE_MAX);
    }
}
