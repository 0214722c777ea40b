//! Memory that the journal's rows lie in until the database has them, used again and again: rows come and go by
//! megabytes within moments, and memory that is fresh each time costs more than filling it.

use bytes::{Bytes, BytesMut};

/// Bytes of a slab, which many rows share.
const SLAB_BYTES: usize = 256 << 10;

/// A row that is larger has memory of its own.
const SHARED_MAX: usize = SLAB_BYTES / 8;

/// Of each slab what is left of it. Rows go into the last one; of the others one is used again once nobody holds a row of
/// it. None is given back before the end: there are as many as the rows that were there at the same time ever filled,
/// which is what the journal holds at most.
#[derive(Default)]
pub(super) struct Slabs(Vec<BytesMut>);

impl Slabs {
    /// A copy of a row. Who holds it holds its slab, so it is not for keeping.
    pub(super) fn put(&mut self, row: &[u8]) -> Bytes {
        if row.len() > SHARED_MAX {
            return Bytes::copy_from_slice(row);
        }
        let open = match self.0.pop() {
            Some(open) if open.capacity() >= row.len() => open,
            full => {
                self.0.extend(full);
                self.free()
            }
        };
        let open = self.0.push_mut(open);
        open.extend_from_slice(row);
        open.split().freeze()
    }

    fn free(&mut self) -> BytesMut {
        let free = self.0.iter_mut().position(|slab| slab.try_reclaim(SLAB_BYTES));
        free.map_or_else(|| BytesMut::with_capacity(SLAB_BYTES), |free| self.0.swap_remove(free))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rows(slabs: &mut Slabs, count: usize) -> Vec<Bytes> {
        (0..count).map(|number| slabs.put(&[number as u8; 1000])).collect()
    }

    #[test]
    fn a_slab_is_used_again_once_all_of_its_rows_are_gone_and_not_before() {
        let mut slabs = Slabs::default();
        let mut kept = Vec::new();
        for round in 0..20 {
            let rows = rows(&mut slabs, 1000);
            assert!(rows.iter().enumerate().all(|(number, row)| row[..] == [number as u8; 1000]));
            if round % 10 == 0 {
                kept.push(rows[500].clone());
            }
        }
        assert!(kept.iter().all(|row| row[..] == [500usize as u8; 1000]), "a row that is held was written over");
        // Four for the rows of a round, two that they begin and end in, and those that are held.
        assert!(slabs.0.len() <= 6 + kept.len(), "{} slabs", slabs.0.len());
    }

    #[test]
    fn a_large_row_has_memory_of_its_own() {
        let mut slabs = Slabs::default();
        for bytes in [0, 1, SHARED_MAX, SHARED_MAX + 1, SLAB_BYTES * 2] {
            assert_eq!(slabs.put(&vec![7; bytes]), vec![7; bytes]);
        }
        assert!(slabs.0.len() == 1);
    }
}
