//! The pages of the store's file, read without the database: so that what it refuses to open can still be
//! walked, and what it would believe is checked first.
//!
//! The format is the database's own, version 3: a header with two commit slots, then pages of 4 KiB times a
//! power of two. A page's checksum stands with whoever points to it. Nothing here trusts a length.

use std::io;
use std::ops::Range;

use twox_hash::XxHash3_128;

use crate::store::fs::File;

/// Bytes of the smallest page, and of the header in front of all others.
pub(super) const PAGE_BYTES: u64 = 4096;
/// Bytes of the header that say something.
pub(super) const HEADER_BYTES: usize = 320;
/// No row comes near this, so no page does.
const PAGE_BYTES_MAX: u64 = 16 << 20;
/// Pages of a region.
const REGION_PAGES: u64 = 1 << 20;

/// The database's format.
const FORMAT: u8 = 3;
const LEAF: u8 = 1;
const BRANCH: u8 = 2;

/// A pointer to a page, and what the page must hash to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Pointer {
    pub(super) page: u64,
    pub(super) checksum: u128,
}

/// One of the two places where the header names the newest commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Slot {
    pub(super) commit: u64,
    /// The tree of the tables; `None` in an empty store.
    pub(super) root: Option<Pointer>,
    /// Whether it passes its own check.
    pub(super) sound: bool,
    /// Whether its format is the one that is known; the database refuses a file with another.
    pub(super) readable: bool,
}

/// What the header says.
pub(super) struct Header {
    /// Whether it looks like one at all.
    pub(super) sound: bool,
    /// Whether the last user did not close it.
    pub(super) unclean: bool,
    /// The slot that counts, then the other.
    pub(super) slots: [Slot; 2],
}

/// Where a key and its row lie in a page.
pub(super) type Entry = (Range<usize>, Range<usize>);

/// The rows of a leaf, or the children of a branch, as far as the page makes sense.
pub(super) enum Page {
    /// Keys and rows, as ranges of the page; those that make no sense are `None`.
    Leaf(Vec<Option<Entry>>),
    /// Where the children are.
    Branch(Vec<Pointer>),
}

pub(super) fn number<const N: usize>(bytes: &[u8], at: usize) -> Option<[u8; N]> {
    bytes.get(at..at.checked_add(N)?)?.try_into().ok()
}

fn u32_at(bytes: &[u8], at: usize) -> Option<usize> {
    number(bytes, at).map(|bytes| u32::from_le_bytes(bytes) as usize)
}

fn u64_at(bytes: &[u8], at: usize) -> Option<u64> {
    number(bytes, at).map(u64::from_le_bytes)
}

/// A pointer as it is written down: page, then checksum.
pub(super) fn pointer_at(bytes: &[u8], at: usize) -> Option<Pointer> {
    Some(Pointer { page: u64_at(bytes, at)?, checksum: u128::from_le_bytes(number(bytes, at + 8)?) })
}

pub(super) fn checksum(bytes: &[u8]) -> u128 {
    XxHash3_128::oneshot(bytes)
}

impl Header {
    /// Reads the header; `None` where the file is shorter than one.
    pub(super) fn read(file: &dyn File) -> io::Result<Option<Header>> {
        let mut bytes = [0; HEADER_BYTES];
        if file.len()? < HEADER_BYTES as u64 {
            return Ok(None);
        }
        file.read_exact_at(&mut bytes, 0)?;
        Ok(Header::parse(&bytes))
    }

    fn parse(bytes: &[u8]) -> Option<Header> {
        let flags = *bytes.get(9)?;
        let (page, region_header_pages, region_pages) = (u32_at(bytes, 12)?, u32_at(bytes, 16)?, u32_at(bytes, 20)?);
        // Every store is made with this shape; another one is damage, and would lead astray.
        let shape = (page as u64, region_header_pages, region_pages as u64) == (PAGE_BYTES, 0, REGION_PAGES);
        let sound = bytes.starts_with(b"redb\x1a\x0a\xa9\x0d\x0a") && shape && flags < 8;
        let (first, second) = (Slot::parse(bytes.get(64..192)?)?, Slot::parse(bytes.get(192..320)?)?);
        let slots = if flags & 1 == 0 { [first, second] } else { [second, first] };
        Some(Header { sound, unclean: flags & 2 != 0, slots })
    }
}

