//! What a policy's books take in memory: each measured in a process of its own, by what it has resident
//! before and after. Keys are made before, and shared with the books as a level shares them.

use std::process::Command;

use meshstore::model::{Address, EvictionKind};
use meshstore::tiers::eviction::{ENTRY_OVERHEAD_BYTES, policy_seeded};

/// Tables grow by doubling: they are nearly full with the first, and have just grown with the second.
const ENTRIES: [u64; 2] = [900_000, 1_060_000];

pub fn table() {
    println!("| policy | {} entries | {} entries | counted by the level |", ENTRIES[0], ENTRIES[1]);
    println!("|---|---|---|---|");
    for kind in EvictionKind::ALL {
        let cells = ENTRIES.map(|entries| {
            let exe = std::env::current_exe().expect("the benchmark's own file");
            let run = Command::new(exe).args(["--memory", kind.name(), &entries.to_string()]).output();
            String::from_utf8_lossy(&run.expect("a process for the measurement").stdout).trim().to_owned()
        });
        println!("| {} | {} | {} | {ENTRY_OVERHEAD_BYTES} |", kind.name(), cells[0], cells[1]);
    }
}

/// Prints the bytes that an entry takes.
pub fn measure(policy: &str, entries: &str) {
    let kind: EvictionKind = policy.parse().expect("a policy");
    let entries: u64 = entries.parse().expect("a number");
    let keys: Vec<Address> = (0..entries).map(|at| format!("c/{at}").parse().expect("an address")).collect();
    let before = resident_bytes();
    let mut books = policy_seeded(kind, u64::MAX / 2, 7);
    keys.iter().for_each(|key| books.insert(key.clone(), 1000));
    println!("{}", (resident_bytes() - before) / entries);
}

fn resident_bytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").expect("/proc/self/status");
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    line.trim().trim_end_matches(" kB").parse::<u64>().expect("kilobytes") * 1024
}
