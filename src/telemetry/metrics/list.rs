//! Every metric: name, unit, labels, help. The only place where a metric is declared.

use super::cells::{CHANGES, Counter, Gauge, Histogram, Live, SECONDS};
use super::declare::{Family, Kind, metrics};
use super::labels::{
    CommitOutcome, Ended, Method, Operation, Outcome, Point, Route, Served, SpanOutcome, Status, Synced,
};
use super::page::Page;

metrics! {
    live {
        /// Requests over HTTP, by what became of them.
        http_requests: Counter<(Method, Route, Status)> = "meshstore_http_requests", "";
        /// Time from the head of a request to the head of its answer; an upload's body lies in between,
        /// a download's follows.
        http_request_duration: Histogram<(Method, Route)> = "meshstore_http_request_duration_seconds", "seconds", SECONDS;
        /// Bytes of the bodies that were received.
        http_received: Counter<()> = "meshstore_http_received_bytes", "bytes";
        /// Bytes of the bodies that answers announced.
        http_sent: Counter<()> = "meshstore_http_sent_bytes", "bytes";
        /// Connections that are open.
        http_connections: Gauge<()> = "meshstore_http_connections", "";
        /// Connections that were ever opened.
        http_connections_opened: Counter<()> = "meshstore_http_connections_opened", "";
        /// Connections ended, or pushes refused, to make room at a crowded door.
        http_connections_crowded_out: Counter<()> = "meshstore_http_connections_crowded_out", "";
        /// Requests on the bus, by what became of them.
        bus_requests: Counter<(Operation, Status)> = "meshstore_bus_requests", "";
        /// Time from a request on the bus to its answer.
        bus_request_duration: Histogram<Operation> = "meshstore_bus_request_duration_seconds", "seconds", SECONDS;
        /// Messages that came faster than they could be taken, and are lost.
        bus_lost: Counter<()> = "meshstore_bus_lost_messages", "";
        /// Messages between containers that none of this site has signed: they change nothing.
        bus_unbelieved: Counter<()> = "meshstore_bus_unbelieved_messages", "";
        /// Pieces of other containers' objects that were read over the bus, because their doors were not reached, or
        /// late.
        peer_pieces: Counter<()> = "meshstore_peer_pieces", "";
        /// Reads of other containers' objects that were asked for a second way as well, over the bus or of a container
        /// that has a copy, because the first one was late.
        peer_hedges: Counter<()> = "meshstore_peer_hedges", "";
        /// Objects of another site that were read from a copy at a third one, because that was to be done earlier, or
        /// the site that keeps them was silent.
        peer_copies: Counter<()> = "meshstore_peer_copies", "";
        /// Objects to be stored, at all doors, by what became of it and the level that acknowledged.
        pushes: Counter<(Outcome, Served)> = "meshstore_pushes", "";
        /// Objects to be read, at all doors, by what became of it and the level that served. Damage found
        /// after the first chunk is not in here.
        pulls: Counter<(Outcome, Served)> = "meshstore_pulls", "";
        /// Objects to be deleted, at all doors, by what became of it.
        deletes: Counter<Outcome> = "meshstore_deletes", "";
        /// Requests that a policy of the mesh refused, by where it did.
        policy_refusals: Counter<Point> = "meshstore_policy_refusals", "";
        /// Requests that were told `busy` because no permit came free in their time.
        permits_refused: Counter<()> = "meshstore_permits_refused", "";
        /// Groups of changes that were committed.
        commits: Counter<CommitOutcome> = "meshstore_commits", "";
        /// Changes in one group commit.
        commit_changes: Histogram<()> = "meshstore_commit_changes", "", CHANGES;
        /// Time one group commit took, syncs included.
        commit_duration: Histogram<()> = "meshstore_commit_duration_seconds", "seconds", SECONDS;
        /// Time it took to make bytes or names durable, by what was synced.
        sync_duration: Histogram<Synced> = "meshstore_sync_duration_seconds", "seconds", SECONDS;
        /// Sweeps for what ended by itself that came to their end.
        sweeps: Counter<()> = "meshstore_sweeps", "";
        /// What sweeps cleared away.
        swept: Counter<Ended> = "meshstore_swept", "";
        /// Damaged frames that were put aside since the start.
        quarantines: Counter<()> = "meshstore_quarantines", "";
        /// Spans for the trace collector, by what became of them.
        spans: Counter<SpanOutcome> = "meshstore_spans", "";
    }
    read {
        /// What this binary is.
        BUILD: Info ["version"] = "meshstore_build", "";
        /// Whether requests are taken.
        READY: Gauge [] = "meshstore_ready", "";
        /// Objects that a level holds.
        LEVEL_OBJECTS: Gauge ["level"] = "meshstore_level_objects", "";
        /// Bytes in use at a level, what is set aside and its own overhead included.
        LEVEL_BYTES: Gauge ["level"] = "meshstore_level_bytes", "bytes";
        /// The most bytes that a level may hold.
        LEVEL_BUDGET: Gauge ["level"] = "meshstore_level_budget_bytes", "bytes";
        /// Objects that are to go further down: from memory to the disk, from the disk to the cloud.
        LEVEL_DIRTY: Gauge ["level"] = "meshstore_level_dirty_objects", "";
        /// Their bytes: plain in memory, sealed on the disk.
        LEVEL_DIRTY_BYTES: Gauge ["level"] = "meshstore_level_dirty_bytes", "bytes";
        /// Reads that a level answered.
        LEVEL_HITS: Counter ["level"] = "meshstore_level_hits", "";
        /// Reads that a level was asked for and could not answer.
        LEVEL_MISSES: Counter ["level"] = "meshstore_level_misses", "";
        /// Copies that left a level to make room, or because they were not to stay there.
        LEVEL_EVICTIONS: Counter ["level"] = "meshstore_level_evictions", "";
        /// Copies that a read brought up to a level.
        LEVEL_PROMOTIONS: Counter ["level"] = "meshstore_level_promotions", "";
        /// Records in the store, by table; `discards` are frames still to be unlinked.
        STORE_RECORDS: Gauge ["table"] = "meshstore_store_records", "";
        /// Damaged frames that are kept aside.
        QUARANTINED: Gauge [] = "meshstore_quarantined_frames", "";
        /// Permits that requests hold now: `requests` at work, and `body_bytes` of bodies in flight.
        PERMITS_USED: Gauge ["permit"] = "meshstore_permits_used", "";
        /// The most permits there are.
        PERMITS_MAX: Gauge ["permit"] = "meshstore_permits_limit", "";
        /// Messages that wait for an actor or are being worked on.
        ACTOR_QUEUED: Gauge ["actor"] = "meshstore_actor_queued_messages", "";
        /// The most messages that may wait for an actor.
        ACTOR_BOUND: Gauge ["actor"] = "meshstore_actor_queue_limit", "";
        /// Time that messages waited before an actor took them up: for their turn, and in its mailbox.
        ACTOR_WAIT: Histogram ["actor"] = "meshstore_actor_wait_seconds", "seconds";
        /// How often an actor died and was started again.
        ACTOR_RESTARTS: Counter ["actor"] = "meshstore_actor_restarts", "";
        /// Spans that wait for the trace collector.
        SPANS_QUEUED: Gauge [] = "meshstore_spans_queued", "";
        /// Memory of the process that is in use.
        PROCESS_MEMORY: Gauge [] = "process_resident_memory_bytes", "bytes";
        /// Time that processors worked for the process.
        PROCESS_CPU: Counter [] = "process_cpu_seconds", "seconds";
        /// Files and sockets that the process has open.
        PROCESS_FILES: Gauge [] = "process_open_fds", "";
        /// When the process started, in seconds since 1970.
        PROCESS_START: Gauge [] = "process_start_time_seconds", "seconds";
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}
