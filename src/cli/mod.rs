//! The command line: one file a subcommand.

mod catalog;
mod channel;
mod push;
mod remux;
mod serve;

pub use push::{Clip, PushError, Pusher, Speed};

use clap::{Parser, Subcommand};
use std::process::ExitCode;

/// RTMP in, HLS out: one binary that remuxes, stores and serves live streams.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run the server.
    Serve(serve::Arguments),
    /// Package a file offline: segments and playlists.
    Remux(remux::Arguments),
    /// Publish a file to a server.
    Push(push::Arguments),
    /// Make, change and look at a server's channels.
    Channel(channel::Arguments),
    /// Repair a server's catalog.
    Catalog(catalog::Arguments),
}

/// Parses the arguments and does what they say.
pub fn run() -> ExitCode {
    let result = match Arguments::parse().command {
        Command::Serve(arguments) => serve::run(arguments),
        Command::Remux(arguments) => remux::run(&arguments),
        Command::Push(arguments) => push::run(&arguments),
        Command::Channel(arguments) => channel::run(&arguments),
        Command::Catalog(arguments) => catalog::run(arguments),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("millstream: {error}");
            ExitCode::FAILURE
        }
    }
}

/// What a command ends with when it fails: a sentence for the terminal.
type Failure = Box<dyn std::error::Error + Send + Sync>;

/// An error with its causes as one sentence.
fn because(what: impl std::fmt::Display, error: &dyn std::error::Error) -> Failure {
    let causes = std::iter::successors(Some(error), |cause| cause.source());
    let text = causes.fold(what.to_string(), |text, cause| format!("{text}: {cause}"));
    text.into()
}
