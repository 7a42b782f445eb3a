//! `millstream serve`

use super::{Failure, because};
use crate::app::{self, Reread, SetLevel};
use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

/// Settings whose values are secrets, or hold one.
const SECRETS: [&str; 5] = [
    "auth.keys",
    "catalog.url",
    "compat.oss.keys",
    "compat.oss.security_tokens",
    "store.secret_access_key",
];

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Configuration file; without it `config.toml` in this folder, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change one setting, for example `--set http.listen=127.0.0.1:8080`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
    /// Also publish a test clip in a loop to live/demo.
    #[arg(long)]
    demo: bool,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Arguments {
        config: file,
        settings,
        demo,
    } = arguments;
    let config = Config::load(file.as_deref(), &settings)?;
    let set_level = start_log(&config)?;
    warn_of_shown_secrets(&settings);
    let read = move || Config::load(file.as_deref(), &settings);
    let reread = Reread {
        read: Box::new(read),
        set_level,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| because("cannot start", &error))?;
    runtime.block_on(app::serve(config, reread, demo))?;
    Ok(())
}

/// Every user of the machine sees the arguments of a process.
fn warn_of_shown_secrets(settings: &[String]) {
    let keys = settings
        .iter()
        .filter_map(|setting| setting.split('=').next());
    for key in keys {
        if SECRETS.iter().any(|secret| key.trim().starts_with(secret)) {
            tracing::warn!(
                key,
                "--set shows this secret to every user of the machine; write it into the configuration file or the environment"
            );
        }
    }
}

fn start_log(config: &Config) -> Result<SetLevel, Failure> {
    let filter = EnvFilter::try_new(&config.log.level)
        .map_err(|error| because(format!("log.level {:?}", config.log.level), &error))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    Ok(match config.log.format {
        LogFormat::Text => {
            let log = log.with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |level| {
                let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
                handle.reload(filter).map_err(|error| error.to_string())
            })
        }
        LogFormat::Json => {
            let log = log.json().with_filter_reloading();
            let handle = log.reload_handle();
            log.init();
            Box::new(move |level| {
                let filter = EnvFilter::try_new(level).map_err(|error| error.to_string())?;
                handle.reload(filter).map_err(|error| error.to_string())
            })
        }
    })
}
