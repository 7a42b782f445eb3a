//! The composition root: makes the parts, joins them, and ends them in order.

mod one_port;

use crate::catalog::{self, Catalog};
use crate::cli::{Clip, Pusher, Speed};
use crate::compat::oss::{self, Oss};
use crate::config::{self, Config};
use crate::control::auth::{Caller, Door, FreshKey, Policy};
use crate::control::live::SecondPublisher;
use crate::control::{self, Control, FirstStart};
use crate::id::ChannelId;
use crate::net::{self, Accepted, Listener, Pace, Timeouts};
use crate::store::Store;
use crate::store::disk::{Disk, Fsync};
use crate::{api, clock, http, publish, segment};
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long running sessions have to write what they hold when the server stops.
const SESSIONS_END_MAX: Duration = Duration::from_secs(10);
/// How long what they had to tell may take to reach the catalog after that.
const CATALOG_SETTLE_MAX: Duration = Duration::from_secs(5);
/// How often it is looked whether history has gaps that can be filled.
const RESTORE_EVERY: Duration = Duration::from_secs(5);
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
    /// The catalog cannot be opened.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The catalog or the store does not do what the start needs.
    #[error("cannot start: {0}")]
    Control(#[from] control::Error),
    /// A configured host stands for something that is no bucket.
    #[error("configuration: compat.oss.cnames: {0}")]
    Oss(#[from] oss::NoBucket),
    /// A configured name is none.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
}

/// Runs the server until it is told to stop.
pub async fn serve(config: Config, demo: bool) -> Result<(), StartError> {
    let began = clock::monotonic();
    let control = make_control(&config).await?;
    let first = prepare(&control, &config).await?;
    let rtmp = listen("RTMP", config.rtmp.listen, |address| {
        Listener::bind(address, config.rtmp.connections_max)
    })?;
    let http = listen("HTTP", config.http.listen, net::listen)?;
    let rtmp_at = rtmp.local_addr().unwrap_or(config.rtmp.listen);
    let http_at = http.local_addr().unwrap_or(config.http.listen);

    let stop = CancellationToken::new();
    let public = |url: &str| Some(url.to_owned()).filter(|url| !url.is_empty());
    let places = api::Places {
        rtmp_port: rtmp_at.port(),
        rtmp: public(&config.rtmp.public_url),
        http: public(&config.http.public_url),
    };
    let limits = http::Limits {
        connections_max: config.http.connections_max,
        ..http::Limits::default()
    };
    let delivery = tokio::spawn(http::serve(
        http,
        http::router(control.clone()).merge(api::router(control.clone(), places)),
        limits,
        stop.clone(),
    ));
    let sessions = TaskTracker::new();
    let publishing = Publishing {
        control: control.clone(),
        settings: publish_settings(&config),
        pace: Pace::default(),
        sessions: sessions.clone(),
    };
    let foreign = foreign_apis(&config, &publishing, &stop)?;
    let accepting = tokio::spawn(accept(rtmp, publishing));
    greet(&config, first.as_ref(), rtmp_at, http_at, demo);
    tokio::spawn(restore(control.clone(), stop.clone()));
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
    if !control.settle(CATALOG_SETTLE_MAX).await {
        tracing::error!("the catalog is away: what it was not told is in the recordings' indexes");
    }
    stop.cancel();
    // Answers under way have their own limit; a panic there is logged by the runtime.
    let _ = delivery.await;
    foreign.close();
    foreign.wait().await;
    tracing::info!("stopped");
    Ok(())
}

/// Makes channels and history again from what is in the store.
pub async fn rebuild_catalog(config: Config) -> Result<(usize, usize), StartError> {
    let control = make_control(&config).await?;
    let found = control.rebuild().await?;
    control.settle(Duration::MAX).await;
    Ok(found)
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

async fn make_control(config: &Config) -> Result<Control, StartError> {
    let data = |path: &Path| {
        let path = path.to_owned();
        move |source| StartError::Data { path, source }
    };
    let root = config.data_dir.join("media");
    let store = Store::local(&root)?;
    let fsync = match config.store.fsync {
        config::Fsync::None => Fsync::None,
        config::Fsync::Segment => Fsync::Segment,
        config::Fsync::Part => Fsync::Part,
    };
    let disk = Disk::new(&root, config.store.writers, fsync).map_err(data(&root))?;
    let catalog = match config.catalog.url.as_str() {
        "" => Catalog::sqlite(&config.data_dir.join("catalog.sqlite")).await?,
        url => Catalog::open(url).await?,
    };
    let control = Control::open(control_settings(config), store, disk, catalog).await?;
    Ok(control)
}

fn control_settings(config: &Config) -> control::Settings {
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
    }
}

fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    match name.trim() {
        "" => "millstream".to_owned(),
        name => name.to_owned(),
    }
}

