//! Keeps the cards of channels and hubs in the store as new as the catalog.

use crate::control::Control;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// How often it is looked whether something has changed: also how long many changes of one channel
/// are gathered into one write.
const EVERY: Duration = Duration::from_secs(1);
/// Longest pause while the store or the catalog is away.
const PAUSE_MAX: Duration = Duration::from_secs(30);

/// Writes what changes, until `stop`.
pub(super) async fn keep(control: Control, stop: CancellationToken) {
    let mut pause = EVERY;
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(pause) => {}
        }
        loop {
            match control.write_cards().await {
                Ok(0) => break pause = EVERY,
                Ok(_) => {}
                Err(error) => {
                    if pause == EVERY {
                        tracing::warn!(%error, "what changed of channels is not yet in the store; it is tried again");
                    }
                    pause = (pause * 2).min(PAUSE_MAX);
                    break;
                }
            }
        }
    }
}
