//! What only the operating system can do: the one file where unsafe code may stand.

use std::io;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

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
