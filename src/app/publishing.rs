//! What serves connections that publish: the RTMP port, and those of foreign APIs.

use super::listening::Doors;
use super::{StartError, listen, one_port, settings};
use crate::compat::oss::{self, Oss};
use crate::config::{self, Config};
use crate::control::Control;
use crate::control::auth::Door;
use crate::net::{Accepted, Arrival, Budget, Expects, Listener, Pace, Seats};
use crate::pipeline::Blocks;
use crate::publish::{self, Shared};
use std::sync::{Arc, PoisonError, RwLock};
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// What serves connections that publish.
#[derive(Clone)]
pub(super) struct Publishing {
    control: Control,
    /// For those who come from now on.
    settings: Arc<RwLock<publish::Settings>>,
    shared: Shared,
    sessions: TaskTracker,
    leave: CancellationToken,
}

impl Publishing {
    /// Connections are counted in `sessions`; those that do not publish end with `leave`.
    pub(super) fn new(
        control: Control,
        config: &Config,
        sessions: TaskTracker,
        leave: CancellationToken,
    ) -> Self {
        Self {
            control,
            settings: Arc::new(RwLock::new(settings::publish(config))),
            shared: Shared {
                pace: Pace::default(),
                budget: Budget::new(usize::try_from(config.ingest.memory.0).unwrap_or(usize::MAX)),
                blocks: Blocks::default(),
            },
            sessions,
            leave,
        }
    }

    /// These settings from now on.
    pub(super) fn set(&self, settings: publish::Settings) {
        *self
            .settings
            .write()
            .unwrap_or_else(PoisonError::into_inner) = settings;
    }

    fn settings(&self) -> publish::Settings {
        *self.settings.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// Serves a connection once it has told what it has to tell before its protocol.
    fn receive(&self, door: Arc<dyn Door>, arrival: Arrival) {
        let publishing = self.clone();
        self.sessions.spawn(async move {
            let entered = tokio::select! {
                entered = arrival.enter(publishing.settings().timeouts.publish) => entered,
                () = publishing.leave.cancelled() => return,
            };
            if let Some(accepted) = entered {
                publishing.serve(door, accepted);
            }
        });
    }

    /// Serves a connection; `door` decides what it may publish.
    fn serve(&self, door: Arc<dyn Door>, accepted: Accepted) {
        let control = self.control.clone();
        let shared = self.shared.clone();
        let leave = self.leave.clone();
        let session = publish::serve(control, door, self.settings(), shared, accepted, leave);
        self.sessions.spawn(session);
    }
}

pub(super) async fn accept(mut listener: Listener, publishing: Publishing) {
    let door: Arc<dyn Door> = Arc::new(publishing.control.clone());
    loop {
        let arrival = listener.accept().await;
        publishing.receive(door.clone(), arrival);
    }
}

/// Starts the foreign APIs that are configured, in `running`; each ends after `stop`.
pub(super) fn foreign_apis(
    config: &Config,
    doors: &Doors,
    publishing: &Publishing,
    stop: &CancellationToken,
    running: &TaskTracker,
) -> Result<(), StartError> {
    let oss = &config.compat.oss;
    if let config::Listen::At(address) = oss.listen {
        let settings = oss::Settings {
            domain: oss.domain.clone(),
            cnames: oss.cnames.clone(),
            keys: oss.keys.clone(),
            security_tokens: oss.security_tokens.clone(),
            limits: { oss.limits.iter() }
                .map(|(id, limits)| {
                    let limits = oss::KeyLimits {
                        buckets: limits.buckets.clone(),
                        read_only: limits.read_only,
                    };
                    (id.clone(), limits)
                })
                .collect(),
        };
        let api = Oss::new(publishing.control.clone(), &settings)?;
        let listener = listen("the OSS API", address, |address| {
            let seats = Seats {
                all: oss.connections_max,
                address: config.http.connections_per_address,
                strangers: oss.connections_max,
            };
            Listener::bind(address, Expects::Either, seats)
        })?;
        let listener = listener.with_proxies(doors.front.proxies.clone());
        let at = listener.local_addr().unwrap_or(address);
        tracing::info!(listen = %at, domain = oss.domain, "OSS LiveChannel API");
        let (router, publishing) = (api.router(), publishing.clone());
        let door: Arc<dyn Door> = Arc::new(api);
        let rtmp = move |accepted| publishing.serve(door.clone(), accepted);
        let (limits, front) = (settings::http(config), doors.front.clone());
        running.spawn(one_port::serve(
            listener,
            router,
            limits,
            front,
            rtmp,
            stop.clone(),
        ));
    }
    Ok(())
}
