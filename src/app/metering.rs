//! Counting, from the start to the stop.

use crate::metrics;
use crate::recover::Recovered;
use tokio_util::sync::CancellationToken;

/// Begins to count, and keeps what is counted small until `stop`.
pub(super) fn begin(stop: CancellationToken) {
    metrics::install();
    tokio::spawn(async move {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(metrics::TIDY_EVERY) => metrics::tidy(),
            }
        }
    });
}

/// What the start found.
pub(super) fn recovered(found: &Recovered) {
    metrics::RECOVERED_WAITING.add(found.waiting.len() as u64);
    metrics::RECOVERED_ENDED.add(found.ended as u64);
    metrics::SALVAGED.add(found.salvaged as u64);
    metrics::LOST.add(found.lost as u64);
}
