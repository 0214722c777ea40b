//! Every fixed number that bounds something. Limits a user may change live in `config/`.

use std::time::Duration;

/// Room on the disk that is kept so that deletes and receipts commit when the disk is full: a full group of
/// deletes that meet nowhere rewrites some six MiB of pages, and the pages before it are free only after the next.
pub const RESERVE_BYTES: u64 = 16 << 20;

/// Bytes of plain data in one chunk of a frame: the unit of sealing, ranges and flow control.
pub const CHUNK_BYTES: usize = 1 << 20;

/// Longest key in bytes; with the collection it still fits a file name or a subject comfortably.
pub const KEY_BYTES_MAX: usize = 1024;

/// Longest name of a site, container, collection or keygroup.
pub const NAME_BYTES_MAX: usize = 63;

/// Sealed objects up to this size rest inside the store's record instead of a file of their own:
/// one commit then carries them, and a folder is not filled with tiny files.
pub const INLINE_FRAME_BYTES_MAX: usize = 16 << 10;

/// Chunks of one body that may be in flight between two stages of a push or a pull.
pub const BODY_WINDOW_CHUNKS: usize = 4;

/// Buffers of a whole chunk that are kept for the next ones: what one body needs at a time, and no more than that.
pub const CHUNK_BUFFERS_KEPT: usize = 8;

/// Bytes of a piece that is read for another container: four of them are a sealed chunk. Buffers of this size are kept.
pub const PIECE_BYTES_MAX: usize = CHUNK_BYTES / 4 + 64;

/// The same of a quarter of a chunk, in which frames are read for others.
pub const PIECE_BUFFERS_KEPT: usize = 16;

/// Pieces of an upload, as the door receives them, that may wait for the push. They are held before
/// the push has a permit for its bytes, so there are few.
pub const BODY_WINDOW_PIECES: usize = 1;

/// Changes that one group commit may carry.
pub const COMMIT_CHANGES_MAX: usize = 256;

/// Entries that one list page may ask for.
pub const LIST_LIMIT_MAX: usize = 1000;

/// Entries of a list page when the request names no number.
pub const LIST_LIMIT_DEFAULT: usize = 100;

/// How far another container's clock may be ahead and still be followed.
pub const CLOCK_AHEAD_MS_MAX: u64 = 60_000;

/// How long the others of the site may take to say what they know of an address.
pub const ASK_MAX: Duration = Duration::from_secs(1);

/// Old versions of an object that a container tells of when it is asked where they are; of more, the newest.
pub const LOCATE_VERSIONS_MAX: usize = 100;

/// Changes that wait to be told to the other containers of the site; beyond that those ask for what they lack.
pub const OUTBOX_MAX: usize = 16_384;

/// Sites of a mesh that are known at most.
pub const SITES_MAX: usize = 4096;

/// Containers of another site that are known at most.
pub const FAR_CONTAINERS_MAX: usize = 1024;

/// Collections of other sites that are used at the same time.
pub const COLLECTIONS_USED_MAX: usize = 4096;

/// How long a ticket is good, so that a transfer that broke off can go on.
pub const TICKET_MS: u64 = 3_600_000;

/// Bytes of a pulled object that come in the answer itself where the request allows no more.
pub const INLINE_PULL_BYTES: u64 = 256 << 10;

/// User metadata (`Mesh-Meta-*`) of one object, names and values together.
pub const META_BYTES_MAX: usize = 8 << 10;

/// Longest content type that is kept.
pub const CONTENT_TYPE_BYTES_MAX: usize = 255;

/// How long a request may take when it names no deadline.
pub const REQUEST_DEADLINE_DEFAULT: Duration = Duration::from_secs(30);

/// Hits that wait for the eviction policy; beyond that they are forgotten, never waited for.
pub const TOUCH_BUFFER_ENTRIES: usize = 4096;

/// Collections that have a section of their own in the eviction of a level; others share one with those
/// that name the same policy.
pub const SECTIONS_MAX: usize = 256;

/// Percent of a level that pinned collections may hold, unless it is configured.
pub const PINNED_PERCENT_DEFAULT: u64 = 50;

