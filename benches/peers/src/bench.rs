//! What every row gets: how much effort to make, where to put files, and which program to measure.

use std::cell::Cell;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};

/// How long and how often things are measured.
#[derive(Clone, Copy)]
pub struct Effort {
    /// Turns that each contender has.
    pub rounds: usize,
    /// How long one turn of small requests lasts.
    pub span: Duration,
    /// Whether this is a try only.
    pub quick: bool,
}

impl Effort {
    pub fn new(quick: bool, rounds: Option<usize>, seconds: Option<f64>) -> Self {
        let (usual, span) = if quick { (2, 0.3) } else { (7, 2.0) };
        let span = Duration::from_secs_f64(seconds.unwrap_or(span).max(0.01));
        Effort { rounds: rounds.unwrap_or(usual).max(1), span, quick }
    }

    /// One number for a real run, another for a try.
    pub fn pick<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

/// A run of the benchmarks.
pub struct Bench {
    pub effort: Effort,
    /// The program of the container.
    pub server: PathBuf,
    scratch: Scratch,
}

impl Bench {
    pub fn prepare(server: Option<PathBuf>, effort: Effort) -> Result<Self> {
        let exe = std::env::current_exe().context("where this program is")?;
        let beside = exe.parent().context("this program lies in no folder")?;
        let server = server.unwrap_or_else(|| beside.join("meshstore"));
        ensure!(server.is_file(), "there is no {}; build it with `cargo build --release`", server.display());
        // Beside the programs, not in /tmp: that may be memory, and some rows are about a disk.
        let scratch = Scratch::make(beside)?;
        Ok(Bench { effort, server, scratch })
    }

    /// A new folder for one server or row, removed when dropped.
    pub fn folder(&self, name: &str) -> Result<Folder> {
        let number = self.scratch.next.get();
        self.scratch.next.set(number + 1);
        Folder::make(self.scratch.root.path().join(format!("{number}-{name}")))
    }
}

/// The folder of the whole run.
struct Scratch {
    root: Folder,
    next: Cell<usize>,
}

impl Scratch {
    fn make(beside: &Path) -> Result<Self> {
        let root = Folder::make(beside.join(format!("bench-{}", std::process::id())))?;
        let path = root.path().to_owned();
        std::thread::spawn(move || remove_when_interrupted(&path));
        Ok(Scratch { root, next: Cell::new(0) })
    }
}

/// Ctrl-C also reaches the servers, which are in the same group; only the files would stay behind.
fn remove_when_interrupted(path: &Path) {
    let Ok(runtime) = tokio::runtime::Builder::new_current_thread().enable_io().build() else { return };
    if runtime.block_on(async { tokio::signal::ctrl_c().await }).is_ok() {
        std::thread::sleep(Duration::from_millis(300));
        let _ = std::fs::remove_dir_all(path);
        std::process::exit(130);
    }
}

/// A folder that goes when it is dropped.
pub struct Folder(PathBuf);

impl Folder {
    /// The place of a folder that was given away.
    pub fn none() -> Self {
        Folder(PathBuf::new())
    }

    fn make(path: PathBuf) -> Result<Self> {
        std::fs::create_dir_all(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Folder(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        // What cannot be removed is only scratch.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
