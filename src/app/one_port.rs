//! RTMP and HTTP on one port: for APIs whose publish URLs carry the port of their HTTP endpoint.

use crate::http::{self, Server};
use crate::net::{Accepted, Listener, Speaks, speaks};
use axum::Router;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Time to the first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);

/// Gives each connection of `listener` to `rtmp` or to `router`, until `stop`; then finishes the
/// HTTP answers under way. A connection counts against the listener's limit for as long as it is
/// open, whatever it speaks.
pub(super) async fn serve(
    listener: Listener,
    router: Router,
    rtmp: impl Fn(Accepted),
    stop: CancellationToken,
) {
    let server = Server::new(router, http::Limits::default());
    // As many as the listener has permits, at most.
    let mut greeting = JoinSet::new();
    loop {
        let (accepted, speaks) = tokio::select! {
            accepted = listener.accept() => {
                greeting.spawn(async {
                    let speaks = speaks(&accepted.stream, FIRST_BYTE_MAX).await;
                    (accepted, speaks)
                });
                continue;
            }
            Some(Ok(greeted)) = greeting.join_next() => greeted,
            () = stop.cancelled() => break,
        };
        match speaks {
            Ok(Speaks::Rtmp) => rtmp(accepted),
            Ok(Speaks::Http) => {
                let connection = server.connection(accepted.stream, accepted.peer);
                tokio::spawn(async move {
                    connection.await;
                    drop(accepted.permit);
                });
            }
            Ok(Speaks::Neither) => {
                tracing::debug!(remote = %accepted.peer, "neither RTMP nor HTTP: closed");
            }
            Err(error) => tracing::debug!(remote = %accepted.peer, %error, "closed unheard"),
        }
    }
    drop(listener);
    server.drain().await;
}
