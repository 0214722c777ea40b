//! The journal before the database: a line for each thing that happens to it, by its first letter.
//!
//! | letter | what happens |
//! |---|---|
//! | `+` | a row is put: its key up to a space, then the row |
//! | `~` | the same, without a sync |
//! | `-` | the row of a key is taken away |
//! | `=` | the next generation begins, and the database has all but this one and the one before |
//! | `!` | a bit of the file in use is flipped |
//! | `?` | a sector of the file in use turns bad |
//! | `x` | the rest of the file in use becomes zeros |
//! | `#` | a record is written whose changes are the rest of the line |
//! | `@` | the rest of the line is written where the next record goes |
//! | `n` | the database forgets where the journal begins |

use std::collections::{BTreeMap, BTreeSet};

use meshstore::store::fuzzing::{JournalRead, journal_record, read_journal};

use super::common::{Input, within};

const JOURNAL: u64 = 77;
const FILE_BYTES_MAX: usize = 64 << 10;
const SECTOR: usize = 512;
const TAG: usize = 4;

/// What the keys' rows are, or that they are gone.
type Rows = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// An intact journal gives each row as it was left; one with a flipped bit or bad sectors the same, or it says that it is
/// damaged; and however it was treated, no row is read that was never written, unless it says so.
pub fn check(data: &[u8]) {
    let mut journal = Journal::default();
    let mut input = Input(data);
    while !input.0.is_empty() {
        journal.happen(input.line());
    }
    let [even, odd] = &journal.files;
    let from = (!journal.forgotten).then_some([JOURNAL, journal.begin.0, journal.begin.1]);
    let bound = (1 << 20) + 16 * (even.len() + odd.len());
    // Where not a block can be read, the disk is taken to be away.
    let Ok(read) = within(bound, || read_journal([even, odd], &journal.bad, from)) else {
        assert!(!journal.bad.is_empty());
        return;
    };
    journal.judge(read);
}

#[derive(Default)]
struct Journal {
    files: [Vec<u8>; 2],
    /// Where the generation in use goes on.
    at: usize,
    generation: u64,
    record: u64,
    synced: u64,
    /// Where the database knows the journal to begin: generation and record; and where the one in use began.
    begin: (u64, u64),
    turned: (u64, u64),
    forgotten: bool,
    /// What the generation before, and the one in use, left.
    rows: [Rows; 2],
    /// Every row that was ever written.
    ever: BTreeSet<(Vec<u8>, Option<Vec<u8>>)>,
    bad: Vec<(usize, u64)>,
    flips: usize,
    /// It was treated so that nothing must be noticed.
    mangled: bool,
    /// It has records whose rows are not looked into.
    arbitrary: bool,
}

impl Journal {
    fn happen(&mut self, line: &[u8]) {
        let Some((what, rest)) = line.split_first() else { return };
        let number = rest.iter().fold(0usize, |sum, byte| sum.wrapping_mul(31).wrapping_add((*byte).into()));
        let length = self.file().len();
        match what {
            b'+' | b'~' => {
                let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
                let (key, row) = rest.split_at(end);
                self.put(key, Some(row.get(1..).unwrap_or_default()), *what == b'+');
            }
            b'-' => self.put(rest, None, true),
            b'=' => self.turn(),
            b'!' if length > 0 => {
                let bit = number % (length * 8);
                self.file()[bit / 8] ^= 1 << (bit % 8);
                self.flips += 1;
                // Tags have no copy: what loses its last one cannot be told from a write that was cut short.
                self.mangled |= bit / 8 % SECTOR >= SECTOR - TAG;
            }
            b'?' if length > 0 => self.bad.push(((self.generation % 2) as usize, (number % length) as u64)),
            b'x' if length > 0 => {
                self.file()[number % length..].fill(0);
                self.mangled = true;
            }
            b'#' => {
                self.append(rest, true);
                (self.mangled, self.arbitrary) = (true, true);
            }
            b'@' => {
                self.write(rest);
                self.mangled = true;
            }
            b'n' => self.forgotten = true,
            _ => {}
        }
    }

    fn file(&mut self) -> &mut Vec<u8> {
        &mut self.files[(self.generation % 2) as usize]
    }

    fn put(&mut self, key: &[u8], row: Option<&[u8]>, sync: bool) {
        let lengths = [key.len() as u32, row.map_or(u32::MAX, |row| row.len() as u32)];
        let change = [&[0], lengths.map(u32::to_le_bytes).as_flattened(), key, row.unwrap_or_default()].concat();
        if self.append(&change, sync) {
            let (key, row) = (key.to_vec(), row.map(<[u8]>::to_vec));
            self.rows[1].insert(key.clone(), row.clone());
            self.ever.insert((key, row));
        }
    }

    /// Writes a record, if there is room for it.
    fn append(&mut self, changes: &[u8], sync: bool) -> bool {
        let record = journal_record([JOURNAL, self.generation, self.record], self.synced, changes);
        if self.at + record.len() > FILE_BYTES_MAX {
            return false;
        }
        self.write(&record);
        self.at += record.len();
        self.record += 1;
        if sync {
            self.synced = self.record;
        }
        true
    }

    fn write(&mut self, bytes: &[u8]) {
        let at = self.at;
        let file = self.file();
        file.resize(file.len().max(at + bytes.len()), 0);
        file[at..at + bytes.len()].copy_from_slice(bytes);
    }

    fn turn(&mut self) {
        self.begin = self.turned;
        self.generation += 1;
        self.turned = (self.generation, self.record);
        (self.at, self.synced) = (0, self.record);
        let last = std::mem::take(&mut self.rows[1]);
        self.rows[0] = last;
    }

    fn judge(&self, read: JournalRead) {
        if read.damage.is_some() {
            assert!(self.flips > 0 || !self.bad.is_empty() || self.mangled, "no damage was done: {read:?}");
            return;
        }
        let found: Rows = read.rows.iter().map(|(_, key, row)| (key.clone(), row.clone())).collect();
        let mut left = self.rows[0].clone();
        left.extend(self.rows[1].clone());
        // Without a mark the headers of the first records are not missed, and more may be there than is asked for.
        if !self.mangled && self.flips < 2 && !self.forgotten {
            assert_eq!(found, left, "the journal was left otherwise");
        } else if !self.mangled && self.flips == 0 {
            assert!(left.iter().all(|(key, row)| found.get(key) == Some(row)), "{found:?} lacks some of {left:?}");
        }
        assert!(self.arbitrary || found.into_iter().all(|row| self.ever.contains(&row)), "a row was never written");
    }
}
