//! What goes out: `[http]`, and the log: `[log]`.

use super::values::{Size, any};
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
    /// Connections at a time.
    pub connections_max: usize,
    /// Memory for segments that viewers want, in all.
    pub cache: Size,
}

impl Default for Http {
    fn default() -> Self {
        Self {
            listen: any(8080),
            public_url: String::new(),
            connections_max: 20_000,
            cache: Size(256 << 20),
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
