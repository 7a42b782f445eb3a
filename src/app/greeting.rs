//! What a person at the terminal needs to begin, and the demo.

use crate::cli::{Clip, Pusher, Speed};
use crate::config::{self, Config};
use crate::control::auth::{Caller, FreshKey};
use crate::control::{Control, FirstStart};
use crate::id::ChannelId;
use std::net::SocketAddr;
use std::time::Duration;
use tokio_util::sync::CancellationToken;

/// The clip of `--demo`.
const DEMO: &[u8] = include_bytes!("../../assets/demo.flv");
/// Pause before the demo publishes again after it was ended.
const DEMO_PAUSE: Duration = Duration::from_secs(2);

/// What a person at the terminal needs to begin.
pub(super) fn greet(
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
pub(super) async fn publish_demo(control: Control, port: u16, stop: CancellationToken) {
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
