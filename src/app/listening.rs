//! The listeners: plain and TLS, with their places, and the certificate as its files change.

use super::{StartError, listen};
use crate::config::{Config, Listen};
use crate::http::{Front, Rate};
use crate::net::{Certificate, Expects, Listener, Lobby, Nets, Seats};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;
use tokio_util::sync::CancellationToken;

/// How often the certificate's files are looked at.
const LOOK: Duration = Duration::from_secs(5);

/// What all listeners share.
#[derive(Clone)]
pub(super) struct Doors {
    pub(super) certificate: Option<Arc<Certificate>>,
    pub(super) front: Front,
    pub(super) rtmp: Lobby,
    pub(super) http: Lobby,
}

/// A protocol's listeners: the plain one, and the one with TLS if there is one.
pub(super) struct Listening {
    pub(super) listeners: Vec<Listener>,
    /// Where the plain one listens.
    pub(super) at: SocketAddr,
    /// Where the one with TLS does.
    pub(super) tls_at: Option<SocketAddr>,
}

impl Doors {
    pub(super) fn new(config: &Config) -> Result<Self, StartError> {
        let certificate = match config.tls.certificate.as_os_str().is_empty() {
            true => None,
            false => Some(Certificate::load(&config.tls.certificate, &config.tls.key)?),
        };
        Ok(Self {
            certificate,
            front: Front {
                rate: Rate::new(config.http.requests_per_address),
                proxies: Nets::new(config.net.trusted_proxies.clone()),
                answers: Arc::new(Semaphore::new(config.http.requests_max)),
            },
            rtmp: Lobby::new(rtmp_seats(config)),
            http: Lobby::new(http_seats(config)),
        })
    }

    pub(super) fn listen_rtmp(&self, config: &Config) -> Result<Listening, StartError> {
        let (plain, tls) = (config.rtmp.listen, config.rtmp.tls_listen);
        self.listen(("RTMP", "RTMPS"), plain, tls, Expects::Rtmp, &self.rtmp)
    }

    pub(super) fn listen_http(&self, config: &Config) -> Result<Listening, StartError> {
        let (plain, tls) = (config.http.listen, config.http.tls_listen);
        self.listen(("HTTP", "HTTPS"), plain, tls, Expects::Http, &self.http)
    }

    fn listen(
        &self,
        what: (&'static str, &'static str),
        plain: SocketAddr,
        tls: Listen,
        expects: Expects,
        lobby: &Lobby,
    ) -> Result<Listening, StartError> {
        let bind = |what, address| {
            let bound = listen(what, address, |address| {
                Listener::with_lobby(address, expects, lobby.clone())
            })?;
            let at = bound.local_addr().unwrap_or(address);
            Ok::<_, StartError>((bound.with_proxies(self.front.proxies.clone()), at))
        };
        let (listener, at) = bind(what.0, plain)?;
        let mut listening = Listening {
            listeners: vec![listener],
            at,
            tls_at: None,
        };
        if let (Listen::At(address), Some(certificate)) = (tls, &self.certificate) {
            let (listener, at) = bind(what.1, address)?;
            let acceptor = certificate.acceptor(expects == Expects::Http)?;
            listening.listeners.push(listener.with_tls(acceptor));
            listening.tls_at = Some(at);
        }
        Ok(listening)
    }

    /// Takes the certificate anew when its files have changed, until `stop`.
    pub(super) async fn watch_certificate(self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK) => self.reload_certificate(),
            }
        }
    }

    pub(super) fn reload_certificate(&self) {
        let Some(certificate) = &self.certificate else {
            return;
        };
        match certificate.reload() {
            Ok(false) => {}
            Ok(true) => tracing::info!("the new certificate is in use"),
            Err(error) => {
                tracing::error!(%error, "the new certificate cannot be used; the old one serves on");
            }
        }
    }
}

pub(super) fn rtmp_seats(config: &Config) -> Seats {
    Seats {
        all: config.rtmp.connections_max,
        address: config.rtmp.connections_per_address,
        strangers: config.rtmp.pending_max,
    }
}

pub(super) fn http_seats(config: &Config) -> Seats {
    Seats {
        all: config.http.connections_max,
        address: config.http.connections_per_address,
        // A connection without a request costs little, and may wait for its first.
        strangers: config.http.connections_max,
    }
}

/// Each connection is a descriptor, and so is each file that is read or written: takes as many as the
/// system allows, and says so if they are too few.
pub(super) fn raise_descriptors(config: &Config) {
    use rustix::process::{Resource, getrlimit, setrlimit};
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
    let wanted = (config.rtmp.connections_max + config.http.connections_max) as u64;
    if let Some(have) = getrlimit(Resource::Nofile)
        .current
        .filter(|have| *have < wanted)
    {
        tracing::warn!(
            have,
            wanted,
            "fewer open files are allowed than connections: see ulimit -n, or LimitNOFILE"
        );
    }
}
