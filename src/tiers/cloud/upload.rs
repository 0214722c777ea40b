//! One frame on its way to the cloud: in parts, of which few are held at once, so that its length
//! does not matter. Nothing shows before the last part is there.

use futures_util::StreamExt;
use futures_util::stream::FuturesUnordered;
use object_store::path::Path;
use object_store::{MultipartUpload, ObjectStore, ObjectStoreExt, PutResult};

use super::calls::Calls;
use super::trouble::Trouble;
use crate::error::Error;
use crate::limits::{CLOUD_PART_BYTES_MIN, CLOUD_PARTS_FLYING, CLOUD_PARTS_MAX};
use crate::tiers::Source;

const SEND: &str = "cannot send a frame to the cloud";

/// Sends all of a source to this name. One attempt: the parts of a torn upload are given up.
pub fn send(calls: &Calls, store: &dyn ObjectStore, path: &Path, source: &dyn Source) -> Result<PutResult, Trouble> {
    let len = source.len();
    let part_bytes = len.div_ceil(CLOUD_PARTS_MAX).max(CLOUD_PART_BYTES_MIN);
    if len <= part_bytes {
        let whole = read(source, 0, len)?;
        return calls.call_within(calls.parts.upload_timeout, SEND, store.put(path, whole.into()));
    }
    let mut upload = calls.call(SEND, store.put_multipart(path))?;
    let sent = send_parts(calls, upload.as_mut(), source, part_bytes)
        .and_then(|()| calls.call_within(calls.parts.upload_timeout, SEND, upload.complete()));
    if sent.is_err() {
        // What a cloud keeps of it all the same, its own rules for unfinished uploads remove.
        let _ = calls.call("cannot give up an upload", upload.abort());
    }
    sent
}

fn send_parts(
    calls: &Calls,
    upload: &mut dyn MultipartUpload,
    source: &dyn Source,
    part_bytes: u64,
) -> Result<(), Trouble> {
    let len = source.len();
    let mut flying = FuturesUnordered::new();
    let mut at = 0;
    while at < len || !flying.is_empty() {
        if at < len && flying.len() < CLOUD_PARTS_FLYING {
            // Read outside the runtime: the source may be a frame of another cloud.
            let end = (at + part_bytes).min(len);
            flying.push(upload.put_part(read(source, at, end)?.into()));
            at = end;
            continue;
        }
        calls.call_within(calls.parts.upload_timeout, SEND, async { flying.next().await.unwrap_or(Ok(())) })?;
    }
    Ok(())
}

fn read(source: &dyn Source, start: u64, end: u64) -> Result<bytes::Bytes, Trouble> {
    let bytes = source.read(start..end).map_err(Trouble::Lasting)?;
    if bytes.len() as u64 != end - start {
        return Err(Trouble::Lasting(Error::corrupt("the frame is shorter than its length says")));
    }
    Ok(bytes)
}
