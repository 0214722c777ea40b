//! Frames: two bytes say how the object is sealed, two how long it is, one what happens to the frame. Then come
//! edits of five bytes (what, where, with what), or the bytes of a frame.

use std::ops::Range;

use bytes::Bytes;
use meshstore::limits::CHUNK_BYTES;
use meshstore::model::{Chunks, Compression, DigestKind, Encryption, NfrSpec, Rng, Seal, SeededRng};
use meshstore::nfr::{self, DataKey, FrameBuilder, HEADER_BYTES, Opener};

use super::common::{Input, fine, within};

/// Chunks of 1 KiB, so that a frame of several is cheap.
const SMALL_LOG2: u8 = 10;
const SMALL: usize = 1 << SMALL_LOG2;
const TRAILER_BYTES: usize = 16;

/// A frame as it was sealed.
struct Sealed {
    plain: Vec<u8>,
    frame: Vec<u8>,
    seal: Seal,
    key: Option<DataKey>,
    chunk_bytes: usize,
}

/// Whatever becomes of a frame's bytes, what its opener gives is what was sealed, or nothing. That holds for a whole
/// frame against its own seal, and for each encrypted chunk even if header, footer and seal were forged to fit. No
/// length in a frame is believed: a chunk takes no more memory than a chunk may have.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let (how, small) = spec(input.byte(), input.byte());
    let len = input.number(2) as usize % (5 * SMALL);
    let deed = input.byte();
    let good = sealed(how, small, len);
    match deed % 4 {
        0 => {
            let changed = edited(&good.frame, &mut input);
            own_seal(&good, &changed);
        }
        1 => own_seal(&good, input.rest()),
        2 => {
            let changed = edited(&good.frame, &mut input);
            forged_seal(&good, changed, deed);
        }
        _ => forged_seal(&good, input.rest().to_vec(), deed),
    }
}

fn spec(seal: u8, chunks: u8) -> (NfrSpec, bool) {
    let encrypt = if seal & 1 == 0 { Encryption::None } else { Encryption::Aes256Gcm };
    let kinds = [Compression::Auto, Compression::Zstd, Compression::Lz4, Compression::None];
    (NfrSpec { encrypt, compress: kinds[usize::from(seal >> 1) % 4], digest: DigestKind::Blake3 }, chunks & 1 == 0)
}

/// Half text, half noise, so that some chunks are compressed and some are not.
fn plain(len: usize) -> Vec<u8> {
    let mut out: Vec<u8> = (0..len).map(|i| b"the quick brown fox "[i % 20]).collect();
    let noise = len / 3..len / 3 * 2;
    SeededRng::new(len as u64).fill(&mut out[noise]);
    out
}

fn sealed(how: NfrSpec, small: bool, len: usize) -> Sealed {
    let (plain, rng) = (plain(len), SeededRng::new(7));
    let chunk_bytes = if small { SMALL } else { CHUNK_BYTES };
    let sealer = if small {
        nfr::fuzzing::sealer(how, &rng, &plain, SMALL_LOG2).unwrap()
    } else {
        nfr::Sealer::new(how, &rng, &plain).unwrap()
    };
    let mut frame = sealer.header().to_vec();
    let mut builder = FrameBuilder::new();
    let count = len.div_ceil(chunk_bytes);
    for (index, piece) in plain.chunks(chunk_bytes).enumerate() {
        let chunk = sealer.seal(index as u32, index + 1 == count, piece).unwrap();
        builder.push(&chunk);
        frame.extend_from_slice(&chunk.bytes);
    }
    let finished = builder.finish(&sealer);
    frame.extend_from_slice(&finished.footer);
    assert_eq!(finished.seal.bytes, frame.len() as u64);
    Sealed { plain, frame, seal: finished.seal, key: sealer.data_key().cloned(), chunk_bytes }
}

fn edited(frame: &[u8], input: &mut Input<'_>) -> Vec<u8> {
    let mut out = frame.to_vec();
    for _ in 0..16 {
        if input.0.is_empty() {
            break;
        }
        let (what, at, with) = (input.byte(), input.number(2) as usize, input.byte());
        // Half of the places count from the end, where the footer is.
        let at = if what & 8 == 0 { at } else { out.len().saturating_sub(1 + at % 128) };
        if out.is_empty() {
            break;
        }
        let at = at % out.len();
        match what % 8 {
            0 => out[at] ^= 1 << (with % 8),
            1 => out[at] = with,
            2 => out.truncate(at),
            3 => out.extend_from_within(at..out.len().min(at + usize::from(with))),
            4 => drop(out.drain(at..out.len().min(at + usize::from(with)))),
            5 => {
                let piece = out[at..out.len().min(at + 64)].to_vec();
                out.splice(at..at, piece);
            }
            6 => out.extend_from_slice(input.take(usize::from(with % 64))),
            _ => {
                let other = usize::from(with) * 4 % out.len();
                out.swap(at, other);
            }
        }
    }
    out
}

