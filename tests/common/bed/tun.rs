//! What only the operating system can do for a bed: the one file of it where unsafe code may stand.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::fd::AsRawFd;

/// What TUNSETIFF takes, as large as the kernel's `ifreq`: it reads and writes all of it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: libc::c_short,
    rest: [u8; 22],
}

/// Creates a device in the namespace of the calling thread. It lives as long as the descriptor: also where this
/// process is killed, no device is left.
pub fn create(name: &str) -> io::Result<File> {
    let opened = OpenOptions::new().read(true).write(true).open("/dev/net/tun");
    let file = opened.map_err(|error| io::Error::new(error.kind(), format!("cannot open /dev/net/tun: {error}")))?;
    let flags = (libc::IFF_TUN | libc::IFF_NO_PI) as libc::c_short;
    let mut request = Request { name: [0; libc::IFNAMSIZ], flags, rest: [0; 22] };
    // The last byte stays zero: it ends the name.
    if name.len() >= request.name.len() {
        return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("the name {name} is too long for a device")));
    }
    request.name.iter_mut().zip(name.bytes()).for_each(|(place, byte)| *place = byte);
    #[allow(unsafe_code)]
    // SAFETY: the pointer is that of a request as large as the kernel takes it to be, which outlives the call, and
    // the descriptor is open as long as the file.
    let done = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw mut request) };
    let error = io::Error::last_os_error();
    if done == 0 { Ok(file) } else { Err(io::Error::new(error.kind(), format!("cannot create {name}: {error}"))) }
}

/// Moves the calling thread, and no other, into a network namespace; programs that it starts are there, too.
pub fn enter(namespace: &File) -> io::Result<()> {
    #[allow(unsafe_code)]
    // SAFETY: the call takes no pointer, and the descriptor is open as long as it is borrowed.
    let done = unsafe { libc::setns(namespace.as_raw_fd(), libc::CLONE_NEWNET) };
    if done == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}
