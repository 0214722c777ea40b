//! The container beside its peers, on the same work, driven by the same load generator, in rounds that
//! take turns. Prints Markdown for docs/benchmarks.md; `make bench` runs it.

mod bench;
mod load;
mod machine;
mod peers;
mod process;
mod report;
mod rounds;
mod rows;

use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;

use bench::{Bench, Effort};
use rows::{ROWS, Row};

/// Measures the container beside its peers and prints a table.
#[derive(Parser)]
struct Args {
    /// Rows to run, separated by commas or spaces; all when none is named.
    #[arg(value_delimiter = ',')]
    rows: Vec<String>,
    /// Few and short rounds: shows that everything runs, its figures say little.
    #[arg(long)]
    quick: bool,
    /// Rounds of each row.
    #[arg(long)]
    rounds: Option<usize>,
    /// Seconds that one measurement of small requests lasts.
    #[arg(long)]
    seconds: Option<f64>,
    /// The program that is measured, by default the one beside this one.
    #[arg(long, value_name = "FILE")]
    server: Option<PathBuf>,
    /// Name the rows and end.
    #[arg(long)]
    list: bool,
    /// Serve so many bytes with nothing but actix-web: one of the peers.
    #[arg(long, value_name = "BYTES", hide = true)]
    bare: Option<usize>,
    /// Answer on the bare subject of this nats-server with as many: another peer.
    #[arg(long, value_name = "ADDR", hide = true)]
    bare_nats: Option<std::net::SocketAddr>,
    /// Have an object of as many for who asks over this nats-server: the source of another one.
    #[arg(long, value_name = "ADDR", hide = true)]
    flow: Option<std::net::SocketAddr>,
}

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    // As the container's own program does, for the rows that run it in this process.
    meshstore::sys::give_back_freed_memory();
    match run(&Args::parse()) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(args: &Args) -> Result<ExitCode> {
    if let (Some(addr), Some(bytes)) = (args.flow, args.bare) {
        peers::flow::give(addr, bytes)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let (Some(addr), Some(bytes)) = (args.bare_nats, args.bare) {
        peers::nats::answer(addr, bytes)?;
        return Ok(ExitCode::SUCCESS);
    }
    if let Some(bytes) = args.bare {
        peers::bare::serve(bytes)?;
        return Ok(ExitCode::SUCCESS);
    }
    if args.list {
        ROWS.iter().for_each(|row| println!("{:<15}{}", row.name, row.work));
        return Ok(ExitCode::SUCCESS);
    }
    let rows = chosen(&args.rows)?;
    let effort = Effort::new(args.quick, args.rounds, args.seconds);
    let bench = Bench::prepare(args.server.clone(), effort)?;
    let mut tables = report::Report::default();
    for row in rows {
        eprintln!("{}: {}", row.name, row.work);
        // The other rows are still worth their time.
        let lines = (row.run)(&bench).unwrap_or_else(|error| vec![report::Line::failed(&error)]);
        lines.iter().for_each(|line| eprintln!("    {}", line.brief()));
        tables.add(row.work, lines);
    }
    print!("{}", tables.markdown(&command(args), &machine::describe(), &effort));
    // Short rounds on a machine that may be busy prove nothing, so they fail nothing.
    let good = if args.quick { !tables.any_failed() } else { tables.all_met() };
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn chosen(names: &[String]) -> Result<Vec<&'static Row>> {
    let named = |row: &&Row| names.is_empty() || names.iter().any(|name| name == row.name);
    if let Some(unknown) = names.iter().find(|name| ROWS.iter().all(|row| row.name != *name)) {
        let known: Vec<&str> = ROWS.iter().map(|row| row.name).collect();
        bail!("there is no row {unknown}; there are {}", known.join(", "));
    }
    Ok(ROWS.iter().filter(named).collect())
}

/// The command that repeats this.
fn command(args: &Args) -> String {
    let mut words = vec!["make bench".to_owned()];
    if !args.rows.is_empty() {
        words.push(format!("ROWS={}", args.rows.join(",")));
    }
    let mut flags = Vec::new();
    flags.extend(args.quick.then(|| "--quick".to_owned()));
    flags.extend(args.rounds.map(|rounds| format!("--rounds {rounds}")));
    flags.extend(args.seconds.map(|seconds| format!("--seconds {seconds}")));
    if !flags.is_empty() {
        words.push(format!("BENCH='{}'", flags.join(" ")));
    }
    words.join(" ")
}