/// The way of a reader: lengths come from the manifest and from a footer that was checked.
fn opener(good: &Sealed, seal: &Seal, frame: &[u8]) -> Option<Opener> {
    let footer = fine(nfr::footer_extent(frame.len() as u64, good.plain.len() as u64, good.chunk_bytes))?;
    let header = frame.get(..HEADER_BYTES)?;
    let footer = &frame[footer.start as usize..];
    let opener = within(64 * footer.len() + 4096, || fine(Opener::new(seal, header, footer, good.key.as_ref())))?;
    assert!(opener.chunks() as usize <= footer.len() / 4, "more chunks than the footer has room for");
    Some(opener)
}

fn chunk(opener: &Opener, frame: &[u8], index: u32) -> Option<Bytes> {
    let extent = opener.extent(index);
    let stored = frame.get(extent.start as usize..extent.end as usize).unwrap_or_default();
    // The opened bytes twice (decrypted, decompressed), and the error.
    let bytes = within(stored.len() + CHUNK_BYTES + 4096, || fine(opener.open(index, stored)))?;
    let wanted = opener.plain_extent(index);
    assert_eq!(bytes.len() as u64, wanted.end - wanted.start);
    Some(bytes)
}

fn own_seal(good: &Sealed, frame: &[u8]) {
    let size = good.plain.len() as u64;
    if let Some(opened) = fine(nfr::open_whole(&good.seal, size, frame, good.key.as_ref())) {
        assert!(frame == good.frame, "a frame that was changed opened");
        assert!(opened.to_bytes() == good.plain, "other bytes than were sealed");
    } else {
        assert!(frame != good.frame || good.chunk_bytes != CHUNK_BYTES, "the frame as it was sealed did not open");
    }
    let Some(opener) = opener(good, &good.seal, frame) else {
        assert!(frame != good.frame, "the frame as it was sealed did not open");
        return;
    };
    assert_eq!((opener.size(), opener.frame()), (size, good.seal.frame));
    for index in 0..opener.chunks() {
        let found = chunk(&opener, frame, index);
        let wanted = opener.plain_extent(index);
        match found {
            Some(bytes) => assert!(bytes == good.plain[span(&wanted)], "other bytes than were sealed"),
            None => assert!(frame != good.frame, "a chunk as it was sealed did not open"),
        }
    }
}

/// A forger who cannot encrypt wrote a seal that fits the frame; with `deed & 4` the footer was mended, with
/// `deed & 8` the manifest's size is another one that asks for as many chunks.
fn forged_seal(good: &Sealed, mut frame: Vec<u8>, deed: u8) {
    let size = good.plain.len() as u64;
    let footer = nfr::footer_extent(frame.len() as u64, size, good.chunk_bytes).ok();
    let Some(at) = footer.map(|footer| footer.start as usize) else { return };
    if deed & 4 != 0 {
        let end = frame.len() - TRAILER_BYTES;
        let (body, trailer) = frame[at..].split_at_mut(end - at);
        trailer[..4].copy_from_slice(&(body.len() as u32).to_le_bytes());
        trailer[4..8].copy_from_slice(&crc32fast::hash(body).to_le_bytes());
        trailer[8..].copy_from_slice(b"MSHFREND");
    }
    let header: [u8; HEADER_BYTES] = frame[..HEADER_BYTES].try_into().unwrap();
    let mut seal = good.seal.clone();
    (seal.bytes, seal.footer) = (frame.len() as u64, nfr::fuzzing::forged(&header, &frame[at..]));
    seal.frame.0.copy_from_slice(&header[16..]);
    if let Some(opener) = opener(good, &seal, &frame) {
        let encrypted = good.key.is_some() && header[9] == 1;
        for index in 0..opener.chunks().min(64) {
            let Some(bytes) = chunk(&opener, &frame, index) else { continue };
            let wanted = index as usize * good.chunk_bytes;
            let end = good.plain.len().min(wanted + good.chunk_bytes);
            assert!(!encrypted || good.plain.get(wanted..end).is_some_and(|wanted| bytes == wanted), "forged bytes");
        }
        // A chunk that says it is the last there can be.
        let stray = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 2, 0, 0, 0];
        assert!(opener.open(u32::MAX, &stray).is_err() && opener.extent(u32::MAX).is_empty());
    }
    let count = size.div_ceil(good.chunk_bytes as u64);
    let size = if deed & 8 == 0 { size } else { count * CHUNK_BYTES as u64 };
    if let Some(chunks) = fine(nfr::open_whole(&seal, size, &frame, good.key.as_ref())) {
        sound(&chunks, size);
    }
}

/// What was opened can be cut anywhere.
fn sound(chunks: &Chunks, size: u64) {
    assert_eq!(chunks.len(), size, "an object of another size than its manifest's");
    let whole = chunks.to_bytes();
    for range in [0..size, size / 2..size, size / 3..size / 3 * 2] {
        assert!(chunks.slice(range.clone()).concat() == whole[span(&range)], "a range gives other bytes");
    }
}

fn span(range: &Range<u64>) -> Range<usize> {
    range.start as usize..range.end as usize
}
