//! The page of metrics of one container: what was counted, and what its parts tell when asked.

use crate::actors::{ActorHealth, Handle};
use crate::error::Error;
use crate::telemetry::metrics::Page;
use crate::telemetry::metrics::list::{
    ACTOR_BOUND, ACTOR_QUEUED, ACTOR_RESTARTS, ACTOR_WAIT, BUILD, LEVEL_BUDGET, LEVEL_BYTES, LEVEL_DIRTY,
    LEVEL_DIRTY_BYTES, LEVEL_EVICTIONS, LEVEL_HITS, LEVEL_MISSES, LEVEL_OBJECTS, LEVEL_PROMOTIONS, PERMITS_MAX,
    PERMITS_USED, PROCESS_CPU, PROCESS_FILES, PROCESS_MEMORY, PROCESS_START, QUARANTINED, READY, SPANS_QUEUED,
    STORE_RECORDS,
};

use super::process;

/// The page. Reads the store, so it may wait for the disk.
pub(super) fn page(handle: &Handle) -> String {
    handle.telemetry().metrics.page(|page| {
        page.read(&BUILD, [([env!("CARGO_PKG_VERSION")], 1)]);
        page.read(&READY, [([], u64::from(handle.ready()))]);
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
    let told = |error: &Error| tracing::warn!(%error, "the store's counts cannot be read");
    let disk = keeper.disk().usage().inspect_err(told).ok();
    let counts = keeper.disk().store().counts().ok();
    let both =
        |ram: u64, disk: Option<u64>| [Some((["ram"], ram)), disk.map(|disk| (["disk"], disk))].into_iter().flatten();
    let (cloud, owed) = (handle.cloud_holds(), keeper.holding().owed);
    let in_cloud = |number: u64| (["cloud"], number);
    let objects = both(memory.objects, disk.map(|disk| disk.objects));
    page.read(&LEVEL_OBJECTS, objects.chain(cloud.map(|cloud| in_cloud(cloud.objects))));
    let bytes = both(memory.bytes, disk.map(|disk| disk.bytes));
    page.read(&LEVEL_BYTES, bytes.chain(cloud.map(|cloud| in_cloud(cloud.bytes))));
    page.read(&LEVEL_BUDGET, both(memory.budget, Some(handle.disk_budget())));
    page.read(&LEVEL_DIRTY, both(memory.dirty, Some(owed.objects)));
    page.read(&LEVEL_DIRTY_BYTES, both(memory.dirty_bytes, Some(owed.bytes)));
    page.read(&LEVEL_HITS, both(memory.hits, disk.map(|disk| disk.hits)));
    page.read(&LEVEL_MISSES, both(memory.misses, disk.map(|disk| disk.misses)));
    page.read(&LEVEL_EVICTIONS, both(memory.evictions, disk.map(|disk| disk.evictions)));
    page.read(&LEVEL_PROMOTIONS, [(["ram"], memory.promotions)]);
    let tables = counts.map(|disk| {
        [(["heads"], disk.heads), (["inline"], disk.inline), (["frames"], disk.frames), (["discards"], disk.discards)]
    });
    page.read(&STORE_RECORDS, tables.into_iter().flatten());
    page.read(&QUARANTINED, counts.map(|disk| ([], disk.quarantined)));
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
    page.read_histograms(&ACTOR_WAIT, actors.iter().map(|actor| ([actor.name], &*actor.waits)));
    page.read(&ACTOR_RESTARTS, actors.iter().map(|actor| ([actor.name], actor.restarts)));
}

fn process(page: &mut Page) {
    page.read(&PROCESS_MEMORY, process::resident_bytes().map(|bytes| ([], bytes)));
    if let Some(seconds) = process::cpu_s() {
        page.read_fraction(&PROCESS_CPU, seconds);
    }
    page.read(&PROCESS_FILES, process::open_files().map(|files| ([], files)));
    page.read(&PROCESS_START, process::started_s().map(|seconds| ([], seconds)));
}
