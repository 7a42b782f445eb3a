//! What stands between the world and every listener: `[net]`, `[tls]`.

use super::values::{Listen, contradiction};
use super::{Config, ConfigError};
use ipnet::IpNet;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// `[net]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Net {
    /// Networks of proxies that are believed to tell whose connection or request they pass on.
    pub trusted_proxies: Vec<IpNet>,
}

/// `[tls]`
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Tls {
    /// PEM file: the chain, the server's own certificate first.
    pub certificate: PathBuf,
    /// PEM file: its private key.
    pub key: PathBuf,
}

impl Tls {
    pub(super) fn check(config: &Config) -> Result<(), ConfigError> {
        let Tls { certificate, key } = &config.tls;
        let listens = [
            ("rtmp", config.rtmp.tls_listen),
            ("http", config.http.tls_listen),
        ];
        let missing = certificate.as_os_str().is_empty() || key.as_os_str().is_empty();
        match listens.iter().find(|(_, listen)| *listen != Listen::Off) {
            Some((section, _)) if missing => contradiction(format!(
                "{section}.tls_listen is set, so tls.certificate and tls.key must name PEM files"
            )),
            _ => Ok(()),
        }
    }
}
