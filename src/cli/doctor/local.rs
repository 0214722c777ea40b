//! What can be seen from this host: folder, keyring, free space, limits, clock.

use std::fs::{self, OpenOptions};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::finding::Finding;
use crate::cli::out;
use crate::config::Config;
use crate::control::KeyFile;
use crate::model::{Clock, SystemClock};
use crate::sys;

/// Less free space than this and pushes are about to be refused.
const FREE_BYTES_BAD: u64 = 64 << 20;
/// Less than this is used up soon.
const FREE_BYTES_POOR: u64 = 1 << 30;
/// Open files that a container needs beside a socket and a file for each request.
const FILES_BESIDE: u64 = 256;
/// No clock that is right shows an earlier time: the first day of 2026.
const EARLIEST_MS: u64 = 1_767_225_600_000;
/// How far a file may be dated ahead of the clock.
const AHEAD_MS_MAX: u64 = 60_000;
/// The file whose presence says that a container lived in a folder.
const STORE_FILE: &str = "store.redb";

/// What a container works with.
#[derive(Clone, Debug)]
pub(super) struct Places {
    pub(super) data: PathBuf,
    pub(super) keys: PathBuf,
    pub(super) requests_max: u64,
}

impl Places {
    pub(super) fn of(config: &Config) -> Self {
        let (data, keys) = (config.data.dir.clone(), config.keys.file.clone());
        Places { data, keys, requests_max: config.limits.requests_max as u64 }
    }
}

/// Looks at everything; `pid` is that of a container that runs here.
pub(super) fn look(places: &Places, pid: Option<u64>, findings: &mut Vec<Finding>) {
    findings.push(folder(&places.data));
    findings.push(keyring(&places.keys, places.data.join(STORE_FILE).exists(), pid.is_some()));
    findings.push(space(&places.data));
    findings.push(open_files(places.requests_max, pid));
    findings.push(clock(&places.data));
}

fn folder(data: &Path) -> Finding {
    const CHECK: &str = "data folder";
    let shown = data.display();
    let there = match fs::metadata(data) {
        Ok(there) => there,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return match existing(data).map(|folder| (writable(&folder), folder)) {
                Some((Ok(()), _)) => Finding::good(CHECK, format!("{shown} will be made at the first start")),
                Some((Err(error), folder)) => Finding::bad(
                    CHECK,
                    format!("{shown} is not there and cannot be made: {error}"),
                    format!("make it, or let this user write to {}", folder.display()),
                ),
                None => Finding::bad(CHECK, format!("{shown} cannot be made"), "name another folder with --data"),
            };
        }
        Err(error) => return Finding::bad(CHECK, format!("{shown}: {error}"), "let this user into the folder"),
    };
    if !there.is_dir() {
        return Finding::bad(CHECK, format!("{shown} is no folder"), "name another one with --data");
    }
    if let Err(error) = writable(data) {
        return Finding::bad(
            CHECK,
            format!("{shown} cannot be written: {error}"),
            format!("chown it to the user that runs the container, and chmod u+rwx {shown}"),
        );
    }
    if there.permissions().mode() & 0o022 != 0 {
        return Finding::poor(CHECK, format!("{shown} can be changed by others"), format!("chmod go-w {shown}"));
    }
    Finding::good(CHECK, format!("{shown} can be written"))
}

/// The nearest folder above that is there.
fn existing(path: &Path) -> Option<PathBuf> {
    path.ancestors()
        .skip(1)
        .map(|above| if above.as_os_str().is_empty() { Path::new(".") } else { above })
        .find(|above| above.is_dir())
        .map(Path::to_owned)
}

/// Makes a file and removes it: permissions alone do not tell of read-only mounts.
fn writable(folder: &Path) -> io::Result<()> {
    let probe = folder.join(format!(".meshstore-doctor-{}", std::process::id()));
    OpenOptions::new().write(true).create_new(true).open(&probe)?;
    fs::remove_file(&probe)
}

fn keyring(path: &Path, lived: bool, runs: bool) -> Finding {
    const CHECK: &str = "keyring";
    let shown = path.display();
    match KeyFile::at(path).read() {
        Ok(Some(_)) => Finding::good(CHECK, format!("{shown} is private and can be read; keep a copy elsewhere")),
        Ok(None) if !lived => Finding::good(CHECK, format!("{shown} will be made at the first start")),
        Ok(None) => Finding::bad(
            CHECK,
            format!("{shown} is missing, but a store is there that needs it"),
            match runs {
                // It still has the keys in memory; the next start does not.
                true => "put the file back from a copy; do not stop this container before the file is back",
                false => "put the file back from a copy, or name it with --keys",
            },
        ),
        Err(error) if fs::metadata(path).is_ok_and(|file| file.permissions().mode() & 0o077 != 0) => {
            let remedy = format!("chmod 600 {shown}; if others had access, rotate the keys");
            Finding::bad(CHECK, error.to_string(), remedy)
        }
        Err(error) => Finding::bad(CHECK, error.to_string(), "mend what is named, or put the file back from a copy"),
    }
}