/// The most that can be configured: the rest is what all others live in.
pub const PINNED_PERCENT_MAX: usize = 90;

/// Wall-clock milliseconds of version ceiling reserved at a time: a restart skips at most this far.
pub const VERSION_RESERVE_MS: u64 = 10_000;

/// How long the client waits for a connection to a container.
pub const CLIENT_CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// How long the client waits for an answer, or for the next piece of one. Longer than a request may
/// take by default, so that the container's own answer comes first.
pub const CLIENT_SILENCE_TIMEOUT: Duration = Duration::from_secs(60);

/// Largest answer that the client holds whole: a full page of a list.
pub const CLIENT_ANSWER_BYTES_MAX: usize = 16 << 20;

/// Messages that may wait for one actor; whoever asks beyond that waits for a place.
pub const ACTOR_QUEUE_MAX: usize = 1024;

/// How often the eviction policy reads what memory noted.
pub const LEARN_PERIOD: Duration = Duration::from_millis(100);

/// How often discarded frames are removed.
pub const COLLECT_PERIOD: Duration = Duration::from_millis(500);

/// How long a read waits for room in memory for what it has read.
pub const PROMOTION_WAIT_MAX: Duration = Duration::from_millis(20);

/// How often a call to the cloud is made before its failure is told.
pub const CLOUD_ATTEMPTS_MAX: u32 = 4;

/// The wait before the second attempt, give or take half; each later wait is twice as long.
pub const CLOUD_BACKOFF_FIRST: Duration = Duration::from_millis(200);

/// The longest wait between two attempts.
pub const CLOUD_BACKOFF_LONGEST: Duration = Duration::from_secs(5);

/// Smallest part of an upload, as clouds ask for it; what is no larger is sent whole.
pub const CLOUD_PART_BYTES_MIN: u64 = 5 << 20;

/// Parts that one upload may have, as clouds ask for it; larger frames have larger parts.
pub const CLOUD_PARTS_MAX: u64 = 10_000;

/// Parts of one upload that are held at once: one on its way while the next one is read.
pub const CLOUD_PARTS_FLYING: usize = 2;

/// Bytes that one call fetches from a frame; longer ranges take several calls.
pub const CLOUD_READ_BYTES_MAX: u64 = 8 << 20;

/// Largest head (manifest as JSON) that is read from the cloud.
pub const CLOUD_HEAD_BYTES_MAX: u64 = 256 << 10;

/// Longest key, once escaped, that names its folder in the cloud; a longer one is cut and hashed.
/// File systems stop at 255 bytes, clouds at 1024 for the whole path.
pub const CLOUD_NAME_BYTES_MAX: usize = 200;

/// How long replaced and deleted versions stay readable when the collection names no time.
pub const RETENTION_S_DEFAULT: u64 = 24 * 3600;

/// Spans that may wait for the trace collector; beyond that they are dropped and counted.
pub const EXPORT_QUEUE_SPANS_MAX: usize = 4096;

/// Spans that one message to the trace collector carries.
pub const EXPORT_BATCH_SPANS_MAX: usize = 512;

/// How long spans gather before they are sent.
pub const EXPORT_PERIOD: Duration = Duration::from_secs(1);

/// The longest wait before a trace collector that failed is tried again.
pub const EXPORT_BACKOFF_MAX: Duration = Duration::from_secs(60);

/// How long the trace collector may take for one message.
pub const EXPORT_TIMEOUT: Duration = Duration::from_secs(5);

/// Characters that are kept of a panic's text.
pub const PANIC_TEXT_CHARS_MAX: usize = 200;

/// Bytes of a JSON body that asks for something.
pub const JSON_BODY_BYTES_MAX: usize = 64 << 10;

/// Attempts to decide a change while others keep changing the same address in memory.
pub const DECIDE_ATTEMPTS_MAX: usize = 64;

/// How long the trace of a delete is kept: a member that was silent for longer rejoins empty.
pub const TOMBSTONE_MS: u64 = 30 * 24 * 3600 * 1000;

/// Things that ended by themselves and are cleared away in one commit.
pub const SWEEP_MAX: usize = 256;

/// How often what ended by itself is looked for.
pub const SWEEP_PERIOD: Duration = Duration::from_millis(500);

