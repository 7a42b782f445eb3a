//! `millstream catalog`: works on a server's own store and database, whether it runs or not.

use super::{Failure, because};
use crate::app;
use crate::config::Config;
use crate::control::check::{How, Report};
use crate::id::ChannelId;
use clap::Subcommand;
use indicatif::{ProgressBar, ProgressStyle};
use std::path::PathBuf;
use std::time::Duration;

/// A recording of which something was written within this is taken for one that is being written.
const IDLE: Duration = Duration::from_secs(120);

#[derive(clap::Args)]
pub(super) struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Make channels, clips and history again from what is in the store; what is there stays.
    Rebuild {
        #[command(flatten)]
        of: Of,
    },
    /// Compare the catalog with the store, in both directions. Ends with 0 if they agree or all was
    /// mended, with 1 if something is left.
    Check {
        /// Mend what can be mended: what is gone becomes a gap, rows follow the recordings' indexes,
        /// what a killed server left is closed. Media that nothing names is never removed, unless it has
        /// expired.
        #[arg(long)]
        repair: bool,
        /// Leave a recording that is not over alone if something of it was written within this many
        /// seconds or within its reconnect window; 0: if no server runs.
        #[arg(long, value_name = "SECONDS", default_value_t = IDLE.as_secs())]
        idle: u64,
        #[command(flatten)]
        of: Of,
    },
}

#[derive(clap::Args)]
struct Of {
    /// Configuration file; without it `config.toml` in this folder, if there is one.
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Change one setting, for example `--set data_dir=/srv/millstream`.
    #[arg(long = "set", value_name = "KEY=VALUE")]
    settings: Vec<String>,
}

pub(super) fn run(arguments: Arguments) -> Result<(), Failure> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| because("cannot start", &error))?;
    let bar = bar();
    let progress = |done: usize, all: usize, next: &ChannelId| {
        bar.set_length(all as u64);
        bar.set_position(done as u64);
        bar.set_message(next.to_string());
    };
    match arguments.command {
        Command::Rebuild { of } => {
            let config = of.load()?;
            let done = runtime.block_on(app::rebuild_catalog(config, progress));
            bar.finish_and_clear();
            let (channels, recordings) = done?;
            println!("{channels} channels, {recordings} recordings");
            Ok(())
        }
        Command::Check { repair, idle, of } => {
            let config = of.load()?;
            let idle = Duration::from_secs(idle);
            let how = How { repair, idle };
            let report = runtime.block_on(app::check_catalog(config, how, progress));
            bar.finish_and_clear();
            tell(&report?)
        }
    }
}

impl Of {
    fn load(&self) -> Result<Config, Failure> {
        Ok(Config::load(self.config.as_deref(), &self.settings)?)
    }
}

/// Drawn on the terminal's stderr; nothing at all where there is none.
fn bar() -> ProgressBar {
    let bar = ProgressBar::new(0);
    let template = "{bar:30} {pos}/{len} channels, {eta} left  {wide_msg}";
    bar.set_style(
        ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()),
    );
    bar
}

fn tell(report: &Report) -> Result<(), Failure> {
    for finding in &report.findings {
        println!("{finding}");
    }
    for key in &report.running {
        println!("{key}: it is being written, and was left alone");
    }
    let Report {
        channels,
        recordings,
        findings,
        ..
    } = report;
    let mended = findings.iter().filter(|finding| finding.mended).count();
    println!(
        "{channels} channels, {recordings} recordings: {} findings, {mended} mended",
        findings.len()
    );
    match report.is_clean() {
        true => Ok(()),
        false => Err(Failure::from(
            "the catalog and the store do not agree".to_owned(),
        )),
    }
}