/// What has to be so before anybody publishes.
async fn prepare(control: &Control, config: &Config) -> Result<Option<FirstStart>, StartError> {
    let recovered = control.recover_history().await?;
    if recovered > 0 {
        tracing::warn!(
            sessions = recovered,
            "sessions that the server was killed in are closed"
        );
    }
    let by = Caller::server("configuration");
    for (channel, key) in config.auth.channels()? {
        control.put_if_missing(&by, &channel).await?;
        control.set_passing_key(channel, key);
    }
    Ok(match first_channel() {
        Some(channel) => control.first_start(&channel).await?,
        None => None,
    })
}

/// Fills gaps in the history that a full queue left.
async fn restore(control: Control, stop: CancellationToken) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(RESTORE_EVERY) => control.restore_torn().await,
        }
    }
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

/// What serves connections that publish.
#[derive(Clone)]
struct Publishing {
    control: Control,
    settings: publish::Settings,
    pace: Pace,
    sessions: TaskTracker,
}

impl Publishing {
    /// Serves a connection; `door` decides what it may publish.
    fn serve(&self, door: Arc<dyn Door>, accepted: Accepted) {
        let (control, pace) = (self.control.clone(), self.pace.clone());
        let session = publish::serve(control, door, self.settings, pace, accepted);
        self.sessions.spawn(session);
    }
}

async fn accept(listener: Listener, publishing: Publishing) {
    let door: Arc<dyn Door> = Arc::new(publishing.control.clone());
    loop {
        let accepted = listener.accept().await;
        publishing.serve(door.clone(), accepted);
    }
}

/// Starts the foreign APIs that are configured; each ends after `stop`.
fn foreign_apis(
    config: &Config,
    publishing: &Publishing,
    stop: &CancellationToken,
) -> Result<TaskTracker, StartError> {
    let running = TaskTracker::new();
    let oss = &config.compat.oss;
    if let config::Listen::At(address) = oss.listen {
        let settings = oss::Settings {
            domain: oss.domain.clone(),
            cnames: oss.cnames.clone(),
            keys: oss.keys.clone(),
            security_tokens: oss.security_tokens.clone(),
        };
        let api = Oss::new(publishing.control.clone(), &settings)?;
        let listener = listen("the OSS API", address, |address| {
            Listener::bind(address, oss.connections_max)
        })?;
        let at = listener.local_addr().unwrap_or(address);
        tracing::info!(listen = %at, domain = oss.domain, "OSS LiveChannel API");
        let (router, publishing) = (api.router(), publishing.clone());
        let door: Arc<dyn Door> = Arc::new(api);
        let rtmp = move |accepted| publishing.serve(door.clone(), accepted);
        running.spawn(one_port::serve(listener, router, rtmp, stop.clone()));
    }
    Ok(running)
}

/// What a person at the terminal needs to begin.
fn greet(
    config: &Config,
    first: Option<&FirstStart>,
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
    match (first, config.auth.publish) {
        (Some(first), config::Publish::Key) => {
            println!("    Stream Key  stream?key={}", first.key.reveal());
        }
        (_, config::Publish::Open) => {
            println!("    Stream Key  any name: auth.publish is \"open\"");
        }
        (_, config::Publish::Signed) => {
            println!("    Stream Key  from the API (publish-url): auth.publish is \"signed\"");
        }
        (None, config::Publish::Key) => {
            println!("    Stream Key  stream?key=…  (shown at the first start)");
        }
    }
    if let Some(first) = first {
        println!("  API token     {}", first.token.reveal());
        println!("    (key and token are shown only now: the catalog has their digests)");
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
    let by = Caller::server("demo");
    if let Err(error) = control.put_if_missing(&by, &channel).await {
        return tracing::error!(%error, "the demo has no channel");
    }
    control.set_passing_key(channel, key.reveal());
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
