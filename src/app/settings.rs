//! What the configuration means for each part.

use super::stopping::Shares;
use crate::config::{self, Config};
use crate::control::auth::{Lists, Policy, Sources};
use crate::control::live::SecondPublisher;
use crate::net::Timeouts;
use crate::{api, control, http, publish, segment};

pub(super) fn control(config: &Config) -> control::Settings {
    control::Settings {
        publish: match config.auth.publish {
            config::Publish::Key => Policy::Key,
            config::Publish::Signed => Policy::Signed,
            config::Publish::Open => Policy::Open,
        },
        node: match config.catalog.node.as_str() {
            "" => host_name(),
            node => node.to_owned(),
        },
        window_segments: config.hls.window,
        reconnect_window: config.hls.reconnect_window.0,
        second_publisher: match config.ingest.second_publisher {
            config::SecondPublisher::Takeover => SecondPublisher::Takeover,
            config::SecondPublisher::Reject => SecondPublisher::Reject,
        },
        cache_bytes: config.http.cache.0,
        playlist_bytes: config.http.playlist_cache.0,
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "millstream".to_owned(),
        name => name.to_owned(),
    }
}

pub(super) fn sources(config: &Config) -> Sources {
    Sources {
        publish: Lists {
            from: config.auth.publish_from.clone(),
            not_from: config.auth.publish_not_from.clone(),
        },
        play: Lists {
            from: config.auth.play_from.clone(),
            not_from: config.auth.play_not_from.clone(),
        },
    }
}

pub(super) fn publish(config: &Config) -> publish::Settings {
    publish::Settings {
        policy: config.hls.policy(),
        timeouts: Timeouts {
            publish: config.rtmp.publish_timeout.0,
            idle: config.rtmp.idle_timeout.0,
        },
        message_max: usize::try_from(config.ingest.message_max.0).unwrap_or(usize::MAX),
        quota: publish::Quota {
            bits: config.ingest.bit_rate_max.0,
            frames: config.ingest.frame_rate_max.into(),
            length: config.ingest.session_max.0,
        },
    }
}

/// Where this server says that it is, listening for RTMP on this port.
pub(super) fn places(config: &Config, rtmp_port: u16) -> api::Places {
    let public = |url: &str| Some(url.to_owned()).filter(|url| !url.is_empty());
    api::Places {
        rtmp_port,
        rtmp: public(&config.rtmp.public_url),
        http: public(&config.http.public_url),
    }
}

/// Who may read the metrics.
pub(super) fn metrics(config: &Config) -> api::Readers {
    match config.http.metrics {
        config::Metrics::Open => api::Readers::All,
        config::Metrics::Token => api::Readers::Token,
    }
}

pub(super) fn http(config: &Config) -> http::Limits {
    http::Limits {
        drain_timeout: Shares::of(&config.stop).answers,
        ..http::Limits::default()
    }
}

impl config::Hls {
    /// Lengths of segments and parts, for the pipeline.
    pub fn policy(&self) -> segment::Policy {
        segment::Policy {
            target: self.segment_duration.0.into(),
            max: self.segment_max.0.into(),
            part: self.part_duration.0.into(),
        }
    }
}
