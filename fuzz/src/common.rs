//! What the properties share: reading an input piece by piece, how errors must look, and how much memory was held.

use meshstore::Error;

/// An input, read from its start.
#[derive(Clone)]
pub struct Input<'a>(pub &'a [u8]);

impl<'a> Input<'a> {
    /// The next byte; 0 at the end.
    pub fn byte(&mut self) -> u8 {
        self.take(1).first().copied().unwrap_or_default()
    }

    /// The next number of up to eight bytes.
    pub fn number(&mut self, bytes: usize) -> u64 {
        self.take(bytes).iter().fold(0, |number, byte| number << 8 | u64::from(*byte))
    }

    /// The next bytes, fewer at the end.
    pub fn take(&mut self, bytes: usize) -> &'a [u8] {
        let (taken, rest) = self.0.split_at(bytes.min(self.0.len()));
        self.0 = rest;
        taken
    }

    /// The bytes up to the next line feed.
    pub fn line(&mut self) -> &'a [u8] {
        let end = self.0.iter().position(|byte| *byte == b'\n').unwrap_or(self.0.len());
        let line = self.take(end);
        self.take(1);
        line
    }

    /// A line that is text; what is not is left out.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.line()).replace('\u{fffd}', "")
    }

    /// All that is left.
    pub fn rest(&mut self) -> &'a [u8] {
        std::mem::take(&mut self.0)
    }
}

/// An error goes to logs and terminals: nothing that was read may forge a line or a colour there.
pub fn presentable(error: &Error) {
    let text = error.to_string();
    assert!(!text.chars().any(char::is_control), "an error repeats control characters: {text:?}");
}

/// What was read, or nothing if the error is presentable.
pub fn fine<T>(result: Result<T, Error>) -> Option<T> {
    result.inspect_err(presentable).ok()
}

/// Runs `work` and fails if it held more than `bytes` at once beyond what was held before it.
pub fn within<T>(bytes: usize, work: impl FnOnce() -> T) -> T {
    #[cfg(fuzzing)]
    {
        let before = counting::restart();
        let done = work();
        let held = counting::peak().saturating_sub(before);
        assert!(held <= bytes, "{held} bytes were held, {bytes} are allowed");
        done
    }
    #[cfg(not(fuzzing))]
    {
        let _ = bytes;
        work()
    }
}

/// An allocator that knows how much is held, and how much was at most. The targets have one thread.
#[cfg(fuzzing)]
mod counting {
    use std::alloc::{GlobalAlloc, Layout, System};
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    static HELD: AtomicUsize = AtomicUsize::new(0);
    static PEAK: AtomicUsize = AtomicUsize::new(0);

    struct Counting;

    // SAFETY: every call goes to the system's allocator as it came.
    unsafe impl GlobalAlloc for Counting {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            add(layout.size());
            unsafe { System.alloc(layout) }
        }

        unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
            add(layout.size());
            unsafe { System.alloc_zeroed(layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, bytes: usize) -> *mut u8 {
            add(bytes);
            HELD.fetch_sub(layout.size(), Relaxed);
            unsafe { System.realloc(at, layout, bytes) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            HELD.fetch_sub(layout.size(), Relaxed);
            unsafe { System.dealloc(at, layout) }
        }
    }

    #[global_allocator]
    static COUNTING: Counting = Counting;

    fn add(bytes: usize) {
        let held = HELD.fetch_add(bytes, Relaxed) + bytes;
        PEAK.fetch_max(held, Relaxed);
    }

    /// Forgets the peak; returns what is held now.
    pub fn restart() -> usize {
        let held = HELD.load(Relaxed);
        PEAK.store(held, Relaxed);
        held
    }

    pub fn peak() -> usize {
        PEAK.load(Relaxed)
    }
}
