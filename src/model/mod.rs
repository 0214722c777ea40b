//! The vocabulary: what things are called and what they are made of. No input or output here.

mod address;
mod chunks;
mod cloud;
mod condition;
mod digest;
mod dot;
mod hex;
mod key;
mod manifest;
mod nfr;
mod policy;
mod random;
mod range;
mod session;
mod time;
mod token;
mod usage;
mod version;

pub use address::{Address, Name};
pub use chunks::Chunks;
pub use cloud::{CloudUrl, Receipt};
pub use condition::Condition;
pub use digest::{Digest, DigestKind};
pub use dot::{Dot, Incarnation};
pub use hex::{from_hex, push_hex};
pub use key::KeyId;
pub use manifest::{FrameId, Head, Level, Manifest, Rest, Seal, Tombstone, WrappedKey};
pub use nfr::{Compression, Encryption, NfrOverride, NfrSpec};
pub use policy::{CollectionPolicy, Durability, EvictionKind, Quota, SyncRule, Visibility};
pub use random::{Rng, SeededRng, mix};
pub use range::ByteRange;
pub use session::Session;
pub use time::{Clock, ManualClock, SteadyClock, SystemClock, SystemTimer, Timer};
pub use token::{Permission, Scope, TokenId, TokenRecord, check_bearer};
pub use usage::{Holding, Shift, Usage};
pub use version::{ContainerId, Version, VersionClock};
