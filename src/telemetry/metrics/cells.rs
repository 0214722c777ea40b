//! Numbers that count while requests are served: relaxed adds, no lock, nothing allocated.
//!
//! Each is kept in a few shards, and a thread adds to its own (`telemetry/shard.rs`). Only reading the page adds
//! the shards up.

use std::marker::PhantomData;
use std::sync::atomic::{AtomicU64, Ordering};

use super::declare::{Family, Kind};
use super::labels::Labels;
use super::page::Page;
use crate::telemetry::shard::{self, SHARDS};

/// Cells between two shards, so that they share no cache line: 128 bytes, a pair of lines.
const GAP: usize = 16;

/// Families of more series than this show only those that were ever counted.
const SHOWN_EMPTY_MAX: usize = 32;

/// A family whose numbers live in here.
pub trait Live {
    /// What its numbers mean.
    const KIND: Kind;

    /// The names of its labels.
    fn label_names() -> &'static [&'static str];

    /// Writes its samples.
    fn write(&self, family: &Family, page: &mut Page);
}

struct Cells {
    cells: Box<[AtomicU64]>,
    stride: usize,
}

impl Cells {
    fn new(count: usize) -> Self {
        let stride = count + GAP;
        Cells { cells: (0..SHARDS * stride).map(|_| AtomicU64::new(0)).collect(), stride }
    }

    fn add(&self, at: usize, by: u64) {
        if let Some(cell) = self.cells.get(shard::mine() * self.stride + at) {
            cell.fetch_add(by, Ordering::Relaxed);
        }
    }

    fn sum(&self, at: usize) -> u64 {
        let cells = self.cells.iter().skip(at).step_by(self.stride);
        cells.fold(0, |sum, cell| sum.wrapping_add(cell.load(Ordering::Relaxed)))
    }
}

/// A number for each combination of labels that only grows.
pub struct Counter<L> {
    cells: Cells,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Counter<L> {
    pub(super) fn new() -> Self {
        Counter { cells: Cells::new(L::SERIES), labels: PhantomData }
    }

    /// One more.
    pub fn one(&self, labels: L) {
        self.add(labels, 1);
    }

    /// So many more.
    pub fn add(&self, labels: L, by: u64) {
        self.cells.add(labels.place(), by);
    }

    /// How many so far.
    pub fn value(&self, labels: L) -> u64 {
        self.cells.sum(labels.place())
    }
}

impl<L: Labels> Live for Counter<L> {
    const KIND: Kind = Kind::Counter;

    fn label_names() -> &'static [&'static str] {
        L::NAMES
    }

    fn write(&self, family: &Family, page: &mut Page) {
        page.family(family);
        for place in 0..L::SERIES {
            let value = self.cells.sum(place);
            if value > 0 || L::SERIES <= SHOWN_EMPTY_MAX {
                page.sample(family, "_total", &L::values(place), None, value);
            }
        }
    }
}

/// A number for each combination of labels that goes up and down with what it counts.
pub struct Gauge<L>(Counter<L>);

impl<L: Labels> Gauge<L> {
    pub(super) fn new() -> Self {
        Gauge(Counter::new())
    }

    /// One more now.
    pub fn up(&self, labels: L) {
        self.0.add(labels, 1);
    }

    /// One less now, on whichever thread: the sum over the shards wraps to the true number.
    pub fn down(&self, labels: L) {
        self.0.add(labels, u64::MAX);
    }

    /// How many now.
    pub fn value(&self, labels: L) -> u64 {
        self.0.value(labels)
    }
}

impl<L: Labels> Live for Gauge<L> {
    const KIND: Kind = Kind::Gauge;

    fn label_names() -> &'static [&'static str] {
        L::NAMES
    }

    fn write(&self, family: &Family, page: &mut Page) {
        page.family(family);
        for place in 0..L::SERIES {
            page.sample(family, "", &L::values(place), None, self.0.cells.sum(place));
        }
    }
}

/// The upper ends of a histogram's buckets.
#[derive(Clone, Copy, Debug)]
pub struct Buckets {
    /// Each end as it is counted, and as the page spells it; ascending.
    pub ends: &'static [(u64, &'static str)],
    /// How many counted units are one unit of the page.
    pub scale: u64,
}

/// Durations counted in nanoseconds and shown in seconds: from a hit in memory to a slow disk.
pub const SECONDS: Buckets = Buckets {
    ends: &[
        (10_000, "1e-05"),
        (25_000, "2.5e-05"),
        (50_000, "5e-05"),
        (100_000, "0.0001"),
        (250_000, "0.00025"),
        (500_000, "0.0005"),
        (1_000_000, "0.001"),
        (2_500_000, "0.0025"),
        (5_000_000, "0.005"),
        (10_000_000, "0.01"),
        (25_000_000, "0.025"),
        (50_000_000, "0.05"),
        (100_000_000, "0.1"),
        (250_000_000, "0.25"),
        (500_000_000, "0.5"),
        (1_000_000_000, "1.0"),
        (2_500_000_000, "2.5"),
        (10_000_000_000, "10.0"),
    ],
    scale: 1_000_000_000,
};

