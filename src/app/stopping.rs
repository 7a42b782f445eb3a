//! The end of the server: in order, and within `stop.timeout`.
//!
//! `/readyz` says so first. Publishers are told, those that know how to are asked to connect anew
//! (somewhere else), and whoever comes now is refused with the reason. Running segments are closed,
//! stored and listed, what waits for a remote store is uploaded, the catalog hears of it, answers
//! under way are finished. What its share of the time is too short for is done by the next start.

use crate::config::{self, Config};
use crate::control::Control;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked whether the publishers are gone.
const LOOK: Duration = Duration::from_millis(20);
/// Connections that do not publish are gone within this once they are told; their last words may
/// take two seconds.
const HANG_UP: Duration = Duration::from_secs(3);

/// What has to end.
pub(super) struct Stopping {
    pub(super) control: Control,
    /// RTMP connections.
    pub(super) sessions: TaskTracker,
    /// Tells those that do not publish to go.
    pub(super) leave: CancellationToken,
    /// The tasks that accept them.
    pub(super) accepting: Vec<tokio::task::JoinHandle<()>>,
    /// Tells everything else to end.
    pub(super) stop: CancellationToken,
    pub(super) delivery: TaskTracker,
}

/// How the time of a stop is shared out.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Shares {
    /// Publishers: to write what they hold.
    sessions: Duration,
    /// A remote store: to confirm what waits.
    store: Duration,
    /// The catalog: to hear of it.
    catalog: Duration,
    /// Viewers: to get what they asked for.
    pub(super) answers: Duration,
}

impl Shares {
    pub(super) fn of(stop: &config::Stop) -> Self {
        let whole = stop.timeout.0;
        Self {
            sessions: whole / 3,
            store: whole / 3,
            catalog: whole / 6,
            answers: whole / 6,
        }
    }
}

impl Stopping {
    pub(super) async fn run(self, config: &Config) {
        let shares = Shares::of(&config.stop);
        tracing::info!(
            publishers = self.control.live().len(),
            limit_s = config.stop.timeout.0.as_secs(),
            "stopping"
        );
        self.control.stop();
        self.end_sessions(shares.sessions).await;
        if config.stop.recordings == config::AtStop::End {
            self.control.end_recordings().await;
        }
        self.empty_spool(config.stop.recordings, shares.store).await;
        // After the spool: what the store confirms has rows.
        if !self.control.settle(shares.catalog).await {
            tracing::error!(
                "the catalog is away: what it was not told is in the recordings' indexes"
            );
        }
        // What is not written now is marked, and the next start writes it.
        let _ = tokio::time::timeout(shares.catalog, self.control.write_cards()).await;
        self.stop.cancel();
        // Answers under way have their own limit; a panic there is logged by the runtime.
        self.delivery.close();
        self.delivery.wait().await;
        tracing::info!("stopped");
    }

    async fn end_sessions(&self, share: Duration) {
        let gone = async {
            while !self.control.live().is_empty() {
                tokio::time::sleep(LOOK).await;
            }
        };
        if tokio::time::timeout(share, gone).await.is_err() {
            tracing::error!(
                sessions = self.control.live().len(),
                "sessions did not end in time; the next start closes what they held"
            );
        }
        for accepting in &self.accepting {
            accepting.abort();
        }
        self.leave.cancel();
        self.sessions.close();
        // They hold nothing.
        let _ = tokio::time::timeout(HANG_UP, self.sessions.wait()).await;
    }

    async fn empty_spool(&self, recordings: config::AtStop, share: Duration) {
        let Some(spool) = self.control.disk().spool() else {
            return;
        };
        let emptied = async {
            match recordings {
                config::AtStop::End => spool.drain().await,
                config::AtStop::Wait => spool.settle().await,
            }
        };
        if tokio::time::timeout(share, emptied).await.is_err() {
            tracing::warn!(
                bytes = spool.used(),
                "the store has not confirmed everything; the next start goes on with it"
            );
        }
    }
}
