//! `millstream catalog`: works on a server's own store and database, whether it runs or not.

use super::{Failure, because};
use crate::app;
use crate::config::Config;
use clap::Subcommand;
use std::path::PathBuf;

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make channels and history again from the recordings in the store; what is there stays.
    Rebuild {
        /// Configuration file; without it `config.toml` in this folder, if there is one.
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// Change one setting, for example `--set data_dir=/srv/millstream`.
        #[arg(long = "set", value_name = "KEY=VALUE")]
        settings: Vec<String>,
    },
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let Command::Rebuild { config, settings } = arguments.command;
    let config = Config::load(config.as_deref(), &settings)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| because("cannot start", &error))?;
    let (channels, recordings) = runtime.block_on(app::rebuild_catalog(config))?;
    println!("{channels} channels, {recordings} recordings");
    Ok(())
}
