//! What the operating system knows of this process; nothing where it keeps no `/proc`.

use std::fs;

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

/// When it started, in seconds since 1970.
pub(super) fn started_s() -> Option<u64> {
    let stat = fs::read_to_string("/proc/self/stat").ok()?;
    // The name of the program may hold blanks and brackets; the 20th word behind it is the start, in
    // hundredths of a second since the machine's own.
    let ticks: u64 = stat.rsplit_once(')')?.1.split_ascii_whitespace().nth(19)?.parse().ok()?;
    let machine = fs::read_to_string("/proc/stat").ok()?;
    let boot: u64 = machine.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse().ok()?;
    Some(boot + ticks / 100)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;
    use crate::model::{Clock, SystemClock};

    #[test]
    fn the_numbers_are_those_of_a_process_that_runs() {
        assert!(resident_bytes().unwrap() > 1 << 20);
        assert!(open_files().unwrap() >= 3);
        let now = SystemClock.now_ms() / 1000;
        assert!((now - 3600..=now + 2).contains(&started_s().unwrap()), "{:?} {now}", started_s());
    }
}
