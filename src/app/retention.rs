//! Starts what removes old segments.

use crate::config;
use crate::control::Control;
use crate::control::retention::{Retention, Settings};
use std::sync::Arc;
use tokio_util::sync::CancellationToken;

/// What removes old segments, with the settings of this configuration.
pub(super) fn of(control: &Control, config: &config::Config) -> Arc<Retention> {
    let publishes = config.store.publish_playlists;
    Arc::new(Retention::new(control.clone(), config.into(), publishes))
}

/// Works until `stop`.
pub(super) async fn run(retention: Arc<Retention>, stop: CancellationToken) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = retention.run() => {}
    }
}

impl From<&config::Config> for Settings {
    fn from(all: &config::Config) -> Self {
        let config = &all.retention;
        let limit = |size: config::Size| Some(size.0).filter(|bytes| *bytes > 0);
        Self {
            age: Some(config.age.0).filter(|age| !age.is_zero()),
            channel_bytes: limit(config.channel_bytes),
            bytes: limit(config.bytes),
            free_space: limit(config.free_space),
            grace: config.grace.0,
            interval: config.interval.0,
            deletes_per_second: config.deletes_per_second,
        }
    }
}
