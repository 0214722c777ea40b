//! What only the operating system can do: the one file where unsafe code may stand.

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

/// Bytes that this process may still write to the file system of a folder; `None` where it does not say.
pub fn free_bytes(folder: &std::path::Path) -> Option<u64> {
    use std::os::unix::ffi::OsStrExt;
    let path = std::ffi::CString::new(folder.as_os_str().as_bytes()).ok()?;
    let mut found = std::mem::MaybeUninit::<libc::statvfs>::uninit();
    #[allow(unsafe_code)]
    // SAFETY: the path ends in a NUL, and the result is read only after the call filled it in.
    let found = unsafe {
        if libc::statvfs(path.as_ptr(), found.as_mut_ptr()) != 0 {
            return None;
        }
        found.assume_init()
    };
    // The types differ between platforms.
    #[allow(clippy::unnecessary_cast)]
    Some((found.f_bavail as u64).saturating_mul(found.f_frsize as u64))
}
