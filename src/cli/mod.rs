//! The command line: what can be typed, and what the commands do that speak to a running container.
//!
//! One file per noun. `serve`, `demo` and `simulate` are only parsed here: they build containers, which is the
//! composition root's work, so `main` runs them.

mod admin;
mod collection;
mod config;
mod doctor;
mod files;
mod generate;
mod here;
mod key;
mod locate;
mod ls;
mod metrics;
mod options;
mod out;
mod policy;
mod progress;
mod pull;
mod push;
mod ready;
mod remote;
mod remove;
mod rm;
mod serve;
mod site;
mod stat;
mod sync;
mod table;
mod target;
mod token;
mod version;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use admin::Admin;
pub use collection::CollectionCommand;
pub use config::ConfigCommand;
pub use doctor::Doctor;
pub use generate::{Completions, Man};
pub use key::KeyCommand;
pub use locate::Locate;
pub use ls::Ls;
pub use metrics::MetricsCommand;
pub use policy::PolicyCommand;
pub use pull::Pull;
pub use push::Push;
pub use ready::Ready;
pub use remote::Remote;
pub use rm::Rm;
pub use serve::{Demo, Serve, Simulate};
pub use site::SiteCommand;
pub use stat::Stat;
pub use sync::SyncCommand;
pub use token::TokenCommand;
pub use version::Version;

use crate::error::{Error, Kind, Result};

/// The exit code of the first kind; 1 and 2 are taken by shells and by wrong usage.
const EXIT_CODE_BASE: u8 = 10;

/// Where a container is that was started without a word about it.
const REMOTE_URL_DEFAULT: &str = "http://127.0.0.1:7700";

/// A shared, fast, private place for data at the edge, in the fog and in the cloud.
#[derive(Debug, Parser)]
#[command(name = "meshstore", version, max_term_width = 100, after_help = EXAMPLES)]
pub struct Cli {
    /// Which container to speak to.
    #[command(flatten)]
    pub remote: Remote,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

const EXAMPLES: &str = "Examples:
  meshstore serve &
  meshstore push today.csv meteo/today.csv
  meshstore pull meteo/today.csv -
  meshstore ls meteo -l

MESHSTORE_TOKEN holds the token, or --token-file names its file, where one is needed. On failure the exit code names the kind of error.";

/// Every command.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Show what a mesh does, in one process, without a server.
    Demo(Demo),
    /// Run a container.
    Serve(Serve),
    /// See what the sites of a large mesh cost each other, in one process.
    Simulate(Simulate),
    /// Store files, folders or stdin.
    Push(Push),
    /// Fetch an object or a folder of objects.
    Pull(Pull),
    /// List the keys of a collection.
    Ls(Ls),
    /// Show what is known of an object.
    Stat(Stat),
    /// Show every copy of an object in the site.
    Locate(Locate),
    /// Delete objects.
    Rm(Rm),
    /// Look inside a container, and ask an operator's work of it.
    Admin(Admin),
    /// Begin a site, and list its containers.
    #[command(subcommand)]
    Site(SiteCommand),
    /// Say who may use the containers of a site.
    #[command(subcommand)]
    Token(TokenCommand),
    /// Make, change, save and bring back the keys that seal objects.
    #[command(subcommand)]
    Key(KeyCommand),
    /// Say what the sites of the mesh may do with which collections.
    #[command(subcommand)]
    Policy(PolicyCommand),
    /// Say what is asked for the objects of a collection.
    #[command(subcommand)]
    Collection(CollectionCommand),
    /// Show what the cloud is still to get, and send it.
    #[command(subcommand)]
    Sync(SyncCommand),
    /// Check and explain the configuration.
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Explain what a container tells of itself.
    #[command(subcommand)]
    Metrics(MetricsCommand),
    /// Find what keeps a container from running well, and say what to do.
    Doctor(Doctor),
    /// Tell whether a container, or a NATS server, takes requests: a health check.
    Ready(Ready),
    /// Print what completes these commands in a shell.
    Completions(Completions),
    /// Print the manual page, or write one for each command.
    Man(Man),
    /// Print the version.
    Version(Version),
}

/// What was typed; wrong usage and `--help` end the process here.
pub fn parse() -> Cli {
    Cli::parse()
}

/// Runs a command. An interrupt undoes what is half done and ends the process.
pub async fn run(cli: Cli) -> Result<()> {
    tokio::select! {
        outcome = dispatch(cli) => outcome,
        // Dropping the work removes its temporary files; 128 + the signal's number is what shells expect.
        code = interrupted() => std::process::exit(code),
    }
}

async fn dispatch(cli: Cli) -> Result<()> {
    let remote = &cli.remote;
    match cli.command {
        Command::Demo(_) | Command::Serve(_) | Command::Simulate(_) => {
            Err(Error::internal("this command is not run by the command line"))
        }
        Command::Push(push) => push.run(&remote.client()?).await,
        Command::Pull(pull) => pull.run(&remote.client()?).await,
        Command::Ls(ls) => ls.run(&remote.client()?).await,
        Command::Stat(stat) => stat.run(&remote.client()?).await,
        Command::Locate(locate) => locate.run(&remote.client()?).await,
        Command::Rm(rm) => rm.run(&remote.client()?).await,
        Command::Admin(admin) => admin.run(&remote.client()?).await,
        Command::Site(site) => site.run(remote).await,
        Command::Token(token) => token.run(&remote.client()?).await,
        Command::Key(key) => key.run(remote).await,
        Command::Collection(collection) => collection.run(&remote.client()?).await,
        Command::Policy(policy) => policy.run(&remote.client()?).await,
        Command::Sync(sync) => sync.run(&remote.client()?).await,
        Command::Config(config) => config.run(),
        Command::Metrics(metrics) => metrics.run(),
        Command::Doctor(doctor) => doctor.run(remote).await,
        Command::Ready(ready) => ready.run(remote).await,
        Command::Completions(completions) => completions.run(),
        Command::Man(man) => man.run(),
        Command::Version(version) => version.run(),
    }
}

async fn interrupted() -> i32 {
    use tokio::signal::unix::{SignalKind, signal};
    let Ok(mut terminate) = signal(SignalKind::terminate()) else { return std::future::pending().await };
    tokio::select! {
        Ok(()) = tokio::signal::ctrl_c() => 130,
        Some(()) = terminate.recv() => 143,
        else => std::future::pending().await,
    }
}

/// Says on stderr what went wrong and gives the exit code of its kind.
pub fn fail(error: &Error) -> ExitCode {
    eprintln!("error: {} [{}]", out::plain(&error.to_string()), error.kind());
    ExitCode::from(exit_code(error.kind()))
}

fn exit_code(kind: Kind) -> u8 {
    let position = Kind::ALL.iter().position(|other| *other == kind);
    position.and_then(|position| u8::try_from(position).ok()).map_or(u8::MAX, |position| EXIT_CODE_BASE + position)
}

#[cfg(test)]
mod tests;
