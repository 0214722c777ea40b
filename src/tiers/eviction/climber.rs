//! The size of the window, as a share of the budget, climbing towards the better hit ratio.
//!
//! Comparing the hit ratio before and after a step is slow and mostly measures noise. Both slopes are
//! measured at once instead: a miss of what was turned away a moment ago is a hit a slightly larger window
//! would have had; a hit on probation is one a slightly smaller main part would have lost. The window
//! moves towards the side that earns more hits a byte. Only `w_tinylfu.rs` uses it.

use super::ghost::Ghost;

const WINDOW_MIN: f64 = 0.01;
const WINDOW_MAX: f64 = 0.80;

/// The longest step, taken when all the evidence is on one side.
const STEP_MAX: f64 = 0.10;

/// How far back "a moment ago" goes: this share of the budget has been turned away since. Short, because
/// in a long loop everything returns that was turned away, and no window would have held it.
const REACH: f64 = 0.04;

/// Uses between two steps: a fifth of the number of entries, and never fewer than these.
const USES_MIN: usize = 200;
const ENTRIES_A_USE: usize = 5;

/// Where the window's size stands, and the evidence for its next step.
pub(super) struct Climber {
    window: f64,
    losers: Ghost,
    regrets: u64,
    thanks: u64,
    uses: usize,
}

impl Climber {
    pub fn new(budget_bytes: u64) -> Self {
        Climber { window: WINDOW_MIN, losers: Ghost::new(reach(budget_bytes)), regrets: 0, thanks: 0, uses: 0 }
    }

    /// The window's share of the budget.
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Takes note that the level has another size.
    pub fn resize(&mut self, budget_bytes: u64) {
        self.losers.set_reach(reach(budget_bytes));
    }

    /// Makes room for this many entries.
    pub fn grow_for(&mut self, entries: usize) {
        self.losers.grow_for(entries);
    }

    /// Notes what left the window and lost against the main part.
    pub fn turn_away(&mut self, hash: u64, cost: u64) {
        self.losers.leave(hash, cost);
    }

    /// Notes a miss.
    pub fn miss(&mut self, hash: u64) {
        self.regrets += u64::from(self.losers.remembers(hash));
    }

    /// Notes a hit on probation.
    pub fn thank(&mut self) {
        self.thanks += 1;
    }

    /// Counts a use of any kind, and takes a step when there were enough.
    pub fn advance(&mut self, entries: usize, probation_bytes: u64) {
        self.uses += 1;
        if self.uses < USES_MIN.max(entries / ENTRIES_A_USE) {
            return;
        }
        let wider = self.regrets as f64 / self.losers.reach_bytes() as f64;
        let narrower = self.thanks as f64 / probation_bytes.max(1) as f64;
        if wider + narrower > 0.0 {
            let step = STEP_MAX * (wider - narrower) / (wider + narrower);
            self.window = (self.window + step).clamp(WINDOW_MIN, WINDOW_MAX);
        }
        (self.regrets, self.thanks, self.uses) = (0, 0, 0);
    }
}

/// As bytes of a level.
pub(super) fn reach(budget_bytes: u64) -> u64 {
    (budget_bytes as f64 * REACH) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    const REACH_OF_1000: u64 = (1000.0 * REACH) as u64;

    /// Plays uses of which all are of one kind, and says where the window is then.
    fn play(climber: &mut Climber, each: impl Fn(&mut Climber, u64)) -> f64 {
        for at in 1..10_000 {
            each(climber, at);
            climber.advance(1000, 200);
        }
        climber.window()
    }

    #[test]
    fn it_climbs_to_where_the_hits_are_and_stops_at_its_bounds() {
        let mut climber = Climber::new(1000);
        let regret = |climber: &mut Climber, at| {
            climber.turn_away(at, 1);
            climber.miss(at);
        };
        assert_eq!(play(&mut climber, regret), WINDOW_MAX);
        assert_eq!(play(&mut climber, |_, _| ()), WINDOW_MAX, "no evidence, no step");
        assert_eq!(play(&mut climber, |climber, _| climber.thank()), WINDOW_MIN);
    }

    #[test]
    fn what_was_turned_away_long_ago_is_not_regretted() {
        let mut climber = Climber::new(1000);
        climber.grow_for(4000);
        let late = |climber: &mut Climber, at: u64| {
            climber.turn_away(at, 1);
            climber.miss(at.saturating_sub(REACH_OF_1000 + 1));
        };
        assert_eq!(play(&mut climber, late), WINDOW_MIN);
        let soon = |climber: &mut Climber, at: u64| {
            climber.turn_away(at, 1);
            climber.miss(at.saturating_sub(REACH_OF_1000));
        };
        assert_eq!(play(&mut climber, soon), WINDOW_MAX);
    }
}
