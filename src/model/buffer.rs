//! Buffers for chunks at rest, used again: a fresh megabyte costs the kernel more, page by page and filled with zeros,
//! than it costs to fill it with what is wanted.

use std::ops::{Deref, DerefMut, Range};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bytes::Bytes;

use crate::limits::{CHUNK_BUFFERS_KEPT, CHUNK_BYTES, PIECE_BUFFERS_KEPT, PIECE_BYTES_MAX};

/// What a chunk takes with whatever seals it.
const WHOLE_BYTES: usize = CHUNK_BYTES + 128;

/// What is shorter is cheap to have anew.
const SHORT_BYTES: usize = PIECE_BYTES_MAX / 2;

/// Buffers of one size that nobody uses, the one used last on top: it is still in the processor's cache.
struct Shelf {
    bytes: usize,
    kept: usize,
    free: Mutex<Vec<Vec<u8>>>,
}

static PIECES: Shelf = Shelf { bytes: PIECE_BYTES_MAX, kept: PIECE_BUFFERS_KEPT, free: Mutex::new(Vec::new()) };
static WHOLES: Shelf = Shelf { bytes: WHOLE_BYTES, kept: CHUNK_BUFFERS_KEPT, free: Mutex::new(Vec::new()) };

impl Shelf {
    fn of(len: usize) -> Option<&'static Shelf> {
        let fits = |shelf: &&Shelf| len >= SHORT_BYTES && len <= shelf.bytes;
        [&PIECES, &WHOLES].into_iter().find(fits)
    }

    fn free(&self) -> MutexGuard<'_, Vec<Vec<u8>>> {
        self.free.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Bytes that are filled in, opened in place and then shared. What is in it before is of no meaning.
pub struct Buffer {
    /// As long as it was made, whatever it holds.
    bytes: Vec<u8>,
    len: usize,
    shelf: Option<&'static Shelf>,
}

impl Buffer {
    /// A buffer of so many bytes. Where there is a shelf for about as many it comes from there, goes back there, and
    /// takes more room than it holds: what stays for long is to be copied, unless it is a whole chunk.
    pub fn of(len: usize) -> Self {
        let shelf = Shelf::of(len);
        let used = shelf.and_then(|shelf| shelf.free().pop());
        let bytes = used.unwrap_or_else(|| vec![0; shelf.map_or(len, |shelf| shelf.bytes)]);
        Buffer { bytes, len, shelf }
    }

    /// A range of it, which cannot be changed any more. What is beyond the end is left out.
    pub fn share(self, range: Range<usize>) -> Bytes {
        let end = range.end.min(self.len);
        let start = range.start.min(end);
        Bytes::from_owner(self).slice(start..end)
    }

    /// All of it.
    pub fn freeze(self) -> Bytes {
        let len = self.len;
        self.share(0..len)
    }
}

impl From<&[u8]> for Buffer {
    fn from(bytes: &[u8]) -> Self {
        let mut buffer = Buffer::of(bytes.len());
        buffer.copy_from_slice(bytes);
        buffer
    }
}

impl Deref for Buffer {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or_default()
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u8] {
        self.bytes.get_mut(..self.len).unwrap_or_default()
    }
}

impl AsRef<[u8]> for Buffer {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let Some(shelf) = self.shelf else { return };
        let mut free = shelf.free();
        if free.len() < shelf.kept {
            free.push(std::mem::take(&mut self.bytes));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_as_long_as_was_asked_for_whatever_held_it_before() {
        for len in [0, 1, SHORT_BYTES, PIECE_BYTES_MAX, PIECE_BYTES_MAX + 1, CHUNK_BYTES, WHOLE_BYTES, WHOLE_BYTES + 1]
        {
            for _ in 0..3 {
                let mut buffer = Buffer::of(len);
                assert_eq!(buffer.len(), len);
                buffer.fill(7);
                let shared = buffer.share(1..usize::MAX);
                assert!(shared.len() == len.saturating_sub(1) && shared.iter().all(|byte| *byte == 7));
            }
        }
    }

    #[test]
    fn what_is_shared_is_not_used_again_and_few_are_kept() {
        let shared: Vec<Bytes> = (0..2 * CHUNK_BUFFERS_KEPT)
            .map(|nth| {
                let mut buffer = Buffer::of(CHUNK_BYTES);
                buffer.fill(nth as u8);
                buffer.freeze()
            })
            .collect();
        for (nth, bytes) in shared.iter().enumerate() {
            assert!(bytes.iter().all(|byte| *byte == nth as u8), "{nth}");
        }
        drop(shared);
        assert!(WHOLES.free().len() <= CHUNK_BUFFERS_KEPT);
    }
}
