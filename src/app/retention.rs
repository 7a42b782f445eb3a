//! Starts what removes old segments.

use crate::config;
use crate::control::Control;
use crate::control::retention::{Retention, Settings};
use tokio_util::sync::CancellationToken;

/// Works until `stop`.
pub(super) async fn run(control: Control, settings: Settings, stop: CancellationToken) {
    let retention = Retention::new(control, settings);
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
            publish_playlists: all.store.publish_playlists,
        }
    }
}
