//! The share of a pull's processor time that telemetry takes: 1 KB out of memory, over HTTP, 64 connections.
//!
//! There is no switch that turns telemetry off, so there is nothing to compare with. Instead the server is sampled
//! while it answers, the kernel's work for it included, and each sample is asked whether it was taken within
//! telemetry: whether any function of its stack, inlined ones too, has its source there. `make bench-telemetry`.

mod load;
mod samples;

use std::error::Error;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Stdio};
use std::thread;
use std::time::Duration;
use std::{env, fs};

type Result<T> = std::result::Result<T, Box<dyn Error>>;

/// The most that telemetry may take.
const SHARE_MAX: f64 = 0.03;

const WARM_UP: Duration = Duration::from_secs(2);
const SAMPLED: Duration = Duration::from_secs(30);

/// Samples of each processor a second: no divisor of any period, so that it keeps step with nothing.
const SAMPLES_PER_S: u32 = 1_999;
/// Bytes of the stack kept with each sample. Telemetry calls nothing deep.
const STACK_BYTES: u32 = 2_048;

fn main() -> ExitCode {
    let Some(program) = env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: telemetry PROGRAM, built with the profile `lines`");
        return ExitCode::from(2);
    };
    let folder = env::temp_dir().join(format!("meshstore-telemetry-{}", std::process::id()));
    let measured = fs::create_dir(&folder).map_err(Into::into).and_then(|()| measure(&program, &folder));
    // What it leaves in a temporary folder is no reason to fail.
    let _ = fs::remove_dir_all(&folder);
    match measured {
        Ok(share) if share <= SHARE_MAX => ExitCode::SUCCESS,
        Ok(_) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::from(2)
        }
    }
}

fn measure(program: &Path, folder: &Path) -> Result<f64> {
    let program = program.canonicalize()?;
    let server = Server::start(&program, folder)?;
    let addr = server.addr.clone();
    let load = thread::spawn(move || load::pull(&addr, WARM_UP + SAMPLED + WARM_UP).map_err(|error| error.to_string()));
    thread::sleep(WARM_UP);
    let data = folder.join("samples");
    let recorded = Command::new("perf")
        .args(["record", "-q", "-e", "cpu-clock", "-F", &SAMPLES_PER_S.to_string()])
        .args(["--call-graph", &format!("dwarf,{STACK_BYTES}"), "-p", &server.child.id().to_string(), "-o"])
        .arg(&data)
        .args(["--", "sleep", &SAMPLED.as_secs().to_string()])
        .status()?;
    if !recorded.success() {
        return Err("perf could not sample the server; kernel.perf_event_paranoid may forbid it".into());
    }
    let pulls = load.join().map_err(|_| "the load generator broke")??;
    drop(server);
    let found = samples::read(&program, &data)?;
    let share = found.within as f64 / found.all as f64;
    let (percent, target) = (100.0 * share, 100.0 * SHARE_MAX);
    let spread = 100.0 * (found.within as f64).sqrt() / found.all as f64;
    println!("{pulls} pulls, {} samples of the server, {} of them within telemetry:", found.all, found.within);
    for (place, count) in found.places.iter().take(8) {
        println!("  {:.2} %  {place}", 100.0 * *count as f64 / found.all as f64);
    }
    let met = if share <= SHARE_MAX { "met" } else { "not met" };
    println!(
        "telemetry takes {percent:.2} % (± {spread:.2}) of the server's processor time; at most {target} %: {met}"
    );
    Ok(share)
}

/// The container, on an empty folder, with its defaults.
struct Server {
    child: Child,
    addr: String,
}

impl Server {
    fn start(program: &Path, folder: &Path) -> Result<Self> {
        let mut command = Command::new(program);
        command.args(["serve", "--json", "--http", "127.0.0.1:0", "--bus", "local", "--data"]).arg(folder.join("data"));
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn()?;
        let mut line = String::new();
        let stdout = child.stdout.take().ok_or("no stdout")?;
        BufReader::new(stdout).read_line(&mut line)?;
        let url = line.split('"').find_map(|word| word.strip_prefix("http://"));
        let addr = url.map(str::to_owned);
        let server = Server { child, addr: addr.clone().unwrap_or_default() };
        addr.map(|_| server).ok_or_else(|| format!("the server did not start: {line}").into())
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
