//! The store's file as the database sees it, with the two powers that recovery needs: a fence
//! against a database that is being replaced, and the way back to the last durable header.
//!
//! A commit writes new pages beside the old ones and then the header that names them. So whoever
//! puts the last durable header back has undone the commit, also when its sync failed and nobody
//! can tell what reached the disk.

use std::io;
use std::sync::{Arc, Mutex, PoisonError, RwLock, RwLockReadGuard};

use super::fs::File;
use super::lock;

/// The header lies within the first sector of the file.
const HEADER_BYTES: usize = 512;

pub(super) struct Backend {
    file: Arc<dyn File>,
    /// Set once the database on this backend has been given up.
    fenced: RwLock<bool>,
    headers: Mutex<Headers>,
}

struct Headers {
    written: Vec<u8>,
    durable: Vec<u8>,
}

impl Backend {
    /// A backend for a file whose durable header is known, or is what the file now says.
    pub(super) fn new(file: Arc<dyn File>, durable: Option<Vec<u8>>) -> io::Result<Self> {
        let durable = match durable {
            Some(header) => header,
            None => {
                let mut header = vec![0; HEADER_BYTES.min(file.len()? as usize)];
                file.read_exact_at(&mut header, 0)?;
                header
            }
        };
        let headers = Headers { written: durable.clone(), durable };
        Ok(Backend { file, fenced: RwLock::new(false), headers: Mutex::new(headers) })
    }

    pub(super) fn durable_header(&self) -> Vec<u8> {
        lock(&self.headers).durable.clone()
    }

    /// Lets nothing reach the file any more; waits for what is on its way.
    pub(super) fn fence(&self) {
        *self.fenced.write().unwrap_or_else(PoisonError::into_inner) = true;
    }

    fn pass(&self) -> io::Result<RwLockReadGuard<'_, bool>> {
        let fenced = self.fenced.read().unwrap_or_else(PoisonError::into_inner);
        if *fenced { Err(io::Error::other("the database was reopened meanwhile")) } else { Ok(fenced) }
    }

    pub(super) fn len(&self) -> io::Result<u64> {
        let _pass = self.pass()?;
        self.file.len()
    }

    pub(super) fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let _pass = self.pass()?;
        self.file.read_exact_at(out, offset)
    }

    pub(super) fn set_len(&self, len: u64) -> io::Result<()> {
        let _pass = self.pass()?;
        self.file.set_len(len)
    }

    pub(super) fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let _pass = self.pass()?;
        if offset == 0 {
            let mut headers = lock(&self.headers);
            headers.written = data.get(..HEADER_BYTES).unwrap_or(data).to_vec();
        }
        self.file.write_all_at(data, offset)
    }

    pub(super) fn sync_data(&self) -> io::Result<()> {
        let _pass = self.pass()?;
        let written = lock(&self.headers).written.clone();
        self.file.sync_data()?;
        lock(&self.headers).durable = written;
        Ok(())
    }
}

/// Puts the header back that the last successful commit made durable.
pub(super) fn restore_header(file: &dyn File, durable: &[u8]) -> io::Result<()> {
    let mut now = vec![0; durable.len()];
    file.read_exact_at(&mut now, 0)?;
    if now == durable {
        return Ok(());
    }
    file.write_all_at(durable, 0)?;
    file.sync_data()
}

/// Empties a file whose making was cut short, so that it can be made again.
///
/// The database writes its magic last and refuses a file without it. Only a file that holds nothing
/// but that first header is touched: a store with rows in it whose header is gone is for salvage.
pub(super) fn reset_unfinished(file: &dyn File, magic: &[u8]) -> io::Result<()> {
    const PART_BYTES: u64 = 64 << 10;
    let length = file.len()?;
    let mut at = 0;
    while at < length {
        let mut part = vec![0; PART_BYTES.min(length - at) as usize];
        file.read_exact_at(&mut part, at)?;
        let (header, rows) = part.split_at(if at == 0 { HEADER_BYTES.min(part.len()) } else { 0 });
        let magic_begun = header.iter().zip(magic).take_while(|(found, wanted)| found == wanted).count();
        let magic_whole = at == 0 && magic_begun == magic.len();
        let foreign = header.iter().take(magic.len()).skip(magic_begun).any(|byte| *byte != 0);
        if magic_whole || foreign || rows.iter().any(|byte| *byte != 0) {
            return Ok(());
        }
        at += part.len() as u64;
    }
    file.set_len(0)
}
