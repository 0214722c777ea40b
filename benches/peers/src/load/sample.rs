//! What one turn of one contender gave.

use std::time::Duration;

/// Figures of one turn.
#[derive(Clone, Default)]
pub struct Sample {
    /// Requests, or passes over the bytes.
    pub done: u64,
    pub elapsed: Duration,
    /// In the order in which the requests ended; empty where nobody measures them.
    pub latencies: Vec<Duration>,
    /// What the server used.
    pub server_cpu: Duration,
    /// What the load generator used.
    pub driver_cpu: Duration,
}

impl Sample {
    /// Something done so often in so long, without requests.
    pub fn work(done: u64, elapsed: Duration, server_cpu: Duration) -> Self {
        Sample { done, elapsed, server_cpu, ..Sample::default() }
    }

    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.done as f64 / self.elapsed.as_secs_f64().max(f64::MIN_POSITIVE)
    }

    /// The latency that this share of the requests stays within.
    pub fn latency(&self, share: f64) -> Option<f64> {
        let mut seconds: Vec<f64> = self.latencies.iter().map(Duration::as_secs_f64).collect();
        (!seconds.is_empty()).then(|| quantile(&mut seconds, share))
    }

    /// Processor time of the server for one request.
    pub fn server_cpu_each(&self) -> f64 {
        self.server_cpu.as_secs_f64() / self.done.max(1) as f64
    }

    /// The same of the load generator.
    pub fn driver_cpu_each(&self) -> f64 {
        self.driver_cpu.as_secs_f64() / self.done.max(1) as f64
    }
}

/// The value below which this share of all values lies; 0 of nothing.
pub fn quantile(values: &mut [f64], share: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    let at = ((values.len() as f64 * share) as usize).min(values.len().saturating_sub(1));
    values.get(at).copied().unwrap_or(0.0)
}
