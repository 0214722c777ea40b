//! Embedded databases under the store's own load: group commits of 64 changes, each a head row at
//! a random place and an inline row at the end, synced each time; then point reads of random heads.
//!
//! `cargo run --release -- FOLDER [SECONDS [ROUNDS]]`: each contender in turn, rounds interleaved,
//! medians of the rounds at the end. FOLDER must lie on the disk that is meant.

use std::error::Error;
use std::path::Path;
use std::time::{Duration, Instant};

use redb::{ReadableDatabase, TableDefinition};

type Fallible<T> = Result<T, Box<dyn Error>>;

const CHANGES: usize = 64;
const HEAD_BYTES: usize = 300;
const INLINE_BYTES: usize = 1024;
const CACHE_BYTES: usize = 64 << 20;
const READS: usize = 20_000;

struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length.div_ceil(8)).flat_map(|_| self.next().to_le_bytes()).take(length).collect()
    }
}

struct Change {
    head_key: Vec<u8>,
    head: Vec<u8>,
    inline_key: Vec<u8>,
    inline: Vec<u8>,
}

trait Contender {
    fn commit(&self, changes: &[Change]) -> Fallible<()>;
    fn read(&self, key: &[u8]) -> Fallible<usize>;
}

const HEADS: TableDefinition<&[u8], &[u8]> = TableDefinition::new("heads");
const INLINE: TableDefinition<&[u8], &[u8]> = TableDefinition::new("inline");

struct Redb {
    db: redb::Database,
    quick_repair: bool,
}

impl Redb {
    fn open(dir: &Path, quick_repair: bool) -> Fallible<Self> {
        let db = redb::Builder::new().set_cache_size(CACHE_BYTES).create(dir.join("store"))?;
        Ok(Redb { db, quick_repair })
    }
}

impl Contender for Redb {
    fn commit(&self, changes: &[Change]) -> Fallible<()> {
        let mut txn = self.db.begin_write()?;
        txn.set_quick_repair(self.quick_repair);
        {
            let (mut heads, mut inline) = (txn.open_table(HEADS)?, txn.open_table(INLINE)?);
            for change in changes {
                heads.insert(change.head_key.as_slice(), change.head.as_slice())?;
                inline.insert(change.inline_key.as_slice(), change.inline.as_slice())?;
            }
        }
        Ok(txn.commit()?)
    }

    fn read(&self, key: &[u8]) -> Fallible<usize> {
        let row = self.db.begin_read()?.open_table(HEADS)?.get(key)?.ok_or("a row is missing")?;
        Ok(row.value().len())
    }
}

struct Fjall {
    db: fjall::Database,
    heads: fjall::Keyspace,
    inline: fjall::Keyspace,
}

impl Fjall {
    fn open(dir: &Path) -> Fallible<Self> {
        let db = fjall::Database::builder(dir).cache_size(CACHE_BYTES as u64).open()?;
        let heads = db.keyspace("heads", fjall::KeyspaceCreateOptions::default)?;
        let inline = db.keyspace("inline", fjall::KeyspaceCreateOptions::default)?;
        Ok(Fjall { db, heads, inline })
    }
}

impl Contender for Fjall {
    fn commit(&self, changes: &[Change]) -> Fallible<()> {
        let mut batch = self.db.batch().durability(Some(fjall::PersistMode::SyncData));
        for change in changes {
            batch.insert(&self.heads, change.head_key.as_slice(), change.head.as_slice());
            batch.insert(&self.inline, change.inline_key.as_slice(), change.inline.as_slice());
        }
        Ok(batch.commit()?)
    }

    fn read(&self, key: &[u8]) -> Fallible<usize> {
        Ok(self.heads.get(key)?.ok_or("a row is missing")?.len())
    }
}

/// commits/s, p50 ms, p99 ms, read us, MB on disk, bytes written for each byte of rows, ms to open after a kill.
type Figures = [f64; 7];

fn open(name: &str, dir: &Path) -> Fallible<Box<dyn Contender>> {
    Ok(match name {
        "fjall" => Box::new(Fjall::open(dir)?),
        _ => Box::new(Redb::open(dir, name == "redb quick repair")?),
    })
}

/// Bytes this process has sent towards the disk, as the kernel counts them.
fn bytes_written() -> f64 {
    let io = std::fs::read_to_string("/proc/self/io").unwrap_or_default();
    io.lines().find_map(|line| line.strip_prefix("write_bytes: ")?.parse().ok()).unwrap_or(f64::NAN)
}

fn size(path: &Path) -> Fallible<u64> {
    use std::os::unix::fs::MetadataExt;
    if !path.is_dir() {
        return Ok(path.metadata()?.blocks() * 512);
    }
    std::fs::read_dir(path)?.map(|entry| size(&entry?.path())).sum()
}

