//! The conversation of the actors. Nothing outside this folder names actix.
//!
//! | message | from | to | reply | bound |
//! |---|---|---|---|---|
//! | `StoreObject` `FetchObject` `RemoveObject` | handle | container | `Pushed` `Pulled` `Deleted` | requests |
//! | `HandOutStages` | container, memory, scrub, keys | nfr | the stages | `ACTOR_QUEUE_MAX` |
//! | `Rekey` | keys | nfr | nothing | `ACTOR_QUEUE_MAX` |
//! | `ShowKeys` `ChangeKeys` | handle | keys | which keys there are | `ACTOR_QUEUE_MAX` |
//! | `RewrapNext` | clockwork | keys | when to ask again | `ACTOR_QUEUE_MAX` |
//! | `TakeRewrapped` | keys | sync | how many | `ACTOR_QUEUE_MAX` |
//! | `Admit` | container, handle | memory | room, or none | `ACTOR_QUEUE_MAX` |
//! | `WriteOut` | handle | memory | how many | `ACTOR_QUEUE_MAX` |
//! | `Release` | handle | memory | what left | `ACTOR_QUEUE_MAX` |
//! | `MakeRoom` `Reinstate` | memory | eviction | victims | `ACTOR_QUEUE_MAX` |
//! | `Consider` | container | eviction | yes or no | `ACTOR_QUEUE_MAX` |
//! | `Learn` | clockwork | eviction | nothing | `ACTOR_QUEUE_MAX` |
//! | `Persist` | container, memory, scrub; handle at the start | disk | what became of it | `ACTOR_QUEUE_MAX` |
//! | `Quarantine` | container, scrub | disk | whether it was needed | `ACTOR_QUEUE_MAX` |
//! | `StartScrub` `ShowScrub` | handle | scrub | how far it is | `ACTOR_QUEUE_MAX` |
//! | `CheckNext` | clockwork | scrub | when to ask again | `ACTOR_QUEUE_MAX` |
//! | `Flush` `EvictDisk` | handle | sync | objects and bytes | `ACTOR_QUEUE_MAX` |
//! | `FreeDisk` | container, handle | sync | nothing | `ACTOR_QUEUE_MAX` |
//! | `Tick` | clockwork | sync | nothing | `ACTOR_QUEUE_MAX` |
//! | `Collect` `Sweep` | clockwork | disk | how many | `ACTOR_QUEUE_MAX` |
//!
//! Asks never run in a circle: [`CONVERSATION`] says who asks whom, and a test walks it.

mod body;
mod collections;
mod container;
mod cpu;
mod crew;
mod disk;
mod elsewhere;
mod eviction;
mod fetch;
mod frame;
mod fuse;
mod handle;
mod hashing;
mod heal;
mod keys;
mod locate;
mod memory;
mod neighbours;
mod nfr;
mod owing;
mod page;
mod placing;
mod pull;
mod push;
mod quick;
mod reading;
mod release;
mod request;
mod ruling;
mod runtime;
mod scrub;
mod supply;
mod sync;
mod takeover;
mod telling;
mod upkeep;
mod window;

pub use body::{Body, BodySender, PullBody};
pub use collections::CollectionView;
pub use crew::{Actors, CrewOptions};
pub use eviction::EvictionOptions;
pub use handle::{Bounds, Drained, Handle, InUse};
pub use keys::{ChangeKeys, KeysView};
pub use locate::{Copy, Locate, Whereabouts};
pub use neighbours::Neighbours;
pub use owing::{OwedPage, OwedQuery};
pub use release::{Release, Released, Which};
pub use request::{Delete, Deleted, Found, List, Listed, Page, Pull, Pulled, Push, Pushed, Stat};
pub use ruling::PolicyView;
pub use runtime::{ActorHealth, LastError};
pub use scrub::ScrubOptions;

/// Who asks whom, by the actors' names.
pub const CONVERSATION: [(&str, &str); 18] = [
    ("handle", "container"),
    ("handle", "memory"),
    ("container", "nfr"),
    ("container", "memory"),
    ("container", "eviction"),
    ("container", "disk"),
    ("container", "sync"),
    ("handle", "sync"),
    ("memory", "nfr"),
    ("memory", "eviction"),
    ("memory", "disk"),
    ("handle", "scrub"),
    ("scrub", "nfr"),
    ("scrub", "disk"),
    ("handle", "keys"),
    // Pushes to collections that are there run in the handle: see `quick.rs`.
    ("handle", "disk"),
    ("keys", "nfr"),
    ("keys", "sync"),
];

#[cfg(test)]
mod tests {
    use super::CONVERSATION;

    /// Every folder-internal `Link<…Actor>` that an actor holds is in the table, and the table has no circle.
    #[test]
    fn asks_never_run_in_a_circle() {
        fn visit<'a>(actor: &'a str, path: &mut Vec<&'a str>) {
            assert!(!path.contains(&actor), "a circle: {path:?} -> {actor}");
            path.push(actor);
            CONVERSATION.iter().filter(|(from, _)| *from == actor).for_each(|(_, to)| visit(to, path));
            path.pop();
        }
        CONVERSATION.iter().for_each(|(from, _)| visit(from, &mut Vec::new()));
        let sources = [
            ("memory", include_str!("memory.rs")),
            ("eviction", include_str!("eviction.rs")),
            ("disk", include_str!("disk.rs")),
            ("nfr", include_str!("nfr.rs")),
            ("sync", include_str!("sync/mod.rs")),
            ("keys", include_str!("keys.rs")),
            ("scrub", concat!(include_str!("scrub.rs"), include_str!("heal.rs"))),
        ];
        for (actor, source) in sources {
            for (name, kind) in [
                ("memory", "MemoryActor"),
                ("eviction", "EvictionActor"),
                ("disk", "DiskActor"),
                ("nfr", "NfrActor"),
                ("sync", "SyncActor"),
                ("container", "ContainerActor"),
                ("scrub", "ScrubActor"),
                ("keys", "KeysActor"),
            ] {
                let asks = source.contains(&format!("Link<{kind}>"));
                assert_eq!(asks, CONVERSATION.contains(&(actor, name)), "{actor} -> {name}");
            }
        }
    }
}
