//! The page of metrics of one container: what was counted, and what its parts tell when asked.

use crate::actors::{ActorHealth, Handle};
use crate::telemetry::metrics::Page;
use crate::telemetry::metrics::list::{
    ACTOR_BOUND, ACTOR_QUEUED, ACTOR_RESTARTS, BUILD, LEVEL_BUDGET, LEVEL_BYTES, LEVEL_DIRTY, LEVEL_HITS, LEVEL_MISSES,
    LEVEL_OBJECTS, PERMITS_MAX, PERMITS_USED, PROCESS_FILES, PROCESS_MEMORY, PROCESS_START, QUARANTINED, READY,
    SPANS_QUEUED, STORE_RECORDS, UPTIME,
};

use super::process;

/// The page. Reads the store, so it may wait for the disk.
pub(super) fn page(handle: &Handle) -> String {
    handle.telemetry().metrics.page(|page| {
        page.read(&BUILD, [([env!("CARGO_PKG_VERSION")], 1)]);
        page.read(&READY, [([], u64::from(handle.ready()))]);
        page.read_fraction(&UPTIME, handle.telemetry().uptime_ns() as f64 / 1e9);
        levels(handle, page);
        permits(handle, page);
        actors(&handle.actors(), page);
        page.read(&SPANS_QUEUED, [([], handle.telemetry().spans_queued())]);
        process(page);
    })
}

fn levels(handle: &Handle, page: &mut Page) {
    let keeper = handle.keeper();
    let memory = keeper.memory().usage();
    // A store that cannot be read is reported where it is used; its numbers are missing here.
    let counts = keeper.disk().store().counts();
    let counts = counts.inspect_err(|error| tracing::warn!(%error, "the store's counts cannot be read")).ok();
    let disk = counts.as_ref();
    page.read(
        &LEVEL_OBJECTS,
        [Some((["ram"], memory.objects)), disk.map(|disk| (["disk"], disk.objects()))].into_iter().flatten(),
    );
    page.read(&LEVEL_BYTES, [(["ram"], memory.bytes)]);
    page.read(&LEVEL_BUDGET, [(["ram"], memory.budget)]);
    page.read(&LEVEL_DIRTY, [(["ram"], memory.dirty)]);
    page.read(&LEVEL_HITS, [(["ram"], memory.hits)]);
    page.read(&LEVEL_MISSES, [(["ram"], memory.misses)]);
    let tables = disk.map(|disk| {
        [(["heads"], disk.heads), (["inline"], disk.inline), (["frames"], disk.frames), (["discards"], disk.discards)]
    });
    page.read(&STORE_RECORDS, tables.into_iter().flatten());
    page.read(&QUARANTINED, disk.map(|disk| ([], disk.quarantined)));
}

fn permits(handle: &Handle, page: &mut Page) {
    let used = handle.in_use();
    page.read(&PERMITS_USED, [(["requests"], used.requests as u64), (["body_bytes"], used.body_bytes)]);
    let most = used.bounds;
    page.read(&PERMITS_MAX, [(["requests"], most.requests_max as u64), (["body_bytes"], most.body_bytes_max)]);
}

fn actors(actors: &[ActorHealth], page: &mut Page) {
    page.read(&ACTOR_QUEUED, actors.iter().map(|actor| ([actor.name], actor.queued as u64)));
    page.read(&ACTOR_BOUND, actors.iter().map(|actor| ([actor.name], actor.bound as u64)));
    page.read(&ACTOR_RESTARTS, actors.iter().map(|actor| ([actor.name], actor.restarts)));
}

fn process(page: &mut Page) {
    page.read(&PROCESS_MEMORY, process::resident_bytes().map(|bytes| ([], bytes)));
    page.read(&PROCESS_FILES, process::open_files().map(|files| ([], files)));
    page.read(&PROCESS_START, process::started_s().map(|seconds| ([], seconds)));
}
