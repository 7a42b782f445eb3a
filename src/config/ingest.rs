//! What comes in and how it is cut: `[rtmp]`, `[ingest]`, `[hls]`.

use super::ConfigError;
use super::values::{BitRate, Listen, Size, Span, any, contradiction, secs};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;
use std::time::Duration;

/// `[rtmp]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rtmp {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What signed publish URLs begin with.
    pub public_url: String,
    /// Address to listen on with TLS.
    pub tls_listen: Listen,
    /// Connections at a time.
    pub connections_max: usize,
    /// Of them, those of one address.
    pub connections_per_address: usize,
    /// Of them, those that do not publish yet.
    pub pending_max: usize,
    /// From the connection to the accepted publish.
    pub publish_timeout: Span,
    /// Silence after which a publisher is taken to be gone.
    pub idle_timeout: Span,
}

impl Default for Rtmp {
    fn default() -> Self {
        Self {
            listen: any(1935),
            public_url: String::new(),
            tls_listen: Listen::Off,
            connections_max: 1000,
            connections_per_address: 500,
            pending_max: 500,
            publish_timeout: secs(10),
            idle_timeout: secs(15),
        }
    }
}

impl Rtmp {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.pending_max == 0 || self.connections_per_address == 0 || self.connections_max == 0 {
            return contradiction(
                "rtmp.connections_max, rtmp.connections_per_address and rtmp.pending_max must be at least 1: nobody could publish",
            );
        }
        Ok(())
    }
}

/// `[hls]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Hls {
    /// A segment ends at the first key frame at or after this.
    pub segment_duration: Span,
    /// A segment ends at the latest after this, key frame or not.
    pub segment_max: Span,
    /// Length of a part, the unit in which bytes reach the disk.
    pub part_duration: Span,
    /// Segments in the live playlist.
    pub window: usize,
    /// How long an ended push may be taken up again in the same recording.
    pub reconnect_window: Span,
}

impl Default for Hls {
    fn default() -> Self {
        Self {
            segment_duration: secs(2),
            segment_max: secs(10),
            part_duration: Span(Duration::from_millis(500)),
            window: 6,
            reconnect_window: secs(30),
        }
    }
}

impl Hls {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.part_duration.0.is_zero() || self.part_duration > self.segment_duration {
            return contradiction(format!(
                "hls.part_duration ({}) must be more than nothing and at most hls.segment_duration ({})",
                self.part_duration, self.segment_duration
            ));
        }
        if self.segment_duration > self.segment_max {
            return contradiction(format!(
                "hls.segment_duration ({}) is longer than hls.segment_max ({})",
                self.segment_duration, self.segment_max
            ));
        }
        if self.segment_max.0 > Duration::from_secs(60)
            || self.segment_duration.0 < Duration::from_millis(500)
        {
            return contradiction(
                "hls.segment_duration must be at least 500ms and hls.segment_max at most 1m",
            );
        }
        if !(3..=1000).contains(&self.window) {
            return contradiction(format!(
                "hls.window ({}) must be 3 to 1000 segments: players need three",
                self.window
            ));
        }
        Ok(())
    }
}

/// `[ingest]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ingest {
    /// Largest RTMP message.
    pub message_max: Size,
    /// What unfinished messages and frames of all publishers may take together.
    pub memory: Size,
    /// Bits of media in a second.
    pub bit_rate_max: BitRate,
    /// Messages in a second; 0 for any number.
    pub frame_rate_max: u32,
    /// Length of a push; 0s for any.
    pub session_max: Span,
    /// What happens to a second publisher of a live channel.
    pub second_publisher: SecondPublisher,
}

impl Default for Ingest {
    fn default() -> Self {
        Self {
            message_max: Size(16 << 20),
            memory: Size(256 << 20),
            bit_rate_max: BitRate(0),
            frame_rate_max: 2_000,
            session_max: secs(0),
            second_publisher: SecondPublisher::Takeover,
        }
    }
}

/// What happens to a second publisher of a live channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SecondPublisher {
    /// It takes the channel over; the first one is told so and closed.
    Takeover,
    /// It is refused.
    Reject,
}