/// Rows that one page of a list may pass over.
pub const LIST_SCAN_MAX: usize = 10_000;

/// Collections of one container; each costs a little memory at all times.
pub const COLLECTIONS_MAX: usize = 10_000;

/// How often a caller that waits for what its session has seen looks again.
pub const SESSION_POLL: Duration = Duration::from_millis(20);

/// Policies that a mesh has, those that were removed among them.
pub const POLICIES_MAX: usize = 512;

/// Versions of each that are kept.
pub const POLICY_VERSIONS_MAX: usize = 32;

/// So far ahead of the own clock a version of a policy may be.
pub const POLICY_AHEAD_MAX_MS: u64 = 24 * 3600 * 1000;

/// Sites and collections that one policy names.
pub const POLICY_NAMES_MAX: usize = 256;

/// Collections for which it is remembered what policies mean for them.
pub const VERDICTS_MAX: usize = 4096;

/// Longest policy that a door reads.
pub const POLICY_BYTES_MAX: usize = 64 << 10;

/// Share of the disk's budget beyond which what is owed to the cloud is paid without being asked for.
pub const OWED_HIGH_PERCENT: u64 = 80;

/// Share of the disk's budget down to which it is then paid.
pub const OWED_LOW_PERCENT: u64 = 60;

/// Share of the disk's budget beyond which objects that the cloud has leave the disk.
pub const DISK_HIGH_PERCENT: u64 = 90;

/// Share of the disk's budget down to which they leave.
pub const DISK_LOW_PERCENT: u64 = 80;

/// Debts to the cloud that one round pays, or objects that one round lets go of.
pub const SYNC_ROUND_MAX: usize = 64;

/// Transfers of one round at the same time.
pub const SYNC_FLYING: usize = 4;

/// Objects that one step of the search for what may leave the disk looks at.
pub const SYNC_SCAN_MAX: usize = 2_000;

/// How often the watermarks are looked at.
pub const SYNC_PERIOD: Duration = Duration::from_millis(500);

/// Milliseconds for which the cloud is left alone after a failure, at first.
pub const SYNC_PAUSE_FIRST_MS: u64 = 1_000;

/// Milliseconds for which it is left alone at most.
pub const SYNC_PAUSE_LONGEST_MS: u64 = 60_000;

/// Versions that cannot be sent and are remembered as such.
pub const SYNC_SKIPPED_MAX: usize = 10_000;

/// Disk reads that are remembered when objects are chosen to leave the disk, twice over.
pub const RECENT_READS_MAX: usize = 8_192;

/// Largest frame that a read of the whole object brings back from the cloud to the disk first; what is
/// larger is read where it is.
pub const CLOUD_FETCH_BYTES_MAX: u64 = 64 << 20;

/// Room on the disk that a body of unknown length asks for at a time.
pub const DISK_GRANT_BYTES: u64 = 64 << 20;

/// Rounds of the scrub that are remembered.
pub const SCRUB_HISTORY_MAX: usize = 32;

/// Objects that the scrub checks in one stretch; between two stretches it can be stopped and remembered.
pub const SCRUB_STRETCH_MAX: usize = 64;

/// Rows that one stretch of a walk through everything may pass over.
pub const WALK_SCAN_MAX: usize = 4096;

/// How often the scrub writes down how far it is.
pub const SCRUB_SAVE_MS: u64 = 1000;

/// How often the scrub looks whether its time has come.
pub const SCRUB_IDLE_POLL: Duration = Duration::from_millis(200);

/// How long it is waited until copies that a policy forbids are let go of, where that failed.
pub const OBEY_RETRY: Duration = Duration::from_secs(1);

/// How long the scrub waits after it could not go on.
pub const SCRUB_RETRY: Duration = Duration::from_secs(1);

/// Shortest pause of the scrub: shorter ones are saved up.
pub const SCRUB_PAUSE_LEAST: Duration = Duration::from_millis(5);

/// Quarantined copies that a report names.
pub const QUARANTINE_NAMED_MAX: usize = 1000;

/// Events that are kept for readers that fell behind or come back.
pub const EVENTS_KEPT: usize = 4096;

