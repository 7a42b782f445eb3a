//! The composition root: makes the parts, joins them, and ends them in order.

mod books;
mod cards;
mod ceiling;
mod greeting;
mod listening;
mod metering;
mod one_port;
mod publishing;
mod reloading;
mod retention;
mod settings;
mod signals;
mod stopping;
mod storage;

use crate::catalog::{self, Catalog};
use crate::compat::oss;
use crate::config::{self, Config};
use crate::control::auth::Caller;
use crate::control::{self, Control, FirstStart};
use crate::id::ChannelId;
use crate::key::RecordingKey;
use crate::net;
use crate::{api, clock, http};
pub use books::{check_catalog, rebuild_catalog};
use http::Gate;
use listening::Doors;
use publishing::Publishing;
use reloading::Reloading;
pub use reloading::{Read, Reread, SetLevel};
use signals::Signals;
use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;
use stopping::Stopping;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How often it is looked whether history has gaps that can be filled.
const RESTORE_EVERY: Duration = Duration::from_secs(5);

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
    /// The store signs no URLs.
    #[error(
        "store.read = \"redirect\" needs a store that signs URLs, and {url} does not: {reason}"
    )]
    Unsigned {
        /// Where the store is.
        url: String,
        /// Why.
        reason: String,
    },
    /// The catalog cannot be opened.
    #[error(transparent)]
    Catalog(#[from] catalog::Error),
    /// The catalog or the store does not do what the start needs.
    #[error("cannot start: {0}")]
    Control(#[from] control::Error),
    /// A configured host stands for something that is no bucket.
    #[error("configuration: compat.oss.cnames: {0}")]
    Oss(#[from] oss::NoBucket),
    /// The certificate cannot be used.
    #[error(transparent)]
    Tls(#[from] net::TlsError),
    /// A configured name is none.
    #[error(transparent)]
    Config(#[from] config::ConfigError),
}

/// Runs the server until it is told to stop; `reread` is for when it is told to read its configuration.
pub async fn serve(config: Config, reread: Reread, demo: bool) -> Result<(), StartError> {
    let began = clock::monotonic();
    let mut signals = Signals::new();
    ceiling::tell(&config);
    listening::raise_descriptors(&config);
    let doors = Doors::new(&config)?;
    let http = doors.listen_http(&config)?;
    let (stop, delivery) = (CancellationToken::new(), TaskTracker::new());
    let gate = Gate::default();
    metering::begin(stop.clone());
    for listener in http.listeners {
        delivery.spawn(http::serve(
            listener,
            gate.router(),
            settings::http(&config),
            doors.front.clone(),
            stop.clone(),
        ));
    }
    let control = make_control(&config).await?;
    if let Some(urls) = storage::signed_urls(&config).await? {
        control.send_readers_to(urls);
    }
    let cut_off = storage::take_up(&control, &config).await?;
    control.set_sources(settings::sources(&config));
    let first = prepare(&control, &config, cut_off).await?;
    let rtmp = doors.listen_rtmp(&config)?;
    let places = settings::places(&config, rtmp.at.port());
    gate.open(
        http::router(control.clone())
            .merge(api::metrics(control.clone(), settings::metrics(&config)))
            .merge(api::router(control.clone(), places)),
    );
    let sessions = TaskTracker::new();
    let leave = CancellationToken::new();
    let publishing = Publishing::new(control.clone(), &config, sessions.clone(), leave.clone());
    publishing::foreign_apis(&config, &doors, &publishing, &stop, &delivery)?;
    let accept = |listener| tokio::spawn(publishing::accept(listener, publishing.clone()));
    let accepting = rtmp.listeners.into_iter().map(accept).collect();
    greeting::greet(&config, first.as_ref(), rtmp.at, http.at, demo);
    tokio::spawn(doors.clone().watch_certificate(stop.clone()));
    tokio::spawn(restore(control.clone(), stop.clone()));
    tokio::spawn(cards::keep(control.clone(), stop.clone()));
    let retention = retention::of(&control, &config);
    let reloading = Reloading {
        config: config.clone(),
        reread,
        control: control.clone(),
        doors,
        publishing,
        retention: retention.clone(),
    };
    tokio::spawn(reloading.run(stop.clone()));
    tokio::spawn(retention::run(retention, stop.clone()));
    if demo {
        tokio::spawn(greeting::publish_demo(
            control.clone(),
            rtmp.at.port(),
            stop.clone(),
        ));
    }
    if rtmp.tls_at.is_some() || http.tls_at.is_some() {
        tracing::info!(rtmps = ?rtmp.tls_at, https = ?http.tls_at, "TLS");
    }
    tracing::info!(rtmp = %rtmp.at, http = %http.at, start_ms = (clock::monotonic() - began).as_millis(), "ready");

    signals.stop().await;
    let stopping = Stopping {
        control,
        sessions,
        leave,
        accepting,
        stop,
        delivery,
    };
    tokio::select! {
        () = stopping.run(&config) => {}
        () = signals.stop() => tracing::warn!("told to stop a second time: the rest is for the next start"),
    }
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

async fn make_control(config: &Config) -> Result<Control, StartError> {
    let (store, disk) = storage::open_store(config)?;
    let catalog = match config.catalog.url.as_str() {
        "" => Catalog::sqlite(&config.data_dir.join("catalog.sqlite")).await?,
        url => Catalog::open(url).await?,
    };
    let control = Control::open(settings::control(config), store, disk, catalog).await?;
    Ok(control)
}

/// What has to be so before anybody publishes; `cut_off` are the recordings of a killed process.
async fn prepare(
    control: &Control,
    config: &Config,
    cut_off: Vec<RecordingKey>,
) -> Result<Option<FirstStart>, StartError> {
    let recovered = control.recover_history(cut_off).await?;
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
