//! What the system tells the process.

use tokio::signal::unix::{Signal, SignalKind, signal};

/// Signals, from the moment they are listened for.
pub(super) struct Signals {
    stop: Vec<Signal>,
}

impl Signals {
    /// Listens from now on.
    pub(super) fn new() -> Self {
        let listen = |kind| match signal(kind) {
            Ok(signal) => Some(signal),
            Err(error) => {
                // The process is killed then, and the next start finishes what it held.
                tracing::error!(%error, "cannot listen for a signal");
                None
            }
        };
        let stop = [SignalKind::terminate(), SignalKind::interrupt()];
        Self {
            stop: stop.into_iter().filter_map(listen).collect(),
        }
    }

    /// Waits until the process is told to stop.
    pub(super) async fn stop(&mut self) {
        if self.stop.is_empty() {
            std::future::pending::<()>().await;
        }
        let waits = self.stop.iter_mut().map(|signal| Box::pin(signal.recv()));
        futures_util::future::select_all(waits).await;
    }
}