fn space(data: &Path) -> Finding {
    const CHECK: &str = "free space";
    let place = if data.is_dir() { Some(data.to_owned()) } else { existing(data) };
    let Some(free) = place.and_then(|place| sys::free_bytes(&place).ok()) else {
        return Finding::skipped(CHECK, "the file system does not tell");
    };
    let detail = format!("{} for {}", out::size(free), data.display());
    let remedy = "free some, grow the disk, or name another folder with --data";
    match free {
        ..FREE_BYTES_BAD => Finding::bad(CHECK, detail, remedy),
        FREE_BYTES_BAD..FREE_BYTES_POOR => Finding::poor(CHECK, detail, remedy),
        _ => Finding::good(CHECK, detail),
    }
}

fn open_files(requests_max: u64, pid: Option<u64>) -> Finding {
    const CHECK: &str = "open files";
    let needed = requests_max.saturating_mul(2).saturating_add(FILES_BESIDE);
    let of_container =
        pid.and_then(|pid| fs::read_to_string(format!("/proc/{pid}/limits")).ok()).and_then(|text| soft_limit(&text));
    let whose = if of_container.is_some() { "the container" } else { "a container started from here" };
    let Some(most) = of_container.or_else(|| sys::open_files_max().ok()) else {
        return Finding::skipped(CHECK, "the system does not tell");
    };
    let detail = format!("{whose} may have {most}; limits.requests_max = {requests_max} may need {needed}");
    if most < needed {
        return Finding::poor(
            CHECK,
            detail,
            format!("ulimit -n {needed} (LimitNOFILE= in a service), or lower limits.requests_max"),
        );
    }
    Finding::good(CHECK, detail)
}

/// The soft limit in the text of `/proc/PID/limits`.
fn soft_limit(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    let first = line.split_whitespace().next()?;
    if first == "unlimited" { Some(u64::MAX) } else { first.parse().ok() }
}

fn clock(data: &Path) -> Finding {
    const CHECK: &str = "clock";
    let now_ms = SystemClock.now_ms();
    let remedy = "set the clock, best by NTP; versions go on above the ones that are there";
    if now_ms < EARLIEST_MS {
        return Finding::bad(CHECK, "it shows a time before this program was made", remedy);
    }
    let written = fs::metadata(data.join(STORE_FILE)).and_then(|there| there.modified()).ok();
    let written_ms = written
        .and_then(|at| at.duration_since(std::time::UNIX_EPOCH).ok())
        .map_or(0, |since| since.as_millis() as u64);
    if written_ms > now_ms.saturating_add(AHEAD_MS_MAX) {
        let ahead = (written_ms - now_ms) / 1000;
        return Finding::poor(
            CHECK,
            format!("the store was written {ahead} s in the future; the clock went back"),
            remedy,
        );
    }
    Finding::good(CHECK, "it fits the files of the store")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::finding::Verdict;
    use crate::nfr::{Keyring, SystemRng};

    fn set_mode(path: &Path, mode: u32) {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn a_keyring_is_private_whole_and_there() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.toml");
        assert_eq!(keyring(&path, false, false).verdict, Verdict::Good);
        assert_eq!(keyring(&path, true, false).verdict, Verdict::Bad);
        assert!(keyring(&path, true, true).text().contains("do not stop this container before the file is back"));
        fs::write(&path, Keyring::generate(&SystemRng).render().as_bytes()).unwrap();
        set_mode(&path, 0o640);
        assert!(keyring(&path, true, false).text().contains("chmod 600"));
        set_mode(&path, 0o600);
        assert_eq!(keyring(&path, true, false).verdict, Verdict::Good);
        fs::write(&path, "nonsense").unwrap();
        assert_eq!(keyring(&path, true, false).verdict, Verdict::Bad);
    }

    #[test]
    fn a_folder_can_be_made_or_written() {
        let outer = tempfile::tempdir().unwrap();
        set_mode(outer.path(), 0o700);
        assert_eq!(folder(&outer.path().join("a/b")).verdict, Verdict::Good);
        assert!(!outer.path().join("a").exists(), "looking changes nothing");
        assert_eq!(folder(outer.path()).verdict, Verdict::Good);
        set_mode(outer.path(), 0o777);
        assert!(folder(outer.path()).text().contains("chmod go-w"));
        let file = outer.path().join("file");
        fs::write(&file, "x").unwrap();
        assert_eq!(folder(&file).verdict, Verdict::Bad);
        assert_eq!(folder(&file.join("below")).verdict, Verdict::Bad);
        assert_eq!(fs::read_dir(outer.path()).unwrap().count(), 1);
    }

    #[test]
    fn limits_and_clock_are_judged() {
        let text =
            "Max processes 1 1 processes\nMax open files            1024                 524288               files\n";
        assert_eq!(soft_limit(text), Some(1024));
        assert_eq!(soft_limit("Max open files unlimited unlimited files"), Some(u64::MAX));
        assert_eq!(open_files(u64::MAX / 4, None).verdict, Verdict::Poor);
        assert_eq!(open_files(0, None).verdict, Verdict::Good);
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(clock(folder.path()).verdict, Verdict::Good);
        let store = fs::File::create(folder.path().join(STORE_FILE)).unwrap();
        let ahead = std::time::UNIX_EPOCH + std::time::Duration::from_millis(SystemClock.now_ms() + 3_600_000);
        store.set_modified(ahead).unwrap();
        assert_eq!(clock(folder.path()).verdict, Verdict::Poor);
    }
}
