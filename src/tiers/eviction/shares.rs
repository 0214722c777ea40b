//! How sections of one level divide it: room moves to where a little more of it would have earned most.
//!
//! The evidence is the same as the climber's: regrets, misses of what a section let go within the last few
//! bytes. Every section's reach is as long, so regrets compare what the same bytes would have earned in
//! each; where they are equal no move gains anything. A scan regrets nothing however fast it comes, so it
//! gets no room from what is used; and what is idle regrets nothing, so it gives its room away.

/// The most that a step may move to one section, of what all hold.
const STEP_MAX: f64 = 0.10;

/// Regrets that count as no evidence: so few may be chance.
const CHANCE: f64 = 8.0;

/// What every section may have, whatever it earned: without entries it could never show what it is worth.
const FLOOR: f64 = 0.01;

/// What a section of the level holds, and what it regretted since the last step.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    pub held: u64,
    pub regrets: u64,
}

/// The bytes each section should hold from now on. A step starts from what they hold now: room that a
/// section has no use for is no claim.
pub(super) fn shares(sections: &[Evidence]) -> Vec<u64> {
    let count = sections.len().max(1) as f64;
    let held: f64 = sections.iter().map(|section| section.held as f64).sum();
    let regrets: f64 = sections.iter().map(|section| section.regrets as f64).sum();
    let floor = held * FLOOR.min(0.5 / count);
    let share = |section: &Evidence| {
        let more = (section.regrets as f64 - regrets / count) / (regrets + CHANCE);
        (section.held as f64 + held * STEP_MAX * more).max(floor) as u64
    };
    sections.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(sections: &[(u64, u64)]) -> Vec<u64> {
        shares(&sections.iter().map(|&(held, regrets)| Evidence { held, regrets }).collect::<Vec<_>>())
    }

    #[test]
    fn no_evidence_moves_nothing() {
        assert_eq!(step(&[(600, 0), (400, 0)]), [600, 400]);
        assert_eq!(step(&[(600, 70), (400, 70)]), [600, 400]);
        assert_eq!(step(&[(1000, 70)]), [1000], "nobody to take from");
        assert!(step(&[]).is_empty());
    }

    #[test]
    fn room_moves_to_who_regrets_more_and_chance_counts_little() {
        let sure = step(&[(5000, 900), (5000, 100)]);
        assert!(sure[0] > 5350 && sure[0] < 5450 && sure[0] + sure[1] == 9999, "{sure:?}");
        let chance = step(&[(5000, 1), (5000, 0)]);
        assert!(chance[0] < 5060, "{chance:?}");
    }

    #[test]
    fn nobody_is_driven_out() {
        assert_eq!(step(&[(9900, 1000), (100, 0)])[1], 100);
        let many: Vec<_> = (0..200).map(|at| (1000, u64::from(at == 0) * 1000)).collect();
        assert!(step(&many)[1..].iter().all(|share| *share >= 500));
    }
}
