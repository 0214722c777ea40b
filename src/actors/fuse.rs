//! Panics on demand, so that a test can see what a dying actor takes with it.
//!
//! `MESHSTORE_TEST_PANIC=disk:37:5` kills the actor `disk` at every 37th message, five times; several
//! actors are parted by commas. A release build knows nothing of it: there this file is empty steps.

/// What may kill one actor, over all of its lives.
#[derive(Debug, Default)]
pub(super) struct Fuse {
    #[cfg(debug_assertions)]
    planned: Option<planned::Planned>,
}

impl Fuse {
    /// The fuse of the actor with this name.
    #[cfg_attr(not(debug_assertions), allow(unused_variables))]
    pub(super) fn of(actor: &str) -> Self {
        Fuse {
            #[cfg(debug_assertions)]
            planned: std::env::var(planned::VARIABLE).ok().and_then(|plan| planned::Planned::parse(&plan, actor)),
        }
    }

    /// Counts a message; panics when it is one that was planned.
    pub(super) fn burn(&self) {
        #[cfg(debug_assertions)]
        self.planned.iter().for_each(planned::Planned::burn);
    }
}

#[cfg(debug_assertions)]
mod planned {
    use std::sync::atomic::{AtomicU64, Ordering};

    pub(super) const VARIABLE: &str = "MESHSTORE_TEST_PANIC";

    #[derive(Debug)]
    pub(super) struct Planned {
        every: u64,
        times: u64,
        seen: AtomicU64,
    }

    impl Planned {
        /// The part of a plan that is about this actor; without a number of times it never ends.
        pub(super) fn parse(plan: &str, actor: &str) -> Option<Self> {
            let about = plan.split(',').find_map(|part| part.strip_prefix(actor)?.strip_prefix(':'))?;
            let (every, times) = about.split_once(':').unwrap_or((about, "18446744073709551615"));
            let every = every.parse().ok().filter(|every| *every > 0)?;
            Some(Planned { every, times: times.parse().ok()?, seen: AtomicU64::new(0) })
        }

        #[allow(clippy::panic)]
        pub(super) fn burn(&self) {
            let nth = self.seen.fetch_add(1, Ordering::Relaxed) + 1;
            if nth.is_multiple_of(self.every) && nth / self.every <= self.times {
                panic!("a planned panic at message {nth}");
            }
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn a_plan_names_who_dies_when_and_how_often() {
            let planned = Planned::parse("disk:3:2,nfr:7", "disk").unwrap();
            let died: Vec<u64> = (1..=12).filter(|_| std::panic::catch_unwind(|| planned.burn()).is_err()).collect();
            assert_eq!(died, [3, 6]);
            assert_eq!(Planned::parse("disk:3:2,nfr:7", "nfr").map(|planned| planned.every), Some(7));
            for (plan, actor) in [("", "disk"), ("disk:0", "disk"), ("disk:x", "disk"), ("disk:3", "dis")] {
                assert!(Planned::parse(plan, actor).is_none(), "{plan}");
            }
        }
    }
}
