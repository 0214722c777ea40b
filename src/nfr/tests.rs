//! Frames as a whole: what is sealed opens to the same bytes, and nothing else does.

use std::collections::HashSet;

use proptest::prelude::*;

use super::sealer::FinishedFrame;
use super::*;
use crate::limits::CHUNK_BYTES;
use crate::model::{Chunks, Compression, DigestKind, Encryption, NfrSpec, Rng, SeededRng};

const SMALL_LOG2: u8 = 10;

fn specs() -> impl Iterator<Item = NfrSpec> {
    let compress = [Compression::Auto, Compression::Zstd, Compression::Lz4, Compression::None];
    [Encryption::Aes256Gcm, Encryption::None].into_iter().flat_map(move |encrypt| {
        compress.into_iter().map(move |compress| NfrSpec { encrypt, compress, digest: DigestKind::Blake3 })
    })
}

fn text(len: usize) -> Vec<u8> {
    (0..len).map(|i| b"the quick brown fox jumps over the lazy dog "[i * i % 44]).collect()
}

fn noise(len: usize, seed: u64) -> Vec<u8> {
    let mut out = vec![0; len];
    SeededRng::new(seed).fill(&mut out);
    out
}

/// A frame of small chunks, so that properties are cheap to test.
struct Small {
    frame: Vec<u8>,
    finished: FinishedFrame,
    sealer: Sealer,
}

fn seal_small(spec: NfrSpec, seed: u64, plain: &[u8]) -> Small {
    let sealer = Sealer::sized(spec, &SeededRng::new(seed), plain, SMALL_LOG2).unwrap();
    let mut builder = FrameBuilder::new();
    let mut frame = sealer.header().to_vec();
    let count = plain.len().div_ceil(1 << SMALL_LOG2);
    for (index, piece) in plain.chunks(1 << SMALL_LOG2).enumerate() {
        let chunk = sealer.seal(index as u32, index + 1 == count, piece).unwrap();
        builder.push(&chunk);
        frame.extend_from_slice(&chunk.bytes);
    }
    let finished = builder.finish(&sealer);
    frame.extend_from_slice(&finished.footer);
    Small { frame, finished, sealer }
}

impl Small {
    fn open(&self, frame: &[u8]) -> crate::Result<Vec<u8>> {
        let footer = footer_extent(frame.len() as u64, self.finished.size, 1 << SMALL_LOG2)?;
        let (body, footer) = frame.split_at(footer.start as usize);
        let opener = Opener::new(&self.finished.seal, &body[..HEADER_BYTES], footer, self.sealer.data_key())?;
        let mut plain = Vec::new();
        for index in 0..opener.chunks() {
            let extent = opener.extent(index);
            let sealed = body.get(extent.start as usize..extent.end as usize);
            plain.extend(opener.open(index, sealed.unwrap_or_default())?);
        }
        Ok(plain)
    }
}

#[test]
fn every_combination_and_size_round_trips() {
    for spec in specs() {
        for len in [0, 1, 1000, CHUNK_BYTES - 1, CHUNK_BYTES, CHUNK_BYTES + 1, 2 * CHUNK_BYTES + 7] {
            for plain in [text(len), noise(len, 3)] {
                let chunks = Chunks::from(bytes::Bytes::from(plain.clone()));
                let (frame, finished, sealer) = seal_whole(spec, &SeededRng::new(len as u64), &chunks).unwrap();
                assert_eq!(finished.blake3.bytes, *blake3::hash(&plain).as_bytes());
                assert_eq!(finished.seal.bytes, frame.len() as u64);
                let opened = open_whole(&finished.seal, finished.size, &frame, sealer.data_key()).unwrap();
                assert!(opened.to_bytes() == plain, "{spec} {len}");
            }
        }
    }
}

#[test]
fn a_frame_of_other_chunks_than_its_manifest_means_is_refused() {
    let small = seal_small(NfrSpec::default(), 4, &text(3000));
    let (seal, key) = (&small.finished.seal, small.sealer.data_key());
    // Both ask for a footer of three chunks.
    for size in [3000, 3 * CHUNK_BYTES as u64] {
        let refused = open_whole(seal, size, &small.frame, key).unwrap_err();
        assert_eq!(refused.kind(), crate::Kind::Corrupt, "{size}");
    }
}

#[test]
fn no_index_is_too_large_to_be_refused() {
    let small = seal_small(NfrSpec::default(), 4, &text(3000));
    let footer = footer_extent(small.frame.len() as u64, 3000, 1 << SMALL_LOG2).unwrap();
    let (body, footer) = small.frame.split_at(footer.start as usize);
    let opener = Opener::new(&small.finished.seal, &body[..HEADER_BYTES], footer, small.sealer.data_key()).unwrap();
    let stray = [0xff, 0xff, 0xff, 0xff, 0, 0, 0, 0, 2, 0, 0, 0];
    assert_eq!(opener.open(u32::MAX, &stray).unwrap_err().kind(), crate::Kind::Corrupt);
    assert!(opener.extent(u32::MAX).is_empty() && opener.plain_extent(u32::MAX).is_empty());
}

#[test]
fn auto_compresses_text_and_leaves_noise_alone() {
    let spec = NfrSpec::default();
    let size = |plain: &[u8]| seal_small(spec, 1, plain).frame.len();
    assert!(size(&text(50_000)) < 25_000);
    let noise = noise(50_000, 1);
    assert!(size(&noise) < noise.len() + 2_000);
}

