//! What only the operating system can do: the one file where unsafe code may stand.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::thread;
use std::time::Duration;

/// Milliseconds for which the allocator keeps pages that were freed.
const FREED_PAGES_KEPT_MS: libc::c_long = 10;

/// How often it is made to give back all of them.
const GIVEN_BACK_EVERY: Duration = Duration::from_millis(50);

/// The allocator's name for that number; it has no constant of its own in the crate that binds it.
const PURGE_DELAY: libmimalloc_sys::mi_option_t = 15;

/// Makes the process give back soon what it has freed, so that its memory stays within its budget. Called once,
/// before threads start.
///
/// Left alone, the allocator asks for pages of 2 MiB and keeps freed ones for 10 to 100 ms: 40 uploads of 10 MB
/// into a budget of 64 MiB peaked at 109 MiB, and at 41 MiB with this.
pub fn give_back_freed_memory() {
    #[allow(unsafe_code)]
    // SAFETY: both calls only set a number, and no other thread runs yet.
    unsafe {
        libc::prctl(libc::PR_SET_THP_DISABLE, 1, 0, 0, 0);
        libmimalloc_sys::mi_option_set(PURGE_DELAY, FREED_PAGES_KEPT_MS);
    }
}

/// Gives back every so often, for as long as the process runs, what the allocator has lost sight of.
///
/// It gives freed pages back when it comes by after their time, and where one thread frees some just as another has
/// looked and found none, it never comes by again: 60 uploads of 10 MB into a budget of 64 MiB peaked at 67 and 86 MiB
/// in two of 80 runs. Asked by force it looks again, and notices from then on.
pub fn keep_giving_back_freed_memory() -> io::Result<()> {
    let work = || loop {
        thread::sleep(GIVEN_BACK_EVERY);
        #[allow(unsafe_code)]
        // SAFETY: frees nothing that is in use, and may be called by any thread at any time.
        unsafe {
            libmimalloc_sys::mi_collect(true)
        }
    };
    // A thread of its own, which allocates nothing: the call also tidies what its thread has allocated.
    thread::Builder::new().name("give-back".into()).spawn(work).map(drop)
}

/// Makes the system end connections whose peer takes nothing of what is sent to it for so long. Set on a
/// listening socket, it holds for all connections that come through it.
pub fn end_when_stalled(socket: BorrowedFd<'_>, after: Duration) -> io::Result<()> {
    let ms = libc::c_uint::try_from(after.as_millis()).unwrap_or(libc::c_uint::MAX);
    let bytes = size_of_val(&ms) as libc::socklen_t;
    #[allow(unsafe_code)]
    // SAFETY: the pointer and the length are those of a number that outlives the call, and the
    // descriptor is open as long as it is borrowed.
    let done = unsafe {
        let value = std::ptr::from_ref(&ms).cast();
        libc::setsockopt(socket.as_raw_fd(), libc::IPPROTO_TCP, libc::TCP_USER_TIMEOUT, value, bytes)
    };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Bytes that may still be written to the file system of a path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let path = CString::new(path.as_os_str().as_bytes())?;
    let mut told = MaybeUninit::<libc::statvfs>::uninit();
    #[allow(unsafe_code)]
    // SAFETY: the path ends with a NUL, and `told` has room for what is written into it.
    let failed = unsafe { libc::statvfs(path.as_ptr(), told.as_mut_ptr()) } != 0;
    if failed {
        return Err(io::Error::last_os_error());
    }
    #[allow(unsafe_code)]
    // SAFETY: a call that succeeded has filled all of it.
    let told = unsafe { told.assume_init() };
    Ok(told.f_bavail.saturating_mul(told.f_frsize))
}

/// Gives a file real blocks for its first `bytes`, and that length if it was shorter; fails with
/// [`io::ErrorKind::Unsupported`] where the file system cannot.
pub fn allocate(file: BorrowedFd<'_>, bytes: u64) -> io::Result<()> {
    let bytes = libc::off_t::try_from(bytes).map_err(|_| io::ErrorKind::FileTooLarge)?;
    loop {
        #[allow(unsafe_code)]
        // SAFETY: no memory is passed, and the descriptor is open as long as it is borrowed.
        let done = unsafe { libc::fallocate(file.as_raw_fd(), 0, 0, bytes) };
        if done == 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        match error.raw_os_error() {
            Some(libc::EINTR) => {}
            Some(libc::EOPNOTSUPP | libc::ENOSYS) => return Err(io::ErrorKind::Unsupported.into()),
            _ => return Err(error),
        }
    }
}

/// Asks a process that was started here to end.
pub fn terminate(pid: u32) -> io::Result<()> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| io::ErrorKind::InvalidInput)?;
    #[allow(unsafe_code)]
    // SAFETY: numbers alone; the process is our child, which is not waited for yet, so its number is its own.
    let failed = unsafe { libc::kill(pid, libc::SIGTERM) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Files that this process may have open.
pub fn open_files_max() -> io::Result<u64> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    #[allow(unsafe_code)]
    // SAFETY: `limit` is a whole structure of the kind that is written into it.
    let failed = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) } != 0;
    if failed { Err(io::Error::last_os_error()) } else { Ok(limit.rlim_cur) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_tells_of_space_and_files() {
        assert!(free_bytes(Path::new("/")).is_ok());
        assert!(free_bytes(Path::new("/no/such/place")).is_err());
        assert!(free_bytes(Path::new("a\0b")).is_err());
        assert!(open_files_max().unwrap() > 0);
    }
}
