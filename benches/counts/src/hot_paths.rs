//! Instructions that the hot paths take, counted by valgrind: the same on a busy machine as on a quiet one, so a
//! change of a few percent shows. `make bench-counts` runs it and compares with the run before.

use std::hint::black_box;

use bytes::Bytes;
use gungraun::{library_benchmark, library_benchmark_group, main};
use meshstore::bus::{Message, Pattern, Subject};
use meshstore::model::{
    Address, Chunks, ContainerId, Dot, Incarnation, NfrSpec, Session, Version,
};
use meshstore::nfr::{DataKey, Grant, HASHED_BYTES, Keyring, SystemRng, hash_part, open_whole, seal_whole};

const LINE: &[u8] = b"2026-11-21T06:00:00Z,harbour,gauge-7,4.72,m\n";
const VERSION: Version = Version { time: 7 << 16, container: ContainerId(1) };

fn text(bytes: usize) -> Bytes {
    LINE.iter().copied().cycle().take(bytes).collect::<Vec<u8>>().into()
}

fn address() -> Address {
    "meteo/harbour/gauge.csv".parse().expect("an address")
}

fn ring() -> Keyring {
    Keyring::generate(&SystemRng)
}

/// The same bytes once more, after the engines have made themselves ready: that is no part of the path.
fn warm(plain: Bytes) -> Bytes {
    sealed(plain.clone());
    plain
}

#[library_benchmark]
#[bench::text_1_kb(warm(text(1_000)))]
#[bench::text_16_kb(warm(text(16_000)))]
fn seal(plain: Bytes) -> Bytes {
    let plain = Chunks::from(plain);
    seal_whole(black_box(NfrSpec::default()), &SystemRng, &plain).expect("a frame").0
}

fn sealed(plain: Bytes) -> (meshstore::model::Seal, u64, Bytes, DataKey) {
    let size = plain.len() as u64;
    let (frame, finished, sealer) = seal_whole(NfrSpec::default(), &SystemRng, &Chunks::from(plain)).expect("a frame");
    (finished.seal, size, frame, sealer.data_key().expect("a key").clone())
}

#[library_benchmark]
#[bench::text_1_kb(sealed(text(1_000)))]
fn open((seal, size, frame, key): (meshstore::model::Seal, u64, Bytes, DataKey)) -> Chunks {
    open_whole(&seal, size, black_box(&frame), Some(&key)).expect("the plain bytes")
}

#[library_benchmark]
#[bench::a_part(text(HASHED_BYTES))]
fn hash(plain: Bytes) -> meshstore::nfr::ChunkHash {
    hash_part(1, false, black_box(&plain))
}

#[library_benchmark]
#[bench::one(ring(), DataKey::random(&SystemRng))]
fn wrap(ring: Keyring, key: DataKey) -> meshstore::model::WrappedKey {
    ring.wrap(&SystemRng, &key, black_box(b"what it is bound to")).expect("a wrapped key")
}

#[library_benchmark]
#[bench::one(ring(), address())]
fn ticket(ring: Keyring, address: Address) -> bool {
    let grant = Grant::Pull(VERSION);
    let ticket = ring.ticket(&address, grant, 1_000).expect("a ticket");
    ring.admits(black_box(&ticket), &address, grant, 1).is_ok()
}

#[library_benchmark]
#[bench::first(Session::default(), address())]
fn session(mut session: Session, address: Address) -> Session {
    session.note(&address, VERSION, Dot { incarnation: Incarnation(1), seq: 1 });
    black_box(session.to_string()).parse().expect("a session")
}

#[library_benchmark]
#[bench::three_words("mesh.edge.*".parse().expect("a pattern"), "mesh.edge.pull".parse().expect("a subject"))]
fn subject(pattern: Pattern, subject: Subject) -> bool {
    pattern.matches(black_box(&subject))
}

#[library_benchmark]
#[bench::among_nine(
    (0..9).fold(Message::to("mesh.edge.pull".parse().expect("a subject"), ""), |mut message, n| {
        message.headers.push((format!("Mesh-Header-{n}"), n.to_string()));
        message
    })
)]
fn header(message: Message) -> usize {
    black_box(&message).header("mesh-header-8").map_or(0, str::len)
}

library_benchmark_group!(name = hot_paths; benchmarks = seal, open, hash, wrap, ticket, session, subject, header);
main!(library_benchmark_groups = hot_paths);
