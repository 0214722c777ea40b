//! The binary: parses the command line and hands over. Serving, the demo and the simulation build containers, which
//! is the composition root's work; everything else is the command line's.

use std::process::ExitCode;

use meshstore::cli::{self, Command, Simulate};
use meshstore::{Error, Result, node, sys, telemetry};

/// Freed buffers of a megabyte are used again; glibc gives them back to the kernel, which fills each anew with
/// zeros, page by page.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    sys::give_back_freed_memory();
    match run(cli::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => cli::fail(&error),
    }
}

fn run(cli: cli::Cli) -> Result<()> {
    match cli.command {
        Command::Serve(command) => {
            let (config, origins) = command.config()?;
            let origin =
                telemetry::Origin { site: config.site.name.to_string(), container: config.container.name.to_string() };
            telemetry::init(config.log.format, config.log.level, origin)?;
            let started = sys::keep_giving_back_freed_memory();
            started.map_err(|error| Error::internal("cannot start a thread").because(error))?;
            node::serve(config, origins, command.json)
        }
        Command::Demo(command) => node::demo(command.keep),
        Command::Simulate(Simulate { sites, objects, seconds, json }) => {
            node::simulate(node::Simulation { sites, objects, seconds, json })
        }
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
