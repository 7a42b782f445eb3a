//! The composition root: makes the parts, joins them, and ends them in order.

use crate::cli::{Clip, Pusher, Speed};
use crate::config::{self, Config};
use crate::control::auth::{FreshKey, Keys, Policy};
use crate::control::journal::Index;
use crate::control::live::SecondPublisher;
use crate::control::shelf::Playlists;
use crate::control::{self, Control};
use crate::id::ChannelId;
use crate::key::RecordingKey;
use crate::net::{self, Listener, Pace, Timeouts};
use crate::store::disk::{Disk, Fsync};
use crate::store::{Remote, Spool, Store, spool};
use crate::{clock, http, publish, recover, segment};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long running sessions have to write what they hold when the server stops.
const SESSIONS_END_MAX: Duration = Duration::from_secs(10);
/// First pause after an upload that failed.
const UPLOAD_PAUSE: Duration = Duration::from_millis(200);
/// How long a stop waits for a remote store.
const DRAIN_MAX: Duration = Duration::from_secs(10);
/// The clip of `--demo`.
const DEMO: &[u8] = include_bytes!("../assets/demo.flv");
/// Pause before the demo publishes again after it was ended.
const DEMO_PAUSE: Duration = Duration::from_secs(2);

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The data folder cannot be used.
    #[error("cannot use the data folder {}: {source}", path.display())]
    Data {
        /// The folder or a file in it.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// An address cannot be listened on.
    #[error("cannot listen for {what} on {address}: {source}")]
    Listen {
        /// `RTMP` or `HTTP`.
        what: &'static str,
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The store cannot be opened.
    #[error(transparent)]
    Store(#[from] crate::store::Error),
    /// A configured name is none.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
}

/// Runs the server until it is told to stop.
pub async fn serve(config: Config, demo: bool) -> Result<(), StartError> {
    let began = clock::monotonic();
    let (control, fresh) = make_control(&config)?;
    take_up(&control, &config)?;
    let rtmp = listen("RTMP", config.rtmp.listen, |address| {
        Listener::bind(address, config.rtmp.connections_max)
    })?;
    let http = listen("HTTP", config.http.listen, net::listen)?;
    let rtmp_at = rtmp.local_addr().unwrap_or(config.rtmp.listen);
    let http_at = http.local_addr().unwrap_or(config.http.listen);

    let stop = CancellationToken::new();
    let limits = http::Limits {
        connections_max: config.http.connections_max,
        ..http::Limits::default()
    };
    let delivery = tokio::spawn(http::serve(
        http,
        http::router(control.clone()),
        limits,
        stop.clone(),
    ));
    let sessions = TaskTracker::new();
    let accepting = tokio::spawn(accept(
        rtmp,
        control.clone(),
        publish_settings(&config),
        sessions.clone(),
    ));
    greet(&config, fresh.as_ref(), rtmp_at, http_at, demo);
    if demo {
        tokio::spawn(publish_demo(control.clone(), rtmp_at.port(), stop.clone()));
    }
    tracing::info!(rtmp = %rtmp_at, http = %http_at, start_ms = (clock::monotonic() - began).as_millis(), "ready");

    wait_for_signal().await;
    tracing::info!(sessions = sessions.len(), "stopping");
    accepting.abort();
    control.stop();
    sessions.close();
    if tokio::time::timeout(SESSIONS_END_MAX, sessions.wait())
        .await
        .is_err()
    {
        tracing::error!(
            sessions = sessions.len(),
            "sessions did not end in time; what they held is lost"
        );
    }
    control.end_recordings().await;
    if let Some(spool) = control.disk().spool()
        && tokio::time::timeout(DRAIN_MAX, spool.drain())
            .await
            .is_err()
    {
        tracing::warn!(
            bytes = spool.used(),
            "the store has not confirmed everything; the next start goes on with it"
        );
    }
    stop.cancel();
    // Answers under way have their own limit; a panic there is logged by the runtime.
    let _ = delivery.await;
    tracing::info!("stopped");
    Ok(())
}

fn listen<T>(
    what: &'static str,
    address: SocketAddr,
    bind: impl FnOnce(SocketAddr) -> io::Result<T>,
) -> Result<T, StartError> {
    bind(address).map_err(|source| StartError::Listen {
        what,
        address,
        source,
    })
}

fn make_control(config: &Config) -> Result<(Control, Option<FreshKey>), StartError> {
    let data = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Data { path, source }
    };
    let (store, disk) = open_store(config)?;
    let policy = match config.auth.publish {
        config::Publish::Key => Policy::Key,
        config::Publish::Open => Policy::Open,
    };
    let file = config.data_dir.join("keys.json");
    let keys = Keys::load(policy, Some(file.clone())).map_err(data(&file))?;
    for (channel, key) in config.auth.channels()? {
        keys.set_passing(channel, key);
    }
    let first = policy == Policy::Key && keys.is_empty();
    let fresh = match first_channel().filter(|_| first) {
        Some(channel) => Some(keys.make(channel).map_err(data(&file))?),
        None => None,
    };
    let settings = control::Settings {
        window_segments: config.hls.window,
        reconnect_window: config.hls.reconnect_window.0,
        second_publisher: match config.ingest.second_publisher {
            config::SecondPublisher::Takeover => SecondPublisher::Takeover,
            config::SecondPublisher::Reject => SecondPublisher::Reject,
        },
        cache_bytes: config.http.cache.0,
    };
    Ok((Control::new(settings, store, disk, keys)?, fresh))
}

/// The store, and what writes into it or into its spool.
fn open_store(config: &Config) -> Result<(Store, Disk), StartError> {
    let fsync = match config.store.fsync {
        config::Fsync::None => Fsync::None,
        config::Fsync::Segment => Fsync::Segment,
        config::Fsync::Part => Fsync::Part,
    };
    let markers = config.data_dir.join("running");
    let writers = config.store.writers;
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
        let disk = Disk::new(&root, &markers, writers, fsync).map_err(data)?;
        return Ok((store, disk));
    }
    let store = Store::remote(&config.store.remote())?;
    let settings = spool::Settings {
        limit: config.spool.limit.0,
        uploads: config.spool.uploads,
        pause: UPLOAD_PAUSE,
        index_interval: config.store.index_interval.0,
        keep: 2 * config.hls.window,
    };
    let window = config.hls.window;
    let shelves = config
        .store
        .publish_playlists
        .then(|| -> spool::Shelves { Box::new(move |key| Box::new(Playlists::new(key, window))) });
    let spool = Spool::new(&root, store.clone(), settings, shelves);
    let disk = Disk::with_spool(&root, &markers, writers, fsync, spool).map_err(data)?;
    Ok((store, disk))
}

