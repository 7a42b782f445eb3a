//! The most memory that the process takes, whatever anybody sends: a sum over the settings.
//!
//! Each term is a limit that is enforced where it is named. The README shows the sum for the default
//! settings; the server logs its own at the start.

use crate::config::{self, Config};
use crate::control::GROWING_BYTES;
use crate::net::{CONNECTION_BYTES, FREE_BYTES};
use crate::pipeline::BLOCK_BYTES;
use crate::publish::GATHERED_MAX;
use crate::store::disk::QUEUED_BYTES_MAX;
use crate::{http, store};

/// What does not depend on the settings: code and stacks, the catalog with its cache and the rows that
/// wait for it (65,536), known channels (20,000), addresses that ask (200,000), viewers (1,000,000).
const BASE: u64 = 256 << 20;
/// What is muxed of a message takes no more room than the message and a third.
const MUXED: u64 = 3;

/// A term of the sum.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Term {
    pub(super) what: &'static str,
    pub(super) bytes: u64,
}

/// The sum, term by term.
pub(super) fn terms(config: &Config) -> Vec<Term> {
    let oss = match config.compat.oss.listen {
        config::Listen::Off => 0,
        config::Listen::At(_) => config.compat.oss.connections_max as u64,
    };
    let rtmp_connections = config.rtmp.connections_max as u64 + oss;
    let http_connections = config.http.connections_max as u64 + oss;
    let a_publisher = CONNECTION_BYTES + 2 * (FREE_BYTES + BLOCK_BYTES) + GATHERED_MAX;
    let an_answer = http::ANSWER_BYTES_MAX as u64;
    let remote = !config.store.url.starts_with("file:");
    let uploads = if remote {
        config.spool.uploads as u64
    } else {
        0
    };
    let term = |what, bytes| Term { what, bytes };
    vec![
        term("base", BASE),
        term("messages", config.ingest.memory.0.saturating_mul(MUXED)),
        term(
            "publishers",
            rtmp_connections.saturating_mul(a_publisher as u64),
        ),
        term("writes", QUEUED_BYTES_MAX as u64),
        term("uploads", uploads.saturating_mul(store::UPLOAD_PIECE)),
        term("segments", config.http.cache.0.saturating_mul(2)),
        term(
            "playlists",
            config
                .http
                .playlist_cache
                .0
                .saturating_add(2 * GROWING_BYTES)
                .saturating_mul(2),
        ),
        term(
            "viewers",
            http_connections.saturating_mul(http::CONNECTION_BYTES_MAX as u64),
        ),
        term(
            "answers",
            (config.http.requests_max as u64).saturating_mul(an_answer),
        ),
    ]
}

/// Logs the sum.
pub(super) fn tell(config: &Config) {
    let terms = terms(config);
    let bytes = terms
        .iter()
        .fold(0u64, |sum, term| sum.saturating_add(term.bytes));
    let mib = |bytes: u64| bytes.div_ceil(1 << 20);
    let sum: Vec<_> = { terms.iter() }
        .map(|term| format!("{} {}", term.what, mib(term.bytes)))
        .collect();
    tracing::info!(bytes, mib = sum.join(" + "), "memory ceiling");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_readme_shows_the_sum_of_the_defaults() {
        let readme = include_str!("../../README.md");
        let terms = terms(&Config::default());
        let sum = terms.iter().map(|term| term.bytes).sum();
        let rows = { terms.iter() }.map(|term| (format!("`{}`", term.what), term.bytes));
        for (what, bytes) in rows.chain([("in all".to_owned(), sum)]) {
            let row = readme
                .lines()
                .find(|line| line.starts_with(&format!("| {what} |")));
            let row = row.unwrap_or_else(|| panic!("the README has no row for {what}"));
            let shown = format!("| {} |", bytes.div_ceil(1 << 20));
            assert!(row.ends_with(&shown), "{row}: it is {shown}");
        }
    }
}
