//! A file that can be read but not written, made writable in memory: a database that must tidy up before it opens
//! can then still be read. Nothing of it ever reaches the file.

use std::collections::HashMap;
use std::io;
use std::sync::{Arc, Mutex};

use super::fs::File;
use super::lock;

const PAGE_BYTES: usize = 4096;

type Page = Box<[u8; PAGE_BYTES]>;

/// What was written over the file beneath.
pub(super) struct Overlay {
    beneath: Arc<dyn File>,
    written: Mutex<Written>,
}

struct Written {
    pages: HashMap<u64, Page>,
    length: u64,
    /// Up to here the file beneath still counts where nothing was written.
    kept: u64,
}

impl Overlay {
    pub(super) fn new(beneath: Arc<dyn File>) -> io::Result<Self> {
        let length = beneath.len()?;
        Ok(Overlay { beneath, written: Mutex::new(Written { pages: HashMap::new(), length, kept: length }) })
    }

    /// The page as it is now.
    fn page(&self, written: &Written, number: u64) -> io::Result<Page> {
        if let Some(page) = written.pages.get(&number) {
            return Ok(page.clone());
        }
        let mut page = Box::new([0; PAGE_BYTES]);
        let from = number * PAGE_BYTES as u64;
        let bytes = written.kept.saturating_sub(from).min(PAGE_BYTES as u64) as usize;
        if let Some(part) = page.get_mut(..bytes).filter(|part| !part.is_empty()) {
            self.beneath.read_exact_at(part, from)?;
        }
        Ok(page)
    }

    /// Goes through the pages of a range, each with the part of the range that lies in it.
    fn each(
        &self,
        offset: u64,
        bytes: usize,
        mut see: impl FnMut(u64, std::ops::Range<usize>, std::ops::Range<usize>) -> io::Result<()>,
    ) -> io::Result<()> {
        let mut done = 0;
        while done < bytes {
            let at = offset + done as u64;
            let start = (at % PAGE_BYTES as u64) as usize;
            let count = (PAGE_BYTES - start).min(bytes - done);
            see(at / PAGE_BYTES as u64, start..start + count, done..done + count)?;
            done += count;
        }
        Ok(())
    }
}

fn outside() -> io::Error {
    io::ErrorKind::UnexpectedEof.into()
}

impl File for Overlay {
    fn read_exact_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let written = lock(&self.written);
        if offset.saturating_add(buffer.len() as u64) > written.length {
            return Err(outside());
        }
        self.each(offset, buffer.len(), |number, inside, part| {
            let page = self.page(&written, number)?;
            let (to, from) = (buffer.get_mut(part).ok_or_else(outside)?, page.get(inside).ok_or_else(outside)?);
            to.copy_from_slice(from);
            Ok(())
        })
    }

    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut written = lock(&self.written);
        self.each(offset, bytes.len(), |number, inside, part| {
            let mut page = self.page(&written, number)?;
            let (to, from) = (page.get_mut(inside).ok_or_else(outside)?, bytes.get(part).ok_or_else(outside)?);
            to.copy_from_slice(from);
            written.pages.insert(number, page);
            Ok(())
        })?;
        written.length = written.length.max(offset.saturating_add(bytes.len() as u64));
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.written).length)
    }

    fn set_len(&self, bytes: u64) -> io::Result<()> {
        let mut written = lock(&self.written);
        if bytes < written.length {
            // What is cut off must read as zeros, should the file grow again.
            let (number, start) = (bytes / PAGE_BYTES as u64, (bytes % PAGE_BYTES as u64) as usize);
            let mut last = self.page(&written, number)?;
            last.iter_mut().skip(start).for_each(|byte| *byte = 0);
            written.pages.retain(|page, _| *page < number);
            written.kept = written.kept.min(bytes);
            if start > 0 {
                written.pages.insert(number, last);
            }
        }
        written.length = bytes;
        Ok(())
    }

    fn sync_data(&self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs};
    use super::*;
    use crate::model::{Rng, SeededRng};

    #[test]
    fn it_reads_as_a_file_that_was_written_and_leaves_the_one_beneath_alone() {
        let (fs, rng) = (SimFs::new(0), SeededRng::new(1));
        let beneath = fs.create(Path::new("/a")).unwrap();
        let mut held: Vec<u8> = (0..30_000u32).map(|n| n as u8).collect();
        beneath.write_all_at(&held, 0).unwrap();
        let first = held.clone();
        let file = Overlay::new(Arc::clone(&beneath)).unwrap();
        for _ in 0..500 {
            let (at, bytes) = (rng.below(40_000) as usize, 1 + rng.below(9_000) as usize);
            match rng.below(4) {
                0 => {
                    held.resize(at, 0);
                    file.set_len(at as u64).unwrap();
                }
                _ => {
                    held.resize(held.len().max(at + bytes), 0);
                    held[at..at + bytes].fill(bytes as u8);
                    file.write_all_at(&vec![bytes as u8; bytes], at as u64).unwrap();
                }
            }
            let mut read = vec![0; held.len()];
            file.read_exact_at(&mut read, 0).unwrap();
            assert!(read == held && file.len().unwrap() == held.len() as u64);
            assert!(file.read_exact_at(&mut [0], held.len() as u64).is_err());
        }
        let mut read = vec![0; first.len()];
        beneath.read_exact_at(&mut read, 0).unwrap();
        assert!(read == first && beneath.len().unwrap() == first.len() as u64);
    }
}
