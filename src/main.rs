//! The binary: parses the command line and hands over. Serving and the demo build a container, which
//! is the composition root's work; everything else is the command line's.

use std::process::ExitCode;

use meshstore::cli::{self, Command};
use meshstore::config::Config;
use meshstore::{Error, Result, telemetry};

fn main() -> ExitCode {
    match run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&error),
    }
}

fn run(cli: cli::Cli) -> Result<()> {
    match cli.command {
        Command::Serve(command) => {
            let config = command.config()?;
            telemetry::init(config.log.format, config.log.level)?;
            serve(config, command.json)
        }
        Command::Demo(command) => demo(command.keep),
        _ => {
            let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
            let runtime = runtime.map_err(|error| Error::internal("cannot start the runtime").because(error))?;
            let outcome = runtime.block_on(cli::run(cli));
            // A blocked read of stdin must not hold up the end.
            runtime.shutdown_background();
            outcome
        }
    }
}

/// Stands where `meshstore::node::serve` goes.
fn serve(_config: Config, _json: bool) -> Result<()> {
    Err(Error::unimplemented("serve is not built yet"))
}

/// Stands where `meshstore::node::demo` goes.
fn demo(_keep: bool) -> Result<()> {
    Err(Error::unimplemented("demo is not built yet"))
}
