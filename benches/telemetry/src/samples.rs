//! Where the samples were taken, by the lines of source of their stacks.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::Result;

/// What counts as telemetry, below `src/`.
const TELEMETRY: [&str; 2] = ["telemetry/", "gateway/visit.rs"];
/// Runs the work of others within a place in a trace; a hit in memory does not come by here.
const AROUND_OTHERS: &str = "telemetry/trace/place.rs";

/// What the samples say.
pub struct Found {
    pub all: usize,
    pub within: usize,
    /// Lines through which telemetry was entered, and how many samples came by them; most first.
    pub places: Vec<(String, usize)>,
}

/// Reads what perf has recorded of the program.
pub fn read(program: &Path, data: &Path) -> Result<Found> {
    let stacks = stacks(program, data)?;
    let addresses: BTreeSet<u64> = stacks.iter().flatten().copied().collect();
    let places = places(program, &addresses)?;
    let mut found: BTreeMap<&str, usize> = BTreeMap::new();
    for stack in &stacks {
        // The outermost one is where telemetry was called.
        let entered = stack.iter().rev().find_map(|address| places.get(address));
        if let Some(place) = entered {
            *found.entry(place).or_default() += 1;
        }
    }
    let mut places: Vec<(String, usize)> = found.into_iter().map(|(place, count)| (place.to_owned(), count)).collect();
    places.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    Ok(Found { all: stacks.len(), within: places.iter().map(|(_, count)| count).sum(), places })
}

/// The addresses within the program of each sample's stack, the innermost first.
fn stacks(program: &Path, data: &Path) -> Result<Vec<Vec<u64>>> {
    let output = Command::new("perf").args(["script", "--no-inline", "-F", "ip,dso", "-i"]).arg(data).output()?;
    if !output.status.success() {
        return Err(format!("perf cannot read its samples: {}", String::from_utf8_lossy(&output.stderr)).into());
    }
    let ours = format!("({})", program.display());
    let from_file = address_of_code(program)?;
    let mut stacks = Vec::new();
    for sample in String::from_utf8(output.stdout)?.split("\n\n").filter(|sample| !sample.trim().is_empty()) {
        let mut stack = Vec::new();
        for (depth, frame) in sample.lines().filter(|line| !line.is_empty()).enumerate() {
            let Some((offset, file)) = frame.trim().split_once(' ') else { continue };
            if file == ours {
                // Who called is asked for the call, not for where it returns to.
                let address = u64::from_str_radix(offset, 16)?.wrapping_add(from_file);
                stack.push(address - u64::from(depth > 0));
            }
        }
        stacks.push(stack);
    }
    Ok(stacks)
}

/// What to add to a position in the program's file to get the address of the code there.
fn address_of_code(program: &Path) -> Result<u64> {
    const LOADED: u64 = 1;
    const EXECUTABLE: u64 = 1;
    let file = fs::read(program)?;
    let number = |at: usize, bytes: usize| -> Result<u64> {
        let told = file.get(at..at + bytes).ok_or("the program is cut short")?;
        Ok(told.iter().rev().fold(0, |number, byte| number << 8 | u64::from(*byte)))
    };
    let (first, size, count) = (number(32, 8)?, number(54, 2)?, number(56, 2)?);
    for at in (0..count).map(|n| (first + n * size) as usize) {
        if number(at, 4)? == LOADED && number(at + 4, 4)? & EXECUTABLE != 0 {
            return Ok(number(at + 16, 8)?.wrapping_sub(number(at + 8, 8)?));
        }
    }
    Err("the program has no code".into())
}

/// The line of telemetry's source that each of these addresses is in, by itself or inlined; others are left out.
fn places(program: &Path, addresses: &BTreeSet<u64>) -> Result<BTreeMap<u64, String>> {
    let mut command = Command::new("addr2line");
    command.args(["--addresses", "--inlines", "--exe"]).arg(program).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let mut stdin = child.stdin.take().ok_or("no stdin")?;
    let asked: String = addresses.iter().map(|address| format!("{address:#x}\n")).collect();
    let asking = std::thread::spawn(move || stdin.write_all(asked.as_bytes()));
    let output = child.wait_with_output()?;
    asking.join().map_err(|_| "addr2line was not asked")??;
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../src").canonicalize()?;
    let (mut places, mut address, mut lines) = (BTreeMap::new(), 0, 0);
    for line in String::from_utf8(output.stdout)?.lines() {
        if let Some(digits) = line.strip_prefix("0x") {
            address = u64::from_str_radix(digits, 16)?;
            continue;
        }
        let Ok(place) = Path::new(line).strip_prefix(&ours) else { continue };
        lines += 1;
        let place = place.to_string_lossy();
        if TELEMETRY.iter().any(|part| place.starts_with(part)) && !place.starts_with(AROUND_OTHERS) {
            // The last one is the outermost.
            places.insert(address, place.split(' ').next().unwrap_or_default().to_owned());
        }
    }
    if lines == 0 {
        return Err(
            "the program does not say where its instructions come from; build it with the profile `lines`".into()
        );
    }
    Ok(places)
}