fn copy(from: &Path, to: &Path) -> Fallible<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let (path, target) = (entry.as_ref().map_err(|e| e.to_string())?.path(), to.join(entry?.file_name()));
        if path.is_dir() { copy(&path, &target)? } else { std::fs::copy(&path, &target).map(drop)? }
    }
    Ok(())
}

fn run(name: &str, dir: &Path, span: Duration, seed: u64) -> Fallible<Figures> {
    let mut random = Random(seed);
    let contender = open(name, dir)?;
    let (mut keys, mut times, mut sequence) = (Vec::new(), Vec::new(), 0u128);
    let (start, mut outside, written) = (Instant::now(), Duration::ZERO, bytes_written());
    while start.elapsed() < span {
        let preparing = Instant::now();
        let changes: Vec<Change> = (0..CHANGES)
            .map(|_| {
                sequence += 1;
                Change {
                    head_key: format!("collection\0folder/{:016x}", random.next()).into_bytes(),
                    head: random.bytes(HEAD_BYTES),
                    inline_key: sequence.to_be_bytes().to_vec(),
                    inline: random.bytes(INLINE_BYTES),
                }
            })
            .collect();
        outside += preparing.elapsed();
        let begun = Instant::now();
        contender.commit(&changes)?;
        times.push(begun.elapsed().as_secs_f64() * 1e3);
        keys.extend(changes.into_iter().map(|change| change.head_key));
    }
    let spent = (start.elapsed() - outside).as_secs_f64();
    let amplification = (bytes_written() - written) / (keys.len() * (HEAD_BYTES + INLINE_BYTES)) as f64;
    let commits = times.len() as f64;
    times.sort_by(f64::total_cmp);
    let at = |share: f64| times[((times.len() - 1) as f64 * share) as usize];

    let reading = Instant::now();
    let mut read = 0;
    for _ in 0..READS {
        read += contender.read(&keys[random.next() as usize % keys.len()])?;
    }
    let read_us = reading.elapsed().as_secs_f64() * 1e6 / READS as f64;
    assert_eq!(read, READS * HEAD_BYTES);

    let killed = dir.with_extension("killed");
    copy(dir, &killed)?;
    let bytes = size(dir)?;
    drop(contender);
    let opening = Instant::now();
    let again = open(name, &killed)?;
    let open_ms = opening.elapsed().as_secs_f64() * 1e3;
    for key in &keys {
        again.read(key)?;
    }
    drop(again);
    std::fs::remove_dir_all(&killed)?;
    std::fs::remove_dir_all(dir)?;
    Ok([commits / spent, at(0.5), at(0.99), read_us, bytes as f64 / 1e6, amplification, open_ms])
}

fn main() -> Fallible<()> {
    let mut args = std::env::args().skip(1);
    let root = args.next().ok_or("usage: store-choice FOLDER [SECONDS [ROUNDS]]")?;
    let span = Duration::from_secs(args.next().map_or(Ok(5), |text| text.parse())?);
    let rounds: u64 = args.next().map_or(Ok(5), |text| text.parse())?;
    let names = ["redb", "redb quick repair", "fjall"];
    let mut figures: Vec<Vec<Figures>> = vec![Vec::new(); names.len()];
    println!(
        "{:18} {:>9} {:>9} {:>7} {:>7} {:>8} {:>7} {:>9} {:>14}",
        "", "commits/s", "changes/s", "p50 ms", "p99 ms", "read us", "MB", "written x", "open killed ms"
    );
    for round in 0..rounds {
        for (name, found) in names.iter().zip(&mut figures) {
            let dir = Path::new(&root).join(format!("choice-{round}-{}", name.replace(' ', "-")));
            std::fs::create_dir_all(&dir)?;
            let row = run(name, &dir, span, round)?;
            print(name, &row);
            found.push(row);
        }
    }
    println!("medians of {rounds} rounds of {} s", span.as_secs());
    for (name, found) in names.iter().zip(&figures) {
        let mut medians = [0.0; 7];
        for (column, median) in medians.iter_mut().enumerate() {
            let mut values: Vec<f64> = found.iter().map(|row| row[column]).collect();
            values.sort_by(f64::total_cmp);
            *median = values[values.len() / 2];
        }
        print(name, &medians);
    }
    Ok(())
}

fn print(name: &str, [commits, p50, p99, read, size, written, open]: &Figures) {
    let changes = commits * CHANGES as f64;
    println!(
        "{name:18} {commits:9.0} {changes:9.0} {p50:7.2} {p99:7.2} {read:8.2} {size:7.0} {written:9.1} {open:14.0}"
    );
}
