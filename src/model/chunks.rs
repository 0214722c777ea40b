//! Plain bytes of an object as a rope of chunks, so that handing it over is a reference count.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use crate::limits::CHUNK_BYTES;

/// The plain bytes of one object: pieces of one size, a power of two up to [`CHUNK_BYTES`]; only the last may be
/// shorter, and the only one of any size. An empty object has no pieces.
#[derive(Clone, Debug)]
pub struct Chunks {
    pieces: Arc<[Bytes]>,
    /// Of all pieces but the last.
    piece_bytes: usize,
    len: u64,
}

impl Chunks {
    /// A rope of pieces that already have the right sizes.
    pub fn from_pieces(pieces: Vec<Bytes>) -> Self {
        let full = pieces.len().saturating_sub(1);
        let piece_bytes = pieces.first().filter(|_| full > 0).map_or(CHUNK_BYTES, Bytes::len);
        debug_assert!(CHUNK_BYTES.is_multiple_of(piece_bytes));
        debug_assert!(pieces.iter().take(full).all(|piece| piece.len() == piece_bytes));
        debug_assert!(pieces.last().is_none_or(|piece| (1..=piece_bytes).contains(&piece.len())));
        let len = pieces.iter().map(|piece| piece.len() as u64).sum();
        Chunks { pieces: pieces.into(), piece_bytes, len }
    }

    /// Total bytes.
    pub fn len(&self) -> u64 {
        self.len
    }

    /// Whether there is not a single byte.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// The pieces in order.
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// The pieces that cover `range`, cut to it; no byte is copied.
    pub fn slice(&self, range: Range<u64>) -> Vec<Bytes> {
        let end = range.end.min(self.len);
        let mut at = range.start;
        let mut out = Vec::new();
        while at < end {
            let index = (at / self.piece_bytes as u64) as usize;
            let Some(piece) = self.pieces.get(index) else { break };
            let base = index as u64 * self.piece_bytes as u64;
            let from = (at - base) as usize;
            let to = piece.len().min((end - base) as usize);
            out.push(piece.slice(from..to));
            at = base + to as u64;
        }
        out
    }

    /// The bytes in chunks of [`CHUNK_BYTES`], each in one piece; copies where pieces are smaller than that.
    pub fn chunks(&self) -> impl Iterator<Item = Bytes> + '_ {
        self.pieces.chunks(CHUNK_BYTES / self.piece_bytes).map(|pieces| match pieces {
            [one] => one.clone(),
            many => many.concat().into(),
        })
    }

    /// All bytes in one piece; copies unless there is just one.
    pub fn to_bytes(&self) -> Bytes {
        match &*self.pieces {
            [] => Bytes::new(),
            [one] => one.clone(),
            many => many.concat().into(),
        }
    }
}

impl Default for Chunks {
    fn default() -> Self {
        Chunks::from_pieces(Vec::new())
    }
}

/// One buffer cut into chunks; the pieces share its memory.
impl From<Bytes> for Chunks {
    fn from(mut whole: Bytes) -> Self {
        let mut pieces = Vec::with_capacity(whole.len().div_ceil(CHUNK_BYTES));
        while whole.len() > CHUNK_BYTES {
            pieces.push(whole.split_to(CHUNK_BYTES));
        }
        if !whole.is_empty() {
            pieces.push(whole);
        }
        Chunks::from_pieces(pieces)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_cross_pieces_without_loss() {
        let data: Vec<u8> = (0..2 * CHUNK_BYTES + 10).map(|i| (i / 7) as u8).collect();
        let chunks = Chunks::from(Bytes::from(data.clone()));
        assert_eq!(chunks.pieces().len(), 3);
        assert_eq!(chunks.to_bytes(), data);
        for range in [0..1, 5..CHUNK_BYTES + 5, CHUNK_BYTES..CHUNK_BYTES + 1, 0..data.len(), 3..data.len() + 99] {
            let got = chunks.slice(range.start as u64..range.end as u64).concat();
            assert_eq!(got, data[range.start..range.end.min(data.len())]);
        }
        assert!(Chunks::default().slice(0..10).is_empty());
    }

    #[test]
    fn small_pieces_are_the_same_bytes() {
        let data: Vec<u8> = (0..CHUNK_BYTES + CHUNK_BYTES / 4 + 10).map(|i| (i / 7) as u8).collect();
        let pieces = data.chunks(CHUNK_BYTES / 4).map(Bytes::copy_from_slice).collect();
        let (small, large) = (Chunks::from_pieces(pieces), Chunks::from(Bytes::from(data.clone())));
        assert_eq!(small.len(), large.len());
        assert!(small.chunks().eq(large.chunks()));
        let range = (CHUNK_BYTES / 2 - 3) as u64..(CHUNK_BYTES + 5) as u64;
        assert_eq!(small.slice(range.clone()).concat(), large.slice(range).concat());
    }
}
