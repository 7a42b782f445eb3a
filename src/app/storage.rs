//! Opens the store with what writes into it, and finishes what a killed process was writing.

use super::{StartError, metering};
use crate::clock;
use crate::config::{self, Config};
use crate::control::journal::Index;
use crate::control::{Control, confirmed};
use crate::key::RecordingKey;
use crate::recover;
use crate::store::disk::{self, Disk, Fsync, Recycle};
use crate::store::{Remote, SignedUrls, Spool, Store, spool};
use std::error::Error as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// First pause after an upload that failed.
const UPLOAD_PAUSE: Duration = Duration::from_millis(200);

/// The store, and what writes into it or into its spool.
pub(super) fn open_store(config: &Config) -> Result<(Store, Disk), StartError> {
    let files = disk::Settings {
        threads: config.store.writers,
        fsync: match config.store.fsync {
            config::Fsync::None => Fsync::None,
            config::Fsync::Segment => Fsync::Segment,
            config::Fsync::Part => Fsync::Part,
        },
        recycle: match config.store.recycle {
            config::Recycle::Never => Recycle::Never,
            config::Recycle::Durable => Recycle::Durable,
            config::Recycle::Always => Recycle::Always,
        },
    };
    let markers = config.data_dir.join("running");
    let root = match config.store.folder() {
        Some(folder) if folder.as_os_str().is_empty() => config.data_dir.join("media"),
        Some(folder) => folder,
        None => config.data_dir.join("spool"),
    };
    let data = |source| StartError::Data {
        path: root.clone(),
        source,
    };
    if config.store.folder().is_some() {
        let store = Store::local(&root)?;
        let disk = Disk::new(&root, &markers, files).map_err(data)?;
        disk.keep_free(config.store.reserve.0);
        return Ok((store, disk));
    }
    let store = Store::remote(&config.store.remote())?;
    let settings = spool::Settings {
        limit: config.spool.limit.0,
        uploads: config.spool.uploads,
        pause: UPLOAD_PAUSE,
        index_interval: config.store.index_interval.0,
    };
    let spool = Spool::new(&root, store.clone(), settings);
    let disk = Disk::with_spool(&root, &markers, files, spool).map_err(data)?;
    disk.keep_free(config.store.reserve.0);
    Ok((store, disk))
}

/// Where viewers are sent for what the store has, if they are.
pub(super) async fn signed_urls(config: &Config) -> Result<Option<SignedUrls>, StartError> {
    let settings = &config.store;
    if settings.read == config::Read::Proxy {
        return Ok(None);
    }
    let mut remote = settings.remote();
    if !settings.read_endpoint.is_empty() {
        remote.endpoint = Some(settings.read_endpoint.clone());
    }
    let signed = SignedUrls::new(&remote, settings.read_expires.0).await;
    signed.map(Some).map_err(|error| {
        let cause = error.source();
        let reason = cause.map_or_else(|| error.to_string(), ToString::to_string);
        StartError::Unsigned {
            url: remote.url,
            reason,
        }
    })
}

/// Finishes what an earlier process was writing when it was killed. Returns its recordings.
pub(super) async fn take_up(
    control: &Control,
    config: &Config,
) -> Result<Vec<RecordingKey>, StartError> {
    let settings = recover::Settings {
        policy: config.hls.policy(),
        keeps_segments: control.disk().spool().is_none(),
    };
    let disk = control.disk();
    let data = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Data { path, source }
    };
    let mut cut_off = Vec::new();
    for key in recover::cut_off(disk).map_err(data(disk.markers()))? {
        let reconnect_window = control.reconnect_window(&key.channel).await?;
        cut_off.push((key, reconnect_window));
    }
    let found = recover::recover(disk, settings, &cut_off, clock::now());
    metering::recovered(&found);
    if let Err(error) = disk.begin_recycling() {
        tracing::warn!(root = %disk.root().display(), %error, "files of expired segments are removed and not used again");
    }
    if let Some(spool) = disk.spool() {
        spool.follow(confirmed::followers(
            control,
            config.store.publish_playlists,
        ));
        let is_open = |key: &RecordingKey| disk.markers().join(key.marker()).exists();
        let resumed = spool.resume(is_open, Index::ends);
        resumed.map_err(data(disk.root()))?;
    }
    for waiting in found.waiting {
        control
            .take_up(waiting.key, &waiting.index, waiting.left)
            .await?;
    }
    Ok(cut_off.into_iter().map(|(key, _)| key).collect())
}

/// Finishes and ends the recordings that a killed server was writing, unless something of them was
/// written within `idle` or its reconnect window: then a server may still write them. Returns those
/// that it finished.
pub(super) async fn finish_idle(
    control: &Control,
    config: &Config,
    idle: Duration,
) -> Result<Vec<RecordingKey>, StartError> {
    let disk = control.disk();
    let data = |source| StartError::Data {
        path: disk.markers().to_owned(),
        source,
    };
    let settings = recover::Settings {
        policy: config.hls.policy(),
        keeps_segments: disk.spool().is_none(),
    };
    let now = clock::now();
    let mut left = recover::cut_off(disk).map_err(data)?;
    left.retain(|key| recover::idle_ms(disk, key, now) >= idle.as_millis());
    let over: Vec<_> = left
        .iter()
        .map(|key| (key.clone(), Duration::ZERO))
        .collect();
    recover::recover(disk, settings, &over, now);
    Ok(left)
}

impl config::Store {
    /// The folder of a local store, empty for the usual one; `None` if the store is a remote one.
    fn folder(&self) -> Option<PathBuf> {
        self.url.strip_prefix("file:").map(PathBuf::from)
    }

    fn remote(&self) -> Remote {
        let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Remote {
            url: self.url.clone(),
            endpoint: given(&self.endpoint),
            region: given(&self.region),
            path_style: self.path_style,
            access_key_id: given(&self.access_key_id),
            secret_access_key: given(&self.secret_access_key.0),
        }
    }
}
