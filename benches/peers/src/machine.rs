//! The machine and the peers that figures were taken with. Neither names nor paths of either.

use std::fs;
use std::process::Command;

/// One sentence for above the table.
pub fn describe() -> String {
    let parts = [
        first_line("date", &["+%F"]).unwrap_or_default(),
        format!("{}, {} cores, {} GB", cpu(), cores(), memory_gb()),
        format!("Linux {}", read("/proc/sys/kernel/osrelease")),
        format!("Redis {}", redis().unwrap_or("absent".to_owned())),
        format!("nginx {}", nginx().unwrap_or("absent".to_owned())),
        format!("nats-server {}", nats().unwrap_or("absent".to_owned())),
    ];
    parts.join("; ")
}

pub fn cores() -> usize {
    std::thread::available_parallelism().map_or(1, std::num::NonZero::get)
}

fn read(path: &str) -> String {
    fs::read_to_string(path).unwrap_or_default().trim().to_owned()
}

fn field(path: &str, name: &str) -> Option<String> {
    let text = read(path);
    let line = text.lines().find(|line| line.starts_with(name))?;
    Some(line.split_once(':')?.1.trim().to_owned())
}

fn cpu() -> String {
    field("/proc/cpuinfo", "model name").unwrap_or("unknown processor".to_owned())
}

fn memory_gb() -> u64 {
    let kb = field("/proc/meminfo", "MemTotal").and_then(|text| text.split(' ').next()?.parse::<u64>().ok());
    (kb.unwrap_or(0) * 1024 + 500_000_000) / 1_000_000_000
}

fn redis() -> Option<String> {
    let line = first_line("redis-server", &["--version"])?;
    line.split_whitespace().find_map(|word| word.strip_prefix("v=")).map(str::to_owned)
}

fn nginx() -> Option<String> {
    let line = first_line(crate::peers::nginx::program(), &["-v"])?;
    line.rsplit_once('/').map(|(_, version)| version.to_owned())
}

fn nats() -> Option<String> {
    let line = first_line(&crate::peers::nats::program().ok()?, &["--version"])?;
    line.rsplit_once('v').map(|(_, version)| version.to_owned())
}

/// What a program says first, wherever it says it.
fn first_line(program: &str, args: &[&str]) -> Option<String> {
    let said = Command::new(program).args(args).output().ok()?;
    let text = [said.stdout, said.stderr].concat();
    String::from_utf8_lossy(&text).lines().next().map(|line| line.trim().to_owned())
}
