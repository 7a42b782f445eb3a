//! Configuration: `config.toml`, environment and `--set`, parsed once into types.
//!
//! Every key is listed with its default in the `config.toml` at the top of the package; a test
//! proves that it tells the truth. Each section has its defaults and its checks beside it.

mod access;
mod compat;
mod edge;
mod ingest;
mod serving;
mod storage;
mod values;

pub use access::{Auth, ChannelKey, Publish};
pub use compat::{Compat, Oss};
pub use edge::{Net, Tls};
pub use ingest::{Hls, Ingest, Rtmp, SecondPublisher};
pub use serving::{AtStop, Http, Log, LogFormat, Metrics, Stop};
pub use storage::{Catalog, Fsync, Read, Recycle, Retention, Spool, Store};
pub use values::{BitRate, Listen, Secret, Size, Span};

use figment::Figment;
use figment::providers::{Env, Format, Serialized, Toml};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};

/// Prefix of environment variables: `MILLSTREAM__HTTP__LISTEN`.
const ENV_PREFIX: &str = "MILLSTREAM__";

/// All settings.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Folder of everything that is kept.
    pub data_dir: PathBuf,
    /// All listeners.
    pub net: Net,
    /// Their certificate.
    pub tls: Tls,
    /// RTMP listener.
    pub rtmp: Rtmp,
    /// HTTP listener.
    pub http: Http,
    /// Segments and playlists.
    pub hls: Hls,
    /// What a publisher may do.
    pub ingest: Ingest,
    /// Where segments are kept.
    pub store: Store,
    /// What waits for a remote store.
    pub spool: Spool,
    /// How long it is kept.
    pub retention: Retention,
    /// Where channels and history are kept.
    pub catalog: Catalog,
    /// Who may publish.
    pub auth: Auth,
    /// Foreign APIs.
    pub compat: Compat,
    /// The log.
    pub log: Log,
    /// The end.
    pub stop: Stop,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data_dir: PathBuf::from("data"),
            net: Net::default(),
            tls: Tls::default(),
            rtmp: Rtmp::default(),
            http: Http::default(),
            hls: Hls::default(),
            ingest: Ingest::default(),
            store: Store::default(),
            spool: Spool::default(),
            retention: Retention::default(),
            catalog: Catalog::default(),
            auth: Auth::default(),
            compat: Compat::default(),
            log: Log::default(),
            stop: Stop::default(),
        }
    }
}

/// Why a configuration cannot be used; the text names the key, the source and the nearest known key.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// A file, variable or flag that cannot be read or understood.
    #[error("{0}")]
    Source(String),
    /// Values that contradict each other.
    #[error("configuration: {0}")]
    Contradiction(String),
}

impl Config {
    /// Reads `file` if given (`config.toml` in the current folder if there is one otherwise), then
    /// the environment, then `settings` of the form `http.listen=127.0.0.1:80`.
    pub fn load(file: Option<&Path>, settings: &[String]) -> Result<Self, ConfigError> {
        let mut figment = Figment::from(Serialized::defaults(Self::default()));
        let default_file = Path::new("config.toml");
        if let Some(file) = file.or_else(|| default_file.exists().then_some(default_file)) {
            if !file.is_file() {
                let text = format!("configuration file {} cannot be read", file.display());
                return Err(ConfigError::Source(text));
            }
            figment = figment.merge(Toml::file_exact(file));
        }
        figment = figment.merge(Env::prefixed(ENV_PREFIX).split("__"));
        for setting in settings {
            let Some((key, value)) = setting.split_once('=') else {
                let text = format!(
                    "--set {setting}: write it as key=value, for example http.listen=127.0.0.1:8080"
                );
                return Err(ConfigError::Source(text));
            };
            figment = figment.merge((key.trim(), scalar(value.trim())));
        }
        let config: Self = figment
            .extract()
            .map_err(|error| ConfigError::Source(explain(error)))?;
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        self.hls.check()?;
        self.store.check()?;
        self.spool.check()?;
        self.retention.check()?;
        self.catalog.check()?;
        self.stop.check()?;
        Tls::check(self)?;
        self.rtmp.check()?;
        self.auth.check()?;
        self.compat.oss.check()
    }
}

