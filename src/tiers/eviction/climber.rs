//! The size of the window, as a share of the budget, climbing towards the better hit ratio.
//!
//! It goes on in one direction while the ratio does not fall, and turns when it does. Steps shrink, so that
//! it comes to rest; a sudden change of the ratio (another load) starts it again with a full step.

const WINDOW_MIN: f64 = 0.01;
const WINDOW_MAX: f64 = 0.80;

/// The first step, and the one after a sudden change.
const STEP: f64 = 0.0625;
const STEP_DECAY: f64 = 0.98;

/// A change of the hit ratio this large means another load.
const SUDDEN: f64 = 0.05;

/// Uses per entry between two steps: enough for the last one to show.
const SAMPLE: usize = 10;
const SAMPLE_MIN: usize = 1000;

/// Where the window's size stands and where it goes.
pub(super) struct Climber {
    window: f64,
    step: f64,
    hits: usize,
    uses: usize,
    ratio: Option<f64>,
}

impl Climber {
    pub fn new() -> Self {
        Climber { window: WINDOW_MIN, step: STEP, hits: 0, uses: 0, ratio: None }
    }

    /// The window's share of the budget.
    pub fn window(&self) -> f64 {
        self.window
    }

    /// Notes a hit or a miss, and takes a step when a sample of so many entries is complete.
    pub fn note(&mut self, hit: bool, entries: usize) {
        self.uses += 1;
        self.hits += usize::from(hit);
        if self.uses < SAMPLE_MIN.max(SAMPLE * entries) {
            return;
        }
        let ratio = self.hits as f64 / self.uses as f64;
        (self.hits, self.uses) = (0, 0);
        if let Some(before) = self.ratio.replace(ratio) {
            self.climb(ratio - before);
        }
    }

    fn climb(&mut self, change: f64) {
        let direction = if change >= 0.0 { self.step.signum() } else { -self.step.signum() };
        let amount = self.step.abs() * direction;
        self.window = (self.window + amount).clamp(WINDOW_MIN, WINDOW_MAX);
        self.step = if change.abs() >= SUDDEN { STEP * direction } else { amount * STEP_DECAY };
    }
}
