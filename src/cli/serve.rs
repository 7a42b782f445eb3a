//! `millstream serve`

use super::{Failure, because};
use crate::app;
use crate::config::{Config, LogFormat};
use std::io::IsTerminal;
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

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
    let config = Config::load(arguments.config.as_deref(), &arguments.settings)?;
    start_log(&config)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| because("cannot start", &error))?;
    runtime.block_on(app::serve(config, arguments.demo))?;
    Ok(())
}

fn start_log(config: &Config) -> Result<(), Failure> {
    let filter = EnvFilter::try_new(&config.log.level)
        .map_err(|error| because(format!("log.level {:?}", config.log.level), &error))?;
    let log = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false);
    match config.log.format {
        LogFormat::Text => log.init(),
        LogFormat::Json => log.json().init(),
    }
    Ok(())
}