/// A value on the command line: a number or a boolean if it looks like one, else text.
fn scalar(value: &str) -> figment::value::Value {
    if let Ok(number) = value.parse::<i64>() {
        return number.into();
    }
    match value {
        "true" => true.into(),
        "false" => false.into(),
        // A list or a table, as they are written in the environment; an address such as [::]:80 is none.
        text if text.starts_with('[') && text.ends_with(']') => parsed(text),
        text if text.starts_with('{') && text.ends_with('}') => parsed(text),
        text => text.into(),
    }
}

fn parsed(text: &str) -> figment::value::Value {
    text.parse().unwrap_or_else(|_| text.into())
}

/// figment's error with the nearest known key for an unknown one.
fn explain(error: figment::Error) -> String {
    let lines: Vec<String> = error
        .into_iter()
        .map(|one| {
            let text = one.to_string();
            let figment::error::Kind::UnknownField(found, known) = &one.kind else {
                return format!("configuration: {text}");
            };
            let path: Vec<_> = one
                .path
                .iter()
                .map(String::as_str)
                .filter(|key| key != found)
                .collect();
            let full = path
                .iter()
                .copied()
                .chain([found.as_str()])
                .collect::<Vec<_>>()
                .join(".");
            let near = known
                .iter()
                .map(|key| (strsim::jaro_winkler(found, key), *key))
                .max_by(|a, b| a.0.total_cmp(&b.0));
            let hint = match near {
                Some((likeness, key)) if likeness > 0.7 => format!("; did you mean {key}?"),
                _ => format!("; known here: {}", known.join(", ")),
            };
            let source = one.metadata.as_ref().map_or(String::new(), |from| {
                let place = from
                    .source
                    .as_ref()
                    .map_or(String::new(), |place| format!(" {place}"));
                format!(" ({}{place})", from.name)
            });
            format!("configuration: unknown key {full}{source}{hint}")
        })
        .collect();
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn config_toml_lists_every_default() {
        let text = include_str!("../config.toml");
        let written: Config = Figment::from(Toml::string(text))
            .extract()
            .expect("config.toml is complete");
        assert_eq!(written, Config::default());
        for line in text.lines().filter(|line| line.contains(" = ")) {
            assert!(line.contains(" # "), "no reason beside: {line}");
        }
    }

    #[test]
    fn wrong_settings_say_what_is_wrong() {
        let check = |setting: &str, why: &str| {
            let error = Config::load(None, &[setting.to_owned()]).expect_err(setting);
            assert!(error.to_string().contains(why), "{setting}: {error}");
        };
        check("http.lisen=127.0.0.1:80", "unknown key http.lisen");
        check("http.lisen=127.0.0.1:80", "did you mean listen?");
        check("htp.listen=127.0.0.1:80", "did you mean http?");
        check("http.listen=nowhere", "http.listen");
        check("hls.segment_duration=2", "hls.segment_duration");
        check("hls.segment_duration=20s", "longer than hls.segment_max");
        check("hls.part_duration=3s", "hls.part_duration");
        check("hls.window=1", "hls.window");
        check("http.cache=1XB", "is no size");
        check("compat.oss.listen=nowhere", "is no address");
        check("compat.oss.listen=[::]:9000", "compat.oss.keys is empty");
        check("compat.oss.keys.a=", "empty id or secret");
        check("compat.oss.security_tokens.a=b", "no access key");
        check("catalog.url=mysql://x", "catalog.url");
        check("stop.timeout=1s", "stop.timeout");
        check("rtmp.tls_listen=[::]:1936", "tls.certificate");
        check("auth.publish_from={\"a b\" = []}", "neither");
        check("ingest.bit_rate_max=20", "no bit rate");
        check("rtmp.pending_max=0", "rtmp.pending_max");
        check("net.trusted_proxies=[10.0.0.0]", "trusted_proxies");
        check("nothing", "key=value");
    }

    #[test]
    fn values_are_written_as_people_write_them() {
        let set = |setting: &str| Config::load(None, &[setting.to_owned()]).expect(setting);
        assert_eq!(set("http.cache=64MiB").http.cache, Size(64 << 20));
        assert_eq!(
            set("hls.reconnect_window=1m 30s").hls.reconnect_window,
            Span(Duration::from_secs(90))
        );
        assert_eq!(set("auth.publish=open").auth.publish, Publish::Open);
        assert_eq!(set("hls.window=12").hls.window, 12);
        let proxies = set("net.trusted_proxies=[\"10.0.0.0/8\"]")
            .net
            .trusted_proxies;
        assert_eq!(proxies, ["10.0.0.0/8".parse().expect("a network")]);
    }
}
