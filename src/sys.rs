//! What only the operating system can do: the one file where unsafe code may stand.

use std::ffi::CString;
use std::io;
use std::mem::MaybeUninit;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

/// Allocations from here on are mapped on their own, and given back to the system when freed.
#[cfg(target_env = "gnu")]
const MAPPED_BYTES_MIN: i32 = 256 << 10;

/// Makes the allocator give back large buffers as soon as they are freed. Called once, before threads start.
///
/// Left alone, glibc keeps freed chunks of a megabyte in the arenas of the threads that made them: 40
/// uploads of 10 MB into a full level 1 of 128 MiB peaked at 287-321 MiB, and at 165 MiB with this.
pub fn give_back_large_buffers() {
    #[cfg(target_env = "gnu")]
    #[allow(unsafe_code)]
    // SAFETY: mallopt only sets a number inside the allocator; no other thread runs yet.
    unsafe {
        libc::mallopt(libc::M_MMAP_THRESHOLD, MAPPED_BYTES_MIN);
    }
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
