//! Non-functional requirements as pure functions from bytes to bytes: sealing and opening of frames,
//! digests, keys.
//!
//! Nothing here reads a file, starts a thread or waits. [`Sealer::seal`] and [`Opener::open`] may be
//! called for different chunks at the same time and in any order; the caller owns the parallelism.
//! The format is written down in `docs/frame.md`.

mod compress;
mod digest;
mod engine;
mod export;
mod frame;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod keyring;
mod opener;
mod sealer;
mod signature;
mod ticket;

#[cfg(test)]
mod tests;

pub use digest::{ChunkHash, HASHED_BYTES, PlainDigest, combine, hash_part};
pub use engine::{DataKey, SIGNATURE_BYTES, SystemRng};
pub use export::{export, import};
pub use frame::{HEADER_BYTES, footer_extent};
pub use identity::{Identity, SharedKey, said_by};
pub use keyring::{Keyring, binding};
pub use opener::{Opener, open_whole};
pub use sealer::{FinishedFrame, FrameBuilder, SealedChunk, Sealer, seal_whole};
pub use signature::{Signature, fingerprint};
pub use ticket::Grant;
