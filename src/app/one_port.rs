//! RTMP and HTTP on one port: for APIs whose publish URLs carry the port of their HTTP endpoint.

use crate::http::{Front, Limits, Server};
use crate::net::{Accepted, Arrival, First, Listener, NoEntry, first};
use axum::Router;
use std::io;
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
        let (peer, entered) = tokio::select! {
            arrival = listener.accept() => {
                entering.spawn(async move { (arrival.peer(), enter(arrival).await) });
                continue;
            }
            Some(Ok(entered)) = entering.join_next() => entered,
            () = stop.cancelled() => break,
        };
        match entered {
            Ok((accepted, First::Rtmp)) => rtmp(accepted),
            Ok((accepted, First::Http)) => {
                tokio::spawn(server.connection(accepted));
            }
            Ok((_, other)) => {
                tracing::warn!(remote = %peer, "closed before it began: the peer speaks {other} on a port for HTTP and RTMP");
            }
            Err(error) => error.log(peer),
        }
    }
    drop(listener);
    server.drain().await;
}

async fn enter(arrival: Arrival) -> Result<(Accepted, First), NoEntry> {
    let accepted = arrival.enter(FIRST_BYTE_MAX).await?;
    let displaced = accepted.place.displaced();
    let first = tokio::select! {
        first = tokio::time::timeout(FIRST_BYTE_MAX, first(accepted.stream.socket())) => first,
        () = displaced => return Err(NoEntry::Displaced),
    };
    let first = first.map_err(|_| io::Error::from(io::ErrorKind::TimedOut))??;
    Ok((accepted, first))
}
