//! What the operating system knows of this process; nothing where it keeps no `/proc`.

use std::fs;

/// In what the kernel counts time there; the same on every Linux.
const TICKS_PER_S: u64 = 100;

/// Bytes of its memory that are in use.
pub(super) fn resident_bytes() -> Option<u64> {
    let status = fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.trim().parse::<u64>().ok()?.checked_mul(1024)
}

/// Files and sockets it has open, the folder that is read for it not counted.
pub(super) fn open_files() -> Option<u64> {
    Some((fs::read_dir("/proc/self/fd").ok()?.count() as u64).saturating_sub(1))
}

/// Seconds that processors worked for it.
pub(super) fn cpu_s() -> Option<f64> {
    let user: u64 = stat(11)?;
    Some((user + stat(12)?) as f64 / TICKS_PER_S as f64)
}

/// When it started, in seconds since 1970.
pub(super) fn started_s() -> Option<u64> {
    let ticks = stat(19)?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / TICKS_PER_S)
}

/// A number of `/proc/self/stat`, counted from behind the program's name, which may hold blanks and
/// brackets itself.
fn stat(nth: usize) -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(nth)?.parse().ok()
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::model::{Clock, SystemClock};

    #[test]
    fn the_numbers_are_those_of_a_process_that_runs() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(cpu_s().unwrap() >= 0.0);
        assert!(open_files().unwrap() >= 3);
        let now = SystemClock.now_ms() / 1000;
        assert!((now - 3600..=now + 2).contains(&started_s().unwrap()), "{:?} {now}", started_s());
    }
}
