//! x
fn env(n: &str, d: f64) -> f64 {
    std::env::var(n).ok().and_then(|v| v.parse().ok()).unwrap_or(d)
}
const WINDOW_MIN: f64 = 0.01;
const WINDOW_MAX: f64 = 0.80;
pub(super) struct Climber {
    window: f64,
    reach_bytes: u64,
    turned_away: Vec<(u64, u64)>,
    clock: u64,
    regrets: u64,
    thanks: u64,
    uses: usize,
    r: f64,
    step: f64,
    s: f64,
    bias: f64,
}
impl Climber {
    pub fn new(budget_bytes: u64) -> Self {
        let r = env("REACH", 0.1);
        Climber {
            window: WINDOW_MIN,
            reach_bytes: (budget_bytes as f64 * r) as u64 + 1,
            turned_away: vec![(0, 0); 64],
            clock: 0,
            regrets: 0,
            thanks: 0,
            uses: 0,
            r,
            step: env("STEP", 0.03),
            s: env("SAMPLE", 1.0),
            bias: env("BIAS", 1.0),
        }
    }
    pub fn window(&self) -> f64 {
        self.window
    }
    pub fn grow_for(&mut self, entries: usize) {
        while self.turned_away.len() < entries {
            self.turned_away.extend_from_within(..);
        }
    }
    pub fn turn_away(&mut self, hash: u64, cost: u64) {
        self.clock += cost;
        let at = hash as usize & (self.turned_away.len() - 1);
        let clock = self.clock;
        if let Some(p) = self.turned_away.get_mut(at) {
            *p = (hash, clock);
        }
    }
    pub fn miss(&mut self, hash: u64) {
        let at = hash as usize & (self.turned_away.len() - 1);
        if let Some(&(h, c)) = self.turned_away.get(at)
            && h == hash
            && self.clock - c <= self.reach_bytes
            && c > 0
        {
            self.regrets += 1;
        }
    }
    pub fn probation_hit(&mut self) {
        self.thanks += 1;
    }
    pub fn note(&mut self, entries: usize, probation: u64) {
        self.uses += 1;
        if self.uses < 200.max((self.s * entries as f64) as usize) {
            return;
        }
        let a = self.regrets as f64 / self.reach_bytes as f64;
        let b = self.bias * self.thanks as f64 / (probation.max(1)) as f64;
        let k = (a - b) / (a + b + 1e-12);
        self.window = (self.window + self.step * if env("SIGN", 0.0) > 0.0 { k.signum() } else { k })
            .clamp(WINDOW_MIN, WINDOW_MAX);
        (self.uses, self.regrets, self.thanks) = (0, 0, 0);
        let _ = self.r;
    }
}
