//! What the memory budget leaves for requests, beside level 1 and the store's cache.

/// Bytes of the process itself: code, threads, allocator.
const PROCESS_BYTES: u64 = 12 << 20;

/// Bytes that a connection may hold while its request waits: what the web server has read ahead of a
/// body that nobody takes yet, as measured.
const CONNECTION_BYTES: u64 = 320 << 10;

/// Connections that any container takes, and that none exceeds by default.
const CONNECTIONS_MIN: u64 = 8;
const CONNECTIONS_MAX: u64 = 4096;

/// Bytes of bodies in flight: an eighth of the budget, or less where level 1 and the cache leave less:
/// what the allocator keeps of freed chunks needs room as well.
pub fn in_flight_bytes(budget: u64, level1: u64, cache: u64) -> u64 {
    (budget / 8).min(left(budget, level1, cache) / 2).max(1 << 20)
}

/// Connections whose waiting bodies fit into what bodies in flight leave.
pub(super) fn connections(budget: u64, level1: u64, cache: u64) -> usize {
    let rest = left(budget, level1, cache).saturating_sub(in_flight_bytes(budget, level1, cache));
    (rest / CONNECTION_BYTES).clamp(CONNECTIONS_MIN, CONNECTIONS_MAX) as usize
}

fn left(budget: u64, level1: u64, cache: u64) -> u64 {
    budget.saturating_sub(level1.saturating_add(cache).saturating_add(PROCESS_BYTES))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_parts_together_stay_within_the_budget() {
        for budget in [64u64 << 20, 256 << 20, 512 << 20, 8 << 30] {
            let (level1, cache) = (budget / 2, (budget / 8).min(32 << 20));
            let (bodies, connections) = (in_flight_bytes(budget, level1, cache), connections(budget, level1, cache));
            let all = PROCESS_BYTES + level1 + cache + bodies + connections as u64 * CONNECTION_BYTES;
            assert!(all <= budget, "{all} of {budget}");
            assert!(connections as u64 >= CONNECTIONS_MIN);
        }
        assert_eq!(connections(8 << 20, 8 << 20, 0), CONNECTIONS_MIN as usize);
        assert_eq!(connections(1 << 40, 0, 0), CONNECTIONS_MAX as usize);
    }
}
