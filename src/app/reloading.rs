//! SIGHUP: the configuration is read anew. What can be taken up while the server runs is, and what
//! cannot is named.

use super::listening::{Doors, http_seats, rtmp_seats};
use super::publishing::Publishing;
use super::settings;
use crate::config::{Config, ConfigError};
use crate::control::Control;
use crate::control::auth::Caller;
use crate::control::retention::Retention;
use figment::value::{Dict, Value};
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Reads the configuration from where it came.
pub type Read = Box<dyn Fn() -> Result<Config, ConfigError> + Send + Sync>;
/// Changes what is logged.
pub type SetLevel = Box<dyn Fn(&str) -> Result<(), String> + Send + Sync>;

/// How the configuration is read anew.
pub struct Reread {
    /// Reads it.
    pub read: Read,
    /// Changes what is logged.
    pub set_level: SetLevel,
}

/// What can be taken up, with all that is below it. What is said of a push counts from the next one on,
/// what is said of places for those who come.
const TAKEN_UP: &[&str] = &[
    "auth.keys",
    "auth.play_from",
    "auth.play_not_from",
    "auth.publish_from",
    "auth.publish_not_from",
    "hls.part_duration",
    "hls.segment_duration",
    "hls.segment_max",
    "http.connections_max",
    "http.connections_per_address",
    "http.requests_per_address",
    "ingest.bit_rate_max",
    "ingest.frame_rate_max",
    "ingest.message_max",
    "ingest.session_max",
    "log.level",
    "net.trusted_proxies",
    "retention",
    "rtmp.connections_max",
    "rtmp.connections_per_address",
    "rtmp.idle_timeout",
    "rtmp.pending_max",
    "rtmp.publish_timeout",
];

/// What is changed.
pub(super) struct Reloading {
    pub(super) config: Config,
    pub(super) reread: Reread,
    pub(super) control: Control,
    pub(super) doors: Doors,
    pub(super) publishing: Publishing,
    pub(super) retention: Arc<Retention>,
}

impl Reloading {
    /// Reads the configuration at each SIGHUP, until `stop`.
    pub(super) async fn run(mut self, stop: CancellationToken) {
        let mut hangup = match signal(SignalKind::hangup()) {
            Ok(hangup) => hangup,
            Err(error) => return tracing::error!(%error, "cannot listen for SIGHUP"),
        };
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                told = hangup.recv() => if told.is_none() { return },
            }
            self.doors.reload_certificate();
            match (self.reread.read)() {
                Ok(config) => self.take_up(config).await,
                Err(error) => {
                    tracing::error!(%error, "the configuration cannot be read anew; nothing changes");
                }
            }
        }
    }

    async fn take_up(&mut self, config: Config) {
        let changed = changed(&self.config, &config);
        let can = |key: &String| {
            let mut known = TAKEN_UP.iter();
            known.any(|one| {
                key.strip_prefix(one)
                    .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
            })
        };
        let (taken, left): (Vec<_>, Vec<_>) = changed.into_iter().partition(can);
        if let Err(error) = (self.reread.set_level)(&config.log.level) {
            tracing::error!(%error, "log.level stays as it was");
        }
        self.doors.rtmp.set_seats(rtmp_seats(&config));
        self.doors.http.set_seats(http_seats(&config));
        self.doors.front.rate.set(config.http.requests_per_address);
        self.doors
            .front
            .proxies
            .set(config.net.trusted_proxies.clone());
        self.publishing.set(settings::publish(&config));
        self.retention.set((&config).into());
        self.control.set_sources(settings::sources(&config));
        self.take_up_keys(&config).await;
        let (taken, restart) = (taken.join(", "), left.join(", "));
        tracing::info!(taken, "the configuration was read anew");
        if !restart.is_empty() {
            tracing::warn!(restart, "these need a restart");
        }
        self.config = config;
    }

    async fn take_up_keys(&self, config: &Config) {
        let (Ok(before), Ok(now)) = (self.config.auth.channels(), config.auth.channels()) else {
            return tracing::error!("auth.keys names what is no channel; keys stay as they were");
        };
        for (channel, _) in &before {
            self.control.take_passing_key(channel);
        }
        let by = Caller::server("configuration");
        for (channel, key) in now {
            if let Err(error) = self.control.put_if_missing(&by, &channel).await {
                tracing::error!(%channel, %error, "a channel of auth.keys cannot be made");
            }
            self.control.set_passing_key(channel, key);
        }
    }
}

/// The keys whose values differ.
fn changed(before: &Config, after: &Config) -> Vec<String> {
    let (before, after) = (flat(before), flat(after));
    let keys: std::collections::BTreeSet<_> = before.keys().chain(after.keys()).collect();
    let differs = |key: &&&String| before.get(**key) != after.get(**key);
    keys.iter()
        .filter(differs)
        .map(|key| (*key).clone())
        .collect()
}

/// Every value by its full name. The values are for comparing: there are secrets among them.
fn flat(config: &Config) -> BTreeMap<String, String> {
    let mut all = BTreeMap::new();
    if let Ok(Value::Dict(_, dict)) = Value::serialize(config) {
        flatten("", &dict, &mut all);
    }
    all
}

fn flatten(prefix: &str, dict: &Dict, all: &mut BTreeMap<String, String>) {
    for (key, value) in dict {
        let name = match prefix {
            "" => key.clone(),
            prefix => format!("{prefix}.{key}"),
        };
        match value {
            Value::Dict(_, inner) => flatten(&name, inner, all),
            // Without the tag, which tells where it came from.
            value => drop(all.insert(name, text(value))),
        }
    }
}

fn text(value: &Value) -> String {
    match value {
        Value::Array(_, values) => values.iter().map(text).collect::<Vec<_>>().join(","),
        Value::String(_, text) => text.clone(),
        Value::Bool(_, value) => value.to_string(),
        Value::Num(_, number) => format!("{number:?}"),
        Value::Char(_, _) | Value::Empty(_, _) | Value::Dict(_, _) => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_changed_is_known_by_name() {
        let load = |settings: &[&str]| {
            let settings: Vec<_> = settings.iter().map(|one| (*one).to_owned()).collect();
            Config::load(None, &settings).expect("a configuration")
        };
        let before = load(&["auth.keys={\"live/a\" = \"secret\"}"]);
        let after = load(&[
            "http.cache=1MiB",
            "net.trusted_proxies=[\"10.0.0.0/8\"]",
            "hls.window=7",
        ]);
        let found = changed(&before, &after);
        let expected = [
            "auth.keys.live/a",
            "hls.window",
            "http.cache",
            "net.trusted_proxies",
        ];
        assert_eq!(found, expected);
        assert!(changed(&after, &after).is_empty());
        let all = flat(&Config::default());
        for key in TAKEN_UP {
            let section = format!("{key}.");
            let is_of = |name: &String| name == key || name.starts_with(&section);
            // Tables without an entry have no key of their own.
            let table = key.ends_with("_from") || *key == "auth.keys";
            assert!(all.keys().any(is_of) || table, "{key}");
        }
    }
}
