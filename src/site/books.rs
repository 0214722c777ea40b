//! What this container notes of the others, for whoever asks how it stands with them.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::locked;
use crate::error::{Kind, Result};
use crate::model::{ContainerId, Dot, Name};

/// Others of whom something is noted; as many as can be members.
const NOTED_MAX: usize = 1024;

/// What came of requests to one of the others.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Tally {
    pub asked: u64,
    /// Of those, how many it did not answer, or not as it should.
    pub failed: u64,
    /// Why the last of those failed.
    pub last_error: Option<String>,
    /// How long the last answer on the bus took.
    pub took_ns: Option<u64>,
}

/// The notes; clones are the same ones.
#[derive(Clone, Default)]
pub(super) struct Books(Arc<Notes>);

#[derive(Default)]
struct Notes {
    tallies: Mutex<BTreeMap<Name, Tally>>,
    /// How far each was when it was heard last.
    vectors: Mutex<BTreeMap<ContainerId, Vec<Dot>>>,
}

impl Books {
    /// Notes what came of a request. An answer that refuses what cannot be done is an answer.
    pub(super) fn note<T>(&self, name: &Name, outcome: &Result<T>, took_ns: Option<u64>) {
        let mut tallies = locked(&self.0.tallies);
        if tallies.len() >= NOTED_MAX && !tallies.contains_key(name) {
            return;
        }
        let tally = tallies.entry(name.clone()).or_default();
        tally.asked += 1;
        match outcome {
            Err(error) if is_its_fault(error.kind()) => {
                tally.failed += 1;
                tally.last_error = Some(error.to_string());
            }
            _ => tally.took_ns = took_ns.or(tally.took_ns),
        }
    }

    /// Notes how far somebody is.
    pub(super) fn hear(&self, container: ContainerId, vector: &[Dot]) {
        let mut vectors = locked(&self.0.vectors);
        if vectors.len() < NOTED_MAX || vectors.contains_key(&container) {
            vectors.insert(container, vector.to_vec());
        }
    }

    pub(super) fn tally(&self, name: &Name) -> Tally {
        locked(&self.0.tallies).get(name).cloned().unwrap_or_default()
    }

    /// How many changes somebody has that are not in this vector, and the other way round. `own` is a life that
    /// nobody else knows better.
    pub(super) fn apart(&self, container: ContainerId, vector: &[Dot], own: Dot) -> (u64, u64) {
        let vectors = locked(&self.0.vectors);
        let theirs = vectors.get(&container).map(Vec::as_slice).unwrap_or_default();
        let not_mine: Vec<Dot> = theirs.iter().copied().filter(|dot| dot.incarnation != own.incarnation).collect();
        (beyond(&not_mine, vector), beyond(vector, theirs))
    }
}

/// How many changes of one vector are not in another.
fn beyond(vector: &[Dot], other: &[Dot]) -> u64 {
    let reached = |dot: &Dot| other.iter().find(|one| one.incarnation == dot.incarnation).map_or(0, |one| one.seq);
    vector.iter().map(|dot| dot.seq.saturating_sub(reached(dot))).sum()
}

fn is_its_fault(kind: Kind) -> bool {
    matches!(kind, Kind::Unavailable | Kind::Deadline | Kind::Unauthorised | Kind::Forbidden | Kind::Internal)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Error;
    use crate::model::Incarnation;

    fn dot(incarnation: u64, seq: u64) -> Dot {
        Dot { incarnation: Incarnation(incarnation), seq }
    }

    #[test]
    fn it_is_told_how_far_two_are_apart() {
        let books = Books::default();
        books.hear(ContainerId(2), &[dot(1, 7), dot(2, 9), dot(3, 4)]);
        let mine = [dot(1, 10), dot(2, 5)];
        assert_eq!(books.apart(ContainerId(2), &mine, dot(1, 10)), (8, 3));
        assert_eq!(books.apart(ContainerId(3), &mine, dot(1, 10)), (0, 15), "nothing was heard of it");
    }

    #[test]
    fn only_what_is_its_fault_counts_as_failed() {
        let (books, name) = (Books::default(), "b".parse().unwrap());
        books.note::<()>(&name, &Ok(()), Some(5));
        books.note::<()>(&name, &Err(Error::not_found("nothing")), None);
        books.note::<()>(&name, &Err(Error::deadline("late")), None);
        let tally = books.tally(&name);
        assert_eq!((tally.asked, tally.failed, tally.took_ns), (3, 1, Some(5)));
        assert!(tally.last_error.unwrap().contains("late"));
    }
}
