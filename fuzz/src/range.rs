//! Byte ranges: `bytes=…` in the first line, an object's size in the second.

use std::sync::LazyLock;

use bytes::Bytes;
use meshstore::limits::CHUNK_BYTES;
use meshstore::model::{ByteRange, Chunks};

use super::common::{Input, fine};

/// An object of two chunks.
static OBJECT: LazyLock<Bytes> = LazyLock::new(|| (0..CHUNK_BYTES + 1000).map(|i| (i * 7 / 5) as u8).collect());

/// A range reads back what it shows; it covers exactly the bytes that its words name; and cutting an object to it
/// gives those bytes.
pub fn check(data: &[u8]) {
    let mut input = Input(data);
    let text = input.text();
    let number = input.text();
    let size = number.parse().unwrap_or(OBJECT.len() as u64);
    let Some(range) = fine(text.parse::<ByteRange>()) else { return };
    assert_eq!(range.to_string().parse::<ByteRange>().unwrap(), range);
    // In wider numbers, where nothing overflows.
    let (wide, named) = (u128::from(size), |first: u64, end: u128| u128::from(first)..end.min(u128::from(size)));
    let wanted = match range {
        ByteRange::From(first) => named(first, wide),
        ByteRange::Between(first, last) => named(first, u128::from(last) + 1),
        ByteRange::Last(count) => wide.saturating_sub(u128::from(count))..wide,
    };
    match fine(range.of(size)) {
        None => assert!(wanted.is_empty(), "{range} of {size} was refused"),
        Some(found) => assert_eq!((u128::from(found.start), u128::from(found.end)), (wanted.start, wanted.end)),
    }
    let size = size.min(OBJECT.len() as u64);
    if let Ok(found) = range.of(size) {
        let object = OBJECT.slice(..size as usize);
        let cut = Chunks::from(object.clone()).slice(found.clone()).concat();
        assert!(cut == object[found.start as usize..found.end as usize], "{range} of {size} gives other bytes");
    }
}
