//! What is kept, where and how long: `[store]`, `[spool]`, `[retention]`, `[catalog]`.

use super::ConfigError;
use super::values::{Secret, Size, Span, contradiction, secs};
use serde::{Deserialize, Serialize};
use std::fmt;

/// `[store]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Store {
    /// `file:` for `media` in the data folder, `file:/folder`, `s3://bucket/prefix`, `gs://…`, `az://…`.
    pub url: String,
    /// Base URL of an S3 server other than Amazon's.
    pub endpoint: String,
    /// S3 region.
    pub region: String,
    /// Whether requests have the bucket in their path and not in the host name.
    pub path_style: bool,
    /// S3 access key; without one the environment or the machine's role says it.
    pub access_key_id: String,
    /// Its secret.
    pub secret_access_key: Secret,
    /// Who gives segments to viewers that a remote store has.
    pub read: Read,
    /// Base URL of an S3 server as viewers reach it, if that is not `endpoint`.
    pub read_endpoint: String,
    /// How long the URL is good that a viewer is sent to.
    pub read_expires: Span,
    /// Whether playlists are written into a remote store, for viewers who come past this server.
    pub publish_playlists: bool,
    /// The index of a running recording is rewritten in a remote store at most this often.
    pub index_interval: Span,
    /// Threads that write files.
    pub writers: usize,
    /// What a power cut may cost.
    pub fsync: Fsync,
    /// Whether new segments are written over the files of expired ones.
    pub recycle: Recycle,
    /// New publishes are refused while less than this is free on the local disk.
    pub reserve: Size,
}

impl Default for Store {
    fn default() -> Self {
        Self {
            url: "file:".to_owned(),
            endpoint: String::new(),
            region: String::new(),
            path_style: true,
            access_key_id: String::new(),
            secret_access_key: Secret::default(),
            read: Read::Proxy,
            read_endpoint: String::new(),
            read_expires: secs(600),
            publish_playlists: false,
            index_interval: secs(10),
            writers: 2,
            fsync: Fsync::None,
            recycle: Recycle::Durable,
            reserve: Size(256 << 20),
        }
    }
}

impl Store {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=64).contains(&self.writers) {
            return contradiction(format!("store.writers ({}) must be 1 to 64", self.writers));
        }
        if self.read == Read::Redirect && self.url.starts_with("file:") {
            return contradiction(format!(
                "store.read = \"redirect\" needs a remote store: nobody but this server reads {}",
                self.url
            ));
        }
        if !(secs(1)..=secs(READ_EXPIRES_MAX_S)).contains(&self.read_expires) {
            return contradiction(format!(
                "store.read_expires ({}) must be 1s to 7days",
                self.read_expires
            ));
        }
        Ok(())
    }
}

/// S3 and Google sign nothing for longer.
const READ_EXPIRES_MAX_S: u64 = 7 * 24 * 3600;

/// Who gives segments to viewers that a remote store has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Read {
    /// This server, which reads them from the store.
    Proxy,
    /// The store itself: viewers are sent to a signed URL.
    Redirect,
}

/// Whether new segments are written over the files of expired ones.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Recycle {
    /// Never.
    Never,
    /// With `fsync = "segment"`, and on a file system in memory.
    Durable,
    /// With `fsync = "none"` on a disk too: a power cut may leave old bytes in new segments.
    Always,
}

/// What is forced to the disk, and when.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Fsync {
    /// Nothing: the operating system decides; a power cut may cost some seconds, a killed process nothing.
    None,
    /// Each segment when it is finished.
    Segment,
    /// Each part.
    Part,
}

/// `[spool]`
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Spool {
    /// Disk space for what a remote store has not confirmed.
    pub limit: Size,
    /// Uploads at a time.
    pub uploads: usize,
}

impl Default for Spool {
    fn default() -> Self {
        Self {
            limit: Size(10 << 30),
            uploads: 16,
        }
    }
}

impl Spool {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=256).contains(&self.uploads) {
            return contradiction(format!("spool.uploads ({}) must be 1 to 256", self.uploads));
        }
        if self.limit < Size(64 << 20) {
            return contradiction(format!(
                "spool.limit ({}) must be at least 64MiB: running pushes need room",
                self.limit
            ));
        }
        Ok(())
    }
}

/// `[retention]`: what is zero limits nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Retention {
    /// How long segments are kept; a channel may say it itself.
    pub age: Span,
    /// Bytes that a channel keeps; a channel may say it itself.
    pub channel_bytes: Size,
    /// Bytes of all channels together.
    pub bytes: Size,
    /// Bytes that stay free on the disk of a local store.
    pub free_space: Size,
    /// How long what has expired stays for players and caches that loaded a playlist before.
    pub grace: Span,
    /// How often it is looked what has expired.
    pub interval: Span,
    /// Objects that are removed in a second.
    pub deletes_per_second: u32,
}

impl Default for Retention {
    fn default() -> Self {
        Self {
            age: secs(0),
            channel_bytes: Size(0),
            bytes: Size(0),
            free_space: Size(0),
            grace: secs(60),
            interval: secs(10),
            deletes_per_second: 1000,
        }
    }
}

impl Retention {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if self.age > secs(0) && self.age < secs(60) {
            return contradiction(format!(
                "retention.age ({}) must be at least 1m, or 0s to keep everything",
                self.age
            ));
        }
        for (name, size) in [("channel_bytes", self.channel_bytes), ("bytes", self.bytes)] {
            if size > Size(0) && size < Size(1 << 20) {
                return contradiction(format!(
                    "retention.{name} ({size}) must be at least 1MiB, or 0 to keep everything"
                ));
            }
        }
        if self.interval < Span(std::time::Duration::from_millis(100)) {
            return contradiction(format!(
                "retention.interval ({}) must be at least 100ms",
                self.interval
            ));
        }
        if self.deletes_per_second == 0 {
            return contradiction("retention.deletes_per_second must be at least 1");
        }
        Ok(())
    }
}

/// `[catalog]`
#[derive(Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Catalog {
    /// `postgres://…` or `sqlite://…`; empty for SQLite in the data folder.
    pub url: String,
    /// Name of this server in the history; empty for the host's.
    pub node: String,
}

impl Catalog {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let known = ["postgres://", "postgresql://", "sqlite://"];
        if !self.url.is_empty() && !known.iter().any(|scheme| self.url.starts_with(scheme)) {
            return contradiction("catalog.url must begin with postgres:// or sqlite://");
        }
        Ok(())
    }
}

/// Without the URL, which may hold a password.
impl fmt::Debug for Catalog {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Catalog").field("node", &self.node).finish()
    }
}
