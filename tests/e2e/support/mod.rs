//! What end-to-end tests are made of: clips, a server, players, and oracles that judge its output.

pub(crate) mod process;

pub(crate) mod clips;
pub(crate) mod port;
pub(crate) mod publisher;
pub(crate) mod raw;
pub(crate) mod server;

pub(crate) mod browser;
pub(crate) mod http;
pub(crate) mod proxy;
pub(crate) mod watch;
pub(crate) mod weed;

pub(crate) mod flv;
pub(crate) mod lossless;
pub(crate) mod playlist;
pub(crate) mod probe;
pub(crate) mod recording;
pub(crate) mod tswalk;

use std::time::{Duration, Instant};

/// Asks `condition` every 50 ms until it answers; fails with `what` when `limit` has passed.
pub(crate) fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut condition: impl FnMut() -> Option<T>,
) -> T {
    let began = Instant::now();
    loop {
        if let Some(answer) = condition() {
            return answer;
        }
        assert!(
            began.elapsed() < limit,
            "waited {limit:?} in vain for {what}"
        );
        std::thread::sleep(Duration::from_millis(50));
    }
}
