//! What goes out: `[http]`, the log: `[log]`, and the end: `[stop]`.

use super::ConfigError;
use super::values::{Listen, Size, Span, any, contradiction, secs};
use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// `[http]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Http {
    /// Address to listen on.
    pub listen: SocketAddr,
    /// What signed playback URLs begin with.
    pub public_url: String,
    /// Address to listen on with TLS.
    pub tls_listen: Listen,
    /// Connections at a time.
    pub connections_max: usize,
    /// Of them, those of one address.
    pub connections_per_address: usize,
    /// Requests of one address in a second; 0 for any number.
    pub requests_per_address: u32,
    /// Answers under way at one time.
    pub requests_max: usize,
    /// Memory for segments that viewers want, in all.
    pub cache: Size,
    /// Memory for playlists of recordings that are over, in all.
    pub playlist_cache: Size,
    /// Who may read `/metrics`.
    pub metrics: Metrics,
}

/// Who may read `/metrics`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metrics {
    /// Anybody.
    Open,
    /// Whoever has an API token.
    Token,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: any(8080),
            public_url: String::new(),
            tls_listen: Listen::Off,
            connections_max: 20_000,
            connections_per_address: 2_000,
            requests_per_address: 2_000,
            requests_max: 10_000,
            cache: Size(256 << 20),
            playlist_cache: Size(64 << 20),
            metrics: Metrics::Open,
        }
    }
}

/// `[log]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Log {
    /// Least level, or a filter such as `info,millstream::net=debug`.
    pub level: String,
    /// Lines for people or for programs.
    pub format: LogFormat,
}

impl Default for Log {
    fn default() -> Self {
        Self {
            level: "info".to_owned(),
            format: LogFormat::Text,
        }
    }
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// `[stop]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Stop {
    /// How long a stop may take.
    pub timeout: Span,
    /// What becomes of recordings that are being made.
    pub recordings: AtStop,
}

/// What becomes of recordings that are being made when the server stops.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum AtStop {
    /// They wait for their publishers, who find the next start within the reconnect window.
    Wait,
    /// Their playlists end.
    End,
}

impl Default for Stop {
    fn default() -> Self {
        Self {
            timeout: secs(30),
            recordings: AtStop::Wait,
        }
    }
}

impl Stop {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.timeout < secs(3) {
            return contradiction(format!(
                "stop.timeout ({}) must be at least 3s: segments are to be written",
                self.timeout
            ));
        }
        Ok(())
    }
}
