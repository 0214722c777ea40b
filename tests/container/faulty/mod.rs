//! A broken machine for a real process: a library preloaded into it (`shim.c`) makes its disk fail, crawl or
//! refuse to be written, and sets its wall clock, all while it runs. The container knows nothing of it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

use tempfile::TempDir;

use crate::harness::Process;

/// The words of the shared file, in the order of `struct control`.
#[derive(Clone, Copy)]
enum Word {
    ClockMs,
    SyncMs,
    Fails,
    With,
    PerMille,
    Met,
    Seed,
    Count,
}

/// Calls that can be made to fail.
pub const SYNCS: i64 = 1;
pub const WRITES: i64 = 2;
pub const READS: i64 = 4;
/// Making, renaming and removing files and folders, and opening files for writing.
pub const NAMES: i64 = 8;

/// The numbers of errors on Linux.
pub const EIO: i64 = 5;
pub const EROFS: i64 = 30;

/// What is wrong with the machine; nothing at first.
pub struct Machine {
    folder: TempDir,
    words: File,
}

impl Machine {
    pub fn new(seed: u64) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("faults");
        let words = File::options().read(true).write(true).create_new(true).open(path).unwrap();
        words.set_len(Word::Count as u64 * 8).unwrap();
        let machine = Machine { folder, words };
        machine.set(Word::Seed, (seed >> 1) as i64);
        machine
    }

    /// A container on this machine, also when it is started again.
    pub fn start(&self, args: &[&str]) -> Process {
        let faults = self.folder.path().join("faults");
        Process::start_with_env(
            args,
            &[("LD_PRELOAD", library().to_str().unwrap()), ("FAULTS", faults.to_str().unwrap())],
        )
    }

    /// So many of a thousand such calls fail with this error.
    pub fn fail(&self, calls: i64, error: i64, per_mille: i64) {
        self.set(Word::With, error);
        self.set(Word::PerMille, per_mille);
        self.set(Word::Fails, calls);
    }

    /// Every sync takes as much longer.
    pub fn slow(&self, by: Duration) {
        self.set(Word::SyncMs, by.as_millis() as i64);
    }

    /// The disk is well again.
    pub fn heal(&self) {
        self.set(Word::Fails, 0);
        self.set(Word::SyncMs, 0);
    }

    /// The wall clock shows as much more, or less, than the machine's.
    pub fn shift_clock(&self, by_ms: i64) {
        self.set(Word::ClockMs, by_ms);
    }

    /// Calls that failed or were made to wait so far.
    pub fn met(&self) -> i64 {
        let mut word = [0; 8];
        self.words.read_exact_at(&mut word, Word::Met as u64 * 8).unwrap();
        i64::from_ne_bytes(word)
    }

    fn set(&self, word: Word, value: i64) {
        self.words.write_all_at(&value.to_ne_bytes(), word as u64 * 8).unwrap();
    }
}

/// The library, compiled once for all tests of this run.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/container/faulty/shim.c");
        let folder = Path::new(env!("CARGO_TARGET_TMPDIR"));
        let fresh = tempfile::NamedTempFile::new_in(folder).unwrap().into_temp_path();
        let mut cc = Command::new("cc");
        let built = cc.args(["-shared", "-fPIC", "-O1", "-Wall", "-Werror", "-o"]).arg(&fresh).arg(source).status();
        assert!(built.expect("cc; `make tools` installs it").success(), "the shim does not compile");
        // Another run may be using it.
        let path = folder.join("shim.so");
        fresh.persist(&path).unwrap();
        path
    })
}