/// Finishes what an earlier process was writing when it was killed.
fn take_up(control: &Control, config: &Config) -> Result<(), StartError> {
    let settings = recover::Settings {
        policy: config.hls.policy(),
        reconnect_window: config.hls.reconnect_window.0,
        keeps_segments: control.disk().spool().is_none(),
    };
    let disk = control.disk();
    let found = recover::recover(disk, settings, clock::now());
    let found = found.map_err(|source| StartError::Data {
        path: disk.markers().to_owned(),
        source,
    })?;
    if let Some(spool) = disk.spool() {
        let is_open = |key: &RecordingKey| disk.markers().join(key.marker()).exists();
        let resumed = spool.resume(is_open, Index::ends);
        resumed.map_err(|source| StartError::Data {
            path: disk.root().to_owned(),
            source,
        })?;
    }
    for waiting in found.waiting {
        control.take_up(waiting.key, &waiting.index, waiting.left);
    }
    Ok(())
}

fn first_channel() -> Option<ChannelId> {
    ChannelId::new("live", "stream").ok()
}

fn publish_settings(config: &Config) -> publish::Settings {
    publish::Settings {
        policy: config.hls.policy(),
        timeouts: Timeouts {
            publish: config.rtmp.publish_timeout.0,
            idle: config.rtmp.idle_timeout.0,
        },
        message_max: usize::try_from(config.ingest.message_max.0).unwrap_or(usize::MAX),
    }
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

async fn accept(
    listener: Listener,
    control: Control,
    settings: publish::Settings,
    sessions: TaskTracker,
) {
    let pace = Pace::default();
    loop {
        let accepted = listener.accept().await;
        sessions.spawn(publish::serve(
            control.clone(),
            settings,
            pace.clone(),
            accepted,
        ));
    }
}

/// What a person at the terminal needs to begin.
fn greet(
    config: &Config,
    fresh: Option<&FreshKey>,
    rtmp: SocketAddr,
    http: SocketAddr,
    demo: bool,
) {
    let host = "localhost";
    let port = if rtmp.port() == 1935 {
        String::new()
    } else {
        format!(":{}", rtmp.port())
    };
    let play = format!("http://{host}:{}", http.port());
    let data = std::path::absolute(&config.data_dir).unwrap_or_else(|_| config.data_dir.clone());
    println!("millstream {}", env!("CARGO_PKG_VERSION"));
    println!();
    println!("  OBS, Settings > Stream > Service: Custom");
    println!("    Server      rtmp://{host}{port}/live");
    match (fresh, config.auth.publish) {
        (Some(key), _) => {
            println!("    Stream Key  stream?key={}", key.reveal());
            println!(
                "    (this key is shown only now; its digest is in {})",
                data.join("keys.json").display()
            );
        }
        (None, config::Publish::Open) => {
            println!("    Stream Key  any name: auth.publish is \"open\"")
        }
        (None, config::Publish::Key) => {
            println!("    Stream Key  stream?key=…  (shown at the first start)")
        }
    }
    println!("  Play          {play}/hls/live/stream/index.m3u8");
    if demo {
        println!("  Demo          {play}/hls/live/demo/index.m3u8");
    }
    println!("  Page          {play}/");
    println!("  Data          {}", data.display());
    println!();
}

/// Publishes the clip to `live/demo` through the same door as everybody.
async fn publish_demo(control: Control, port: u16, stop: CancellationToken) {
    let Ok(channel) = ChannelId::new("live", "demo") else {
        return;
    };
    let clip = match Clip::parse(DEMO.into()) {
        Ok(clip) => clip,
        Err(error) => return tracing::error!(%error, "the demo clip cannot be read"),
    };
    let key = FreshKey::random();
    control.keys().set_passing(channel, key.reveal());
    let url = format!("rtmp://localhost:{port}/live/demo?key={}", key.reveal());
    loop {
        let push = async {
            let mut pusher = Pusher::connect(&url).await?;
            pusher.clip(&clip, Speed::Realtime, true, |_| {}).await
        };
        let ended = tokio::select! {
            () = stop.cancelled() => return,
            ended = push => ended,
        };
        if let Err(error) = ended {
            tracing::info!(%error, "the demo was ended; it begins again");
        }
        tokio::time::sleep(DEMO_PAUSE).await;
    }
}

async fn wait_for_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = match signal(SignalKind::terminate()) {
        Ok(terminate) => terminate,
        Err(error) => {
            tracing::error!(%error, "cannot listen for SIGTERM");
            // Ctrl-C still works, and if it does not either, the process is killed.
            let _ = tokio::signal::ctrl_c().await;
            return;
        }
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = tokio::signal::ctrl_c() => {}
    }
}