/// Changes in one group commit, up to the most it may carry.
pub const CHANGES: Buckets = Buckets {
    ends: &[
        (1, "1.0"),
        (2, "2.0"),
        (4, "4.0"),
        (8, "8.0"),
        (16, "16.0"),
        (32, "32.0"),
        (64, "64.0"),
        (128, "128.0"),
        (256, "256.0"),
    ],
    scale: 1,
};

/// How often values fell into each bucket, and their sum.
pub struct Histogram<L> {
    cells: Cells,
    buckets: Buckets,
    labels: PhantomData<fn(L)>,
}

impl<L: Labels> Histogram<L> {
    /// Nothing observed so far.
    pub fn new(buckets: Buckets) -> Self {
        // A bucket for what is beyond the last end, and the sum.
        Histogram { cells: Cells::new(L::SERIES * (buckets.ends.len() + 2)), buckets, labels: PhantomData }
    }

    /// Takes note of a value, in counted units.
    pub fn observe(&self, labels: L, value: u64) {
        let first = labels.place() * (self.buckets.ends.len() + 2);
        let bucket = self.buckets.ends.partition_point(|(end, _)| *end < value);
        self.cells.add(first + bucket, 1);
        self.cells.add(first + self.buckets.ends.len() + 1, value);
    }

    /// How many values it took note of.
    pub fn count(&self, labels: L) -> u64 {
        self.counts(labels.place()).iter().sum()
    }

    fn counts(&self, place: usize) -> Vec<u64> {
        let buckets = self.buckets.ends.len();
        (0..=buckets).map(|bucket| self.cells.sum(place * (buckets + 2) + bucket)).collect()
    }

    /// One series of it, under these values of the family's labels.
    pub(super) fn write_series(&self, place: usize, labels: &[&str], family: &Family, page: &mut Page) {
        let ends = self.buckets.ends;
        let counts = self.counts(place);
        let mut below = 0;
        for (in_bucket, end) in counts.iter().zip(ends.iter().map(|(_, text)| *text).chain(["+Inf"])) {
            below += in_bucket;
            page.sample(family, "_bucket", labels, Some(end), below);
        }
        // The same numbers again, so that count and buckets agree although others go on counting.
        page.sample(family, "_count", labels, None, below);
        let sum = self.cells.sum(place * (ends.len() + 2) + ends.len() + 1) as f64 / self.buckets.scale as f64;
        page.sample(family, "_sum", labels, None, sum);
    }
}

impl<L: Labels> Live for Histogram<L> {
    const KIND: Kind = Kind::Histogram;

    fn label_names() -> &'static [&'static str] {
        L::NAMES
    }

    fn write(&self, family: &Family, page: &mut Page) {
        page.family(family);
        for place in 0..L::SERIES {
            if L::SERIES == 1 || self.counts(place).iter().any(|count| *count > 0) {
                self.write_series(place, &L::values(place), family, page);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::labels::{Served, SpanOutcome};
    use super::*;
    use crate::model::Level;

    #[test]
    fn no_count_is_lost_between_threads() {
        let counter = Counter::<SpanOutcome>::new();
        std::thread::scope(|scope| {
            for _ in 0..2 * SHARDS {
                scope.spawn(|| (0..1000).for_each(|_| counter.one(SpanOutcome::Dropped)));
            }
        });
        assert_eq!(counter.value(SpanOutcome::Dropped), 2 * SHARDS as u64 * 1000);
        assert_eq!(counter.value(SpanOutcome::Exported), 0);
        let gauge = Gauge::<()>::new();
        gauge.up(());
        std::thread::scope(|scope| {
            (0..SHARDS).for_each(|_| drop(scope.spawn(|| (gauge.up(()), gauge.down(())))));
        });
        assert_eq!(gauge.value(()), 1, "up and down may meet on different shards");
    }

    #[test]
    fn ends_ascend_and_are_spelt_as_they_count() {
        for Buckets { ends, scale } in [SECONDS, CHANGES] {
            assert!(ends.is_sorted_by(|a, b| a.0 < b.0));
            for (end, text) in ends {
                assert_eq!(text.parse::<f64>().unwrap(), *end as f64 / scale as f64, "{text}");
            }
        }
        assert_eq!(CHANGES.ends.last().unwrap().0, crate::limits::COMMIT_CHANGES_MAX as u64);
    }

    #[test]
    fn a_value_on_the_end_of_a_bucket_is_in_it() {
        let family = Family { name: "x", kind: Kind::Histogram, unit: "", labels: &["level"], help: &["y"] };
        let histogram = Histogram::<Served>::new(CHANGES);
        for value in [1, 2, 3, 256, 257] {
            histogram.observe(Served(Some(Level::Disk)), value);
        }
        let mut page = Page::default();
        histogram.write(&family, &mut page);
        let text = page.finish();
        for line in [
            r#"x_bucket{level="disk",le="1.0"} 1"#,
            r#"x_bucket{level="disk",le="2.0"} 2"#,
            r#"x_bucket{level="disk",le="256.0"} 4"#,
            r#"x_bucket{level="disk",le="+Inf"} 5"#,
            r#"x_count{level="disk"} 5"#,
            r#"x_sum{level="disk"} 519"#,
        ] {
            assert!(text.lines().any(|known| known == line), "{line} in {text}");
        }
        assert!(!text.contains("none"), "a series that was never used is left out");
    }
}