impl Slot {
    fn parse(bytes: &[u8]) -> Option<Slot> {
        let present = *bytes.get(1)? != 0;
        let root = pointer_at(bytes, 8)?;
        let sum = u128::from_le_bytes(number(bytes, 112)?);
        let readable = *bytes.first()? == FORMAT;
        Some(Slot {
            readable,
            commit: u64_at(bytes, 104)?,
            root: present.then_some(root),
            sound: readable && checksum(bytes.get(..112)?) == sum,
        })
    }
}

/// Where a page lies in the file: its number holds its size, its region and its place there.
fn extent(page: u64) -> Option<Range<u64>> {
    let order = page >> 59;
    let bytes = PAGE_BYTES.checked_shl(order as u32).filter(|bytes| *bytes <= PAGE_BYTES_MAX)?;
    let (index, region) = (page & (0xf_ffff >> order), (page >> 20) & 0xf_ffff);
    let start = PAGE_BYTES + region * REGION_PAGES * PAGE_BYTES + index * bytes;
    Some(start..start + bytes)
}

/// The bytes of a page; `None` when the file has no such page.
pub(super) fn read(file: &dyn File, file_bytes: u64, page: u64) -> io::Result<Option<Vec<u8>>> {
    let Some(extent) = extent(page).filter(|extent| extent.end <= file_bytes) else { return Ok(None) };
    let mut bytes = vec![0; (extent.end - extent.start) as usize];
    file.read_exact_at(&mut bytes, extent.start)?;
    Ok(Some(bytes))
}

impl Page {
    /// Makes what sense can be made of a page; says as well whether it is what was written.
    pub(super) fn parse(bytes: &[u8], wanted: u128) -> (Page, bool) {
        let count = number(bytes, 2).map_or(0, |count| usize::from(u16::from_le_bytes(count)));
        let (page, end) = match bytes.first() {
            Some(&BRANCH) => Self::branch(bytes, count),
            Some(&LEAF) => Self::leaf(bytes, count),
            _ => (Page::Leaf(Vec::new()), None),
        };
        let sound = count > 0 && end.and_then(|end| bytes.get(..end)).is_some_and(|used| checksum(used) == wanted);
        (page, sound)
    }

    /// The ends of keys, the ends of rows, the keys, the rows.
    fn leaf(bytes: &[u8], count: usize) -> (Page, Option<usize>) {
        let first = 4 + 8 * count;
        if first > bytes.len() {
            return (Page::Leaf(Vec::new()), None);
        }
        let ends = |at: usize, start: Option<usize>| {
            let mut start = start;
            (0..count)
                .map(|n| {
                    let end = u32_at(bytes, at + 4 * n).filter(|end| *end <= bytes.len());
                    let range = start.zip(end).filter(|(start, end)| start <= end).map(|(start, end)| start..end);
                    start = end;
                    range
                })
                .collect::<Vec<_>>()
        };
        let keys = ends(4, Some(first));
        let rows = ends(4 + 4 * count, count.checked_sub(1).and_then(|last| u32_at(bytes, 4 + 4 * last)));
        let end = rows.last().cloned().flatten().map(|range| range.end);
        (Page::Leaf(keys.into_iter().zip(rows).map(|(key, row)| key.zip(row)).collect()), end)
    }

    /// The checksums of the children, their pages, the ends of the keys between them, the keys.
    fn branch(bytes: &[u8], count: usize) -> (Page, Option<usize>) {
        let (sums, pages) = (8, 8 + 16 * (count + 1));
        let child = |n| {
            let checksum = u128::from_le_bytes(number(bytes, sums + 16 * n)?);
            Some(Pointer { page: u64_at(bytes, pages + 8 * n)?, checksum })
        };
        let children = (0..=count).filter_map(child).collect();
        let end = count.checked_sub(1).and_then(|last| u32_at(bytes, pages + 8 * (count + 1) + 4 * last));
        (Page::Branch(children), end.filter(|end| *end <= bytes.len()))
    }
}