/// Events that one reader is handed at a time.
pub const EVENTS_AT_ONCE: usize = 64;

/// Readers of events at the same time.
pub const EVENT_READERS_MAX: usize = 64;

/// Operations of one batch.
pub const BATCH_PARTS_MAX: usize = 1000;

/// Bytes of the body of one operation of a batch: what is larger is pushed by itself.
pub const BATCH_PART_BYTES_MAX: u64 = 1 << 20;

/// Bytes of the headers of one part of a batch.
pub const BATCH_HEAD_BYTES_MAX: usize = 16 << 10;

/// Operations of a batch that are at work at the same time: enough to read and seal the next ones while a group
/// is being committed. Each takes memory until it is done, and more of them than the caches hold makes all slower.
pub const BATCH_WINDOW_PARTS: usize = 128;

/// Bytes of bodies that a batch holds before it reads on.
pub const BATCH_WINDOW_BYTES: u64 = 1 << 20;

/// Batches at work at the same time; each holds a window and one part.
pub const BATCHES_MAX: usize = 16;

/// Lines of the audit that are kept in memory; the log has them all.
pub const AUDIT_LINES_MAX: usize = 1000;

/// Characters of a path that a line of the audit repeats.
pub const AUDIT_PATH_CHARS_MAX: usize = 300;

/// How often the files of the door's certificate are looked at.
pub const TLS_LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Bearers and addresses whose requests are counted apart; beyond that strangers are counted together.
pub const RATE_BUCKETS_MAX: usize = 10_000;

/// One of so many places at the door is kept free for who comes next.
pub const SPARE_PLACES_PART: usize = 8;

/// How often it is looked whether the door is crowded.
pub const CROWD_LOOK_PERIOD: Duration = Duration::from_millis(50);

/// How long a new connection may say nothing before it must make room at a crowded door.
pub const CROWD_HEAD_PATIENCE: Duration = Duration::from_millis(100);

/// How long a connection may rest, or a push wait for its turn or its body, before it must make room there.
pub const CROWD_PATIENCE: Duration = Duration::from_secs(1);

/// A body that comes more slowly than this makes room at a crowded door.
pub const DRIBBLE_BYTES_PER_S: u64 = 1024;

/// Connections that may wait for a place at the door.
pub const LISTEN_QUEUE_MAX: u32 = 1024;

/// Headers of one request. The web server's own bound; a test keeps this number true.
pub const HEADERS_MAX: usize = 96;

/// Bytes of one request's head. The web server's own bound; a test keeps this number true.
pub const HEAD_BYTES_MAX: usize = 128 << 10;

/// Longest subject or group of a token.
pub const SUBJECT_BYTES_MAX: usize = 128;

/// Groups that one token may name.
pub const TOKEN_GROUPS_MAX: usize = 32;

/// Scopes that one token may have.
pub const TOKEN_SCOPES_MAX: usize = 64;

/// Tokens that are kept, those that ended lately among them.
pub const TOKENS_MAX: usize = 10_000;

/// How long a token that ended is still listed, so that an audit line can be matched to it.
pub const TOKEN_MEMORY_MS: u64 = 30 * 24 * 3_600_000;

/// Characters of an answer that says what went wrong; an input that it repeats is cut.
pub const PROBLEM_CHARS_MAX: usize = 2_000;

/// Keys that a keyring may hold.
pub const KEYS_MAX: usize = 256;

/// Longest file of a keyring, or of an exported one.
pub const KEYS_FILE_BYTES_MAX: u64 = 256 << 10;

/// Shortest passphrase that an exported keyring may be sealed under.
pub const PASSPHRASE_CHARS_MIN: usize = 12;

/// How often the keys' actor looks whether the keyring's file changed.
pub const KEYS_LOOK_PERIOD: Duration = Duration::from_secs(1);

/// Manifests that one commit of a rewrap may change.
pub const REWRAP_STRETCH_MAX: usize = 256;

/// The rest between two stretches of a rewrap, so that pushes go first.
pub const REWRAP_PAUSE: Duration = Duration::from_millis(5);

/// The rest after a stretch of a rewrap that failed.
pub const REWRAP_RETRY: Duration = Duration::from_secs(1);
