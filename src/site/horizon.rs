//! How far this container has heard, by dots. What came out of order waits as an island until the gap before it is
//! closed; a gap that stays open is what others are asked for.

use std::collections::BTreeMap;

use crate::model::{Dot, Incarnation};

/// Islands of one life that are remembered. Beyond that the oldest is forgotten: it is asked for instead.
const ISLANDS_MAX: usize = 256;

/// What has been heard.
#[derive(Debug, Default)]
pub(super) struct Horizon {
    seen: BTreeMap<Incarnation, u64>,
    /// Stretches behind a gap: after, up to.
    islands: BTreeMap<Incarnation, Vec<(u64, u64)>>,
}

impl Horizon {
    /// Everything up to these.
    pub(super) fn of(dots: impl IntoIterator<Item = Dot>) -> Self {
        let seen = dots.into_iter().map(|dot| (dot.incarnation, dot.seq)).collect();
        Horizon { seen, islands: BTreeMap::new() }
    }

    /// How far each life was heard.
    pub(super) fn dots(&self) -> Vec<Dot> {
        self.seen.iter().map(|(incarnation, seq)| Dot { incarnation: *incarnation, seq: *seq }).collect()
    }

    /// Whether something was heard that lies behind what was not.
    pub(super) fn has_gap(&self) -> bool {
        !self.islands.is_empty()
    }

    /// Whether all of this has been heard.
    pub(super) fn covers(&self, dots: &[Dot]) -> bool {
        dots.iter().all(|dot| self.has(*dot))
    }

    /// Whether this change has been heard of.
    pub(super) fn has(&self, dot: Dot) -> bool {
        dot.seq <= self.seen.get(&dot.incarnation).copied().unwrap_or(0)
    }

    /// Everything of a life behind `after` up to `upto` has been heard. Returns how far that comes without a gap, if
    /// it is further than before.
    pub(super) fn hear(&mut self, incarnation: Incarnation, after: u64, upto: u64) -> Option<Dot> {
        let seen = self.seen.get(&incarnation).copied().unwrap_or(0);
        if after > seen {
            if upto > after {
                self.island(incarnation, after, upto);
            }
            return None;
        }
        self.reach(Dot { incarnation, seq: upto })
    }

    /// Everything up to this one has been heard. Returns how far that comes, if it is further than before.
    pub(super) fn reach(&mut self, Dot { incarnation, seq }: Dot) -> Option<Dot> {
        let seen = self.seen.entry(incarnation).or_default();
        if seq <= *seen {
            return None;
        }
        *seen = seq;
        if let Some(islands) = self.islands.get_mut(&incarnation) {
            // One may close the gap before the next.
            islands.sort_unstable();
            islands.retain(|(after, upto)| {
                let joins = *after <= *seen;
                if joins {
                    *seen = (*seen).max(*upto);
                }
                !joins
            });
            if islands.is_empty() {
                self.islands.remove(&incarnation);
            }
        }
        let seq = self.seen.get(&incarnation).copied().unwrap_or(seq);
        Some(Dot { incarnation, seq })
    }

    fn island(&mut self, incarnation: Incarnation, after: u64, upto: u64) {
        let islands = self.islands.entry(incarnation).or_default();
        match islands.last_mut() {
            // Most come one behind the other.
            Some(last) if last.1 >= after && last.0 <= after => last.1 = last.1.max(upto),
            _ => islands.push((after, upto)),
        }
        if islands.len() > ISLANDS_MAX {
            islands.remove(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIFE: Incarnation = Incarnation(7);

    fn dot(seq: u64) -> Dot {
        Dot { incarnation: LIFE, seq }
    }

    #[test]
    fn what_comes_behind_a_gap_counts_once_the_gap_is_closed() {
        let mut horizon = Horizon::of([dot(2)]);
        assert_eq!(horizon.hear(LIFE, 5, 8), None);
        assert_eq!(horizon.hear(LIFE, 8, 9), None);
        assert_eq!(horizon.hear(LIFE, 12, 13), None);
        assert!(horizon.has(dot(2)) && !horizon.has(dot(3)) && !horizon.covers(&[dot(9)]));
        assert_eq!(horizon.hear(LIFE, 2, 5), Some(dot(9)));
        assert_eq!(horizon.hear(LIFE, 2, 5), None);
        assert_eq!(horizon.reach(dot(12)), Some(dot(13)));
        assert!(horizon.covers(&[dot(13)]) && horizon.islands.is_empty());
    }

    proptest! {
        /// Whatever the order and however often, the horizon stands where the first gap is.
        #[test]
        fn any_order_comes_to_the_same(cuts in prop::collection::btree_set(1u64..200, 0..30), mut picks: Vec<usize>) {
            let mut bounds: Vec<u64> = cuts.into_iter().collect();
            bounds.insert(0, 0);
            bounds.push(200);
            let stretches: Vec<(u64, u64)> = bounds.windows(2).map(|pair| (pair[0], pair[1])).collect();
            let (mut horizon, mut heard) = (Horizon::default(), vec![false; stretches.len()]);
            picks.extend(0..stretches.len());
            for pick in picks {
                let at = pick % stretches.len();
                let (after, upto) = stretches[at];
                horizon.hear(LIFE, after, upto);
                heard[at] = true;
                let reached = heard.iter().position(|heard| !heard).map_or(200, |gap| stretches[gap].0);
                prop_assert!(horizon.has(dot(reached)) && !horizon.has(dot(reached + 1)));
            }
        }
    }
}