#[test]
fn a_range_needs_only_its_chunks() {
    let plain = noise(10 * 1024 + 5, 8);
    let small = seal_small(NfrSpec::default(), 8, &plain);
    let footer = footer_extent(small.frame.len() as u64, plain.len() as u64, 1024).unwrap();
    let footer = &small.frame[footer.start as usize..];
    let opener =
        Opener::new(&small.finished.seal, &small.frame[..HEADER_BYTES], footer, small.sealer.data_key()).unwrap();
    assert_eq!(opener.chunks_of(&(0..1)), 0..1);
    assert_eq!(opener.chunks_of(&(1023..1025)), 0..2);
    assert_eq!(opener.chunks_of(&(10 * 1024..u64::MAX)), 10..11);
    assert!(opener.chunks_of(&(20_000..30_000)).is_empty());
    let extent = opener.extent(3);
    let chunk = opener.open(3, &small.frame[extent.start as usize..extent.end as usize]).unwrap();
    assert_eq!(chunk, plain[3 * 1024..4 * 1024]);
}

#[test]
fn two_attempts_share_neither_id_nor_key_nor_bytes() {
    let rng = SeededRng::new(2);
    let mut ids = HashSet::new();
    let mut sealed = HashSet::new();
    for _ in 0..100 {
        let sealer = Sealer::new(NfrSpec::default(), &rng, b"same").unwrap();
        assert!(ids.insert(sealer.frame()));
        assert!(sealed.insert(sealer.seal(0, true, b"same").unwrap().bytes));
    }
    let nonces: HashSet<_> = (0..10_000).chain([u32::MAX]).map(super::sealer::nonce).collect();
    assert_eq!(nonces.len(), 10_001);
}

#[test]
fn a_lying_length_allocates_no_more_than_a_chunk() {
    let bomb = zstd::bulk::compress(&vec![0; 64 << 20], 1).unwrap();
    assert!(compress::decompress(compress::Codec::Zstd, &bomb, CHUNK_BYTES).is_err());
    let lie = [&[0xff, 0xff, 0xff, 0x7f][..], &[0; 64]].concat();
    assert!(compress::decompress(compress::Codec::Lz4, &lie, CHUNK_BYTES).is_err());
}

/// The frame printed in `docs/frame.md` is the one this code makes.
#[test]
fn the_documented_vectors_hold() {
    let doc = include_str!("../../docs/frame.md");
    for (encrypt, title) in [(Encryption::None, "plain"), (Encryption::Aes256Gcm, "encrypted")] {
        let spec = NfrSpec { encrypt, compress: Compression::None, digest: DigestKind::Blake3 };
        let chunks = Chunks::from(bytes::Bytes::from_static(b"hello, mesh"));
        let (frame, ..) = seal_whole(spec, &SeededRng::new(42), &chunks).unwrap();
        let hex: String = frame.iter().map(|byte| format!("{byte:02x}")).collect();
        let printed: String = doc
            .split(&format!("vector {title}\n"))
            .nth(1)
            .unwrap()
            .split("```")
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        assert_eq!(hex, printed, "{title}");
    }
}

fn any_spec() -> impl Strategy<Value = NfrSpec> {
    proptest::sample::select(specs().collect::<Vec<_>>())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn any_flipped_bit_is_caught(spec in any_spec(), len in 0_usize..4000, at: prop::sample::Index, bit in 0_u8..8) {
        let small = seal_small(spec, 1, &text(len));
        let mut bad = small.frame.clone();
        *at.get_mut(&mut bad) ^= 1 << bit;
        prop_assert_eq!(small.open(&small.frame).unwrap(), text(len));
        prop_assert!(small.open(&bad).is_err());
    }

    #[test]
    fn a_cut_or_longer_frame_is_caught(spec in any_spec(), len in 0_usize..4000, cut: prop::sample::Index) {
        let small = seal_small(spec, 1, &text(len));
        prop_assert!(small.open(&small.frame[..cut.index(small.frame.len())]).is_err());
        prop_assert!(small.open(&[&small.frame[..], &[0]].concat()).is_err());
    }

    #[test]
    fn a_chunk_passes_nowhere_else(spec in any_spec(), a in 0_u32..4, b in 0_u32..4, other in 2_u64..4) {
        // Noise, so that all chunks have one length and a swap changes nothing but the bytes.
        let small = seal_small(spec, 1, &noise(4096, 1));
        let stranger = seal_small(spec, other, &noise(4096, other + 1));
        let extent = |index: u32| {
            let chunk = (small.frame.len() - small.finished.footer.len() - HEADER_BYTES) / 4;
            HEADER_BYTES + index as usize * chunk..HEADER_BYTES + (index as usize + 1) * chunk
        };
        let mut swapped = small.frame.clone();
        swapped[extent(a)].copy_from_slice(&small.frame[extent(b)]);
        prop_assert_eq!(small.open(&swapped).is_ok(), a == b);
        let mut spliced = small.frame.clone();
        spliced[extent(a)].copy_from_slice(&stranger.frame[extent(a)]);
        prop_assert!(small.open(&spliced).is_err());
    }

    #[test]
    fn arbitrary_bytes_never_open(spec in any_spec(), bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
        let small = seal_small(spec, 1, &text(100));
        prop_assert!(small.open(&bytes).is_err());
    }
}

#[test]
fn a_wrong_key_opens_nothing() {
    let small = seal_small(NfrSpec::default(), 1, &text(3000));
    let other = seal_small(NfrSpec::default(), 2, &text(3000));
    let swapped = Small { sealer: other.sealer, ..small };
    assert!(swapped.open(&swapped.frame).is_err());
}
