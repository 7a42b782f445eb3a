//! RTMP and HTTP on one port: for APIs whose publish URLs carry the port of their HTTP endpoint.

use crate::http::{Front, Limits, Server};
use crate::net::{Accepted, Arrival, First, Listener, first};
use axum::Router;
use std::time::Duration;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// Time to the first byte.
const FIRST_BYTE_MAX: Duration = Duration::from_secs(10);

/// Gives each connection of `listener` to `rtmp` or to `router`, until `stop`; then finishes the
/// HTTP answers under way. A connection has one of the listener's places for as long as it is open,
/// whatever it speaks.
pub(super) async fn serve(
    mut listener: Listener,
    router: Router,
    limits: Limits,
    front: Front,
    rtmp: impl Fn(Accepted),
    stop: CancellationToken,
) {
    let server = Server::new(router, limits, front);
    // As many as the listener has places, at most.
    let mut entering = JoinSet::new();
    loop {
        let entered = tokio::select! {
            arrival = listener.accept() => {
                entering.spawn(enter(arrival));
                continue;
            }
            Some(Ok(entered)) = entering.join_next() => entered,
            () = stop.cancelled() => break,
        };
        match entered {
            Some((accepted, First::Rtmp)) => rtmp(accepted),
            Some((accepted, First::Http)) => {
                tokio::spawn(server.connection(accepted));
            }
            Some((accepted, other)) if accepted.place.may_tell() => {
                tracing::warn!(remote = %accepted.peer, "closed before it began: the peer speaks {other} on a port for HTTP and RTMP");
            }
            Some(_) | None => {}
        }
    }
    drop(listener);
    server.drain().await;
}

async fn enter(arrival: Arrival) -> Option<(Accepted, First)> {
    let accepted = arrival.enter(FIRST_BYTE_MAX).await?;
    // It is there already.
    let first = first(accepted.stream.socket()).await.ok()?;
    Some((accepted, first))
}
