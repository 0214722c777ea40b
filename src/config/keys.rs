//! Every configuration key: name, type, default, meaning. The only place where a key is declared.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::Host;
use super::budget;
use super::bus::{BusMode, BusUrl, Receivers};
use super::declare::{Key, Reader, settings};
use super::mesh::MeshInvitation;
use super::shape::{
    ADDR, BUS, BUS_URL, CLOUD, COLLECTOR, DOOR_URL, EVICTION, FORMAT, LEVEL, MESH_INVITATION, MILLIS, NAME,
    OPTIONAL_PATH, PATH, RECEIVERS, REST, SHARE, SIZE, SIZE_OR_AUTO, TRUTH, count,
};
use crate::limits::{PINNED_PERCENT_DEFAULT, PINNED_PERCENT_MAX};
use crate::model::{CloudUrl, EvictionKind, Name};
use crate::telemetry::{LevelFilter, LogFormat, Sample};

settings! { host;
    /// The place this container belongs to.
    site: SiteConfig {
        /// Name of the site: lower-case letters, digits and hyphens.
        name: Name = NAME, "local";
    }

    /// This process.
    container: ContainerConfig {
        /// Name of the container, unique in its site.
        name: Name = NAME, "c1";
    }

    /// Where durable bytes rest.
    data: DataConfig {
        /// Folder of the store and of the sealed objects; made at the first start.
        dir: PathBuf = PATH, "$XDG_DATA_HOME/meshstore or ~/.local/share/meshstore" => host.data_dir();
        /// Sealed bytes that the disk should hold at most, or `auto`: what it holds at the start and nine
        /// tenths of what is free then. When it fills up, what is owed to the cloud is paid (from 80 %) and
        /// what the cloud has leaves the disk (from 90 %). Bodies on their way may pass it.
        budget_bytes: Option<u64> = SIZE_OR_AUTO, "auto";
    }

    /// The keyring that opens sealed objects.
    keys: KeysConfig {
        /// File of the keyring, readable by its owner only; made at the first start. Without it
        /// nothing that was sealed can be read again.
        file: PathBuf = PATH, "keys.toml in data.dir" => data.dir.join("keys.toml");
    }

    /// The HTTP door.
    http: HttpConfig {
        /// Address it listens at; port 0 takes a free one.
        addr: SocketAddr = ADDR, "127.0.0.1:7700";
        /// URL under which others reach the door, for the tickets that are handed out on the bus; `auto` is where
        /// it listens.
        public_url: Option<String> = DOOR_URL, "auto";
        /// Whether to listen beyond loopback without TLS, where all who share the network can read along.
        plaintext: bool = TRUTH, "false";
        /// Threads that serve HTTP.
        workers: usize = count::<1, 256>("a number from 1 to 256"), "the number of cores, at most 4" => host.cores.clamp(1, 4);
        /// How long the head of a connection's first request may take to arrive, and before it the
        /// handshake of TLS, in milliseconds.
        head_timeout_ms: u64 = MILLIS, "10000";
        /// The longest pause inside a body, in either direction, in milliseconds: who sends or takes
        /// nothing for so long is cut off.
        stall_timeout_ms: u64 = MILLIS, "30000";
        /// How long a connection may idle between two requests, in milliseconds.
        idle_timeout_ms: u64 = MILLIS, "75000";
        /// How long a reader of events hears nothing before a comment is sent, in milliseconds.
        events_keep_alive_ms: u64 = MILLIS, "15000";
    }

    /// Encryption of what goes through the door. Both files are read again on SIGHUP and when they change;
    /// connections that are open stay open.
    tls: TlsConfig {
        /// Certificate chain in PEM, the container's own first. With it the door speaks TLS only.
        cert: Option<PathBuf> = OPTIONAL_PATH, "none" => None;
        /// Private key of the certificate in PEM, readable by its owner only.
        key: Option<PathBuf> = OPTIONAL_PATH, "none" => None;
        /// Certificates in PEM of the only authority by which the doors of the site's other containers are
        /// trusted; without it what the host trusts counts.
        ca: Option<PathBuf> = OPTIONAL_PATH, "none" => None;
    }

    /// How containers talk to each other, and programs with them over NATS.
    bus: BusConfig {
        /// `auto`, `local` or the URL of a NATS server of 2.12 or later. `local` keeps the bus in process. `auto`
        /// takes `bus.url` if it is set, else a server at 127.0.0.1:4222, else starts the `nats-server` found on
        /// PATH there, else stays in process; the ready line says which.
        mode: BusMode = BUS, "auto";
        /// URL of the server that `auto` takes, or `off`; without it the variable NATS_URL counts.
        url: Option<BusUrl> = BUS_URL, "off";
        /// To which addresses an object is brought where a pull names one with `Mesh-Receive`: `none`, those on this
        /// host (`loopback`) or `any`. With `any` whoever may read an object may have it sent to whatever the
        /// container reaches.
        receivers: Receivers = RECEIVERS, "loopback, or none where the bus is beyond loopback" => Receivers::usual(&mode, &url);
    }

    /// The sites that this one shares data with.
    mesh: MeshConfig {
        /// What `site join` wrote of the hub's invitation, or `off`: the hub's name, its keys and the word that lets this
        /// site in. It counts until the site is in.
        invitation_secret: Option<MeshInvitation> = MESH_INVITATION, "off";
    }

    /// Who may use the container.
    auth: AuthConfig {
        /// Whether each request needs a token. Beyond loopback always, at the door and on the bus. A token that is sent is
        /// checked in any case.
        required: bool = TRUTH, "true where the door or the bus is beyond loopback" => !http.addr.ip().is_loopback() || bus.is_beyond_loopback();
        /// File of the first token, which may do everything; readable by its owner only. Made at the first
        /// start at which tokens are required; if it is removed, the next start makes another and ends this one.
        root_token_file: PathBuf = PATH, "root.token in data.dir" => data.dir.join("root.token");
    }

    /// Level 1: plain bytes in memory.
    memory: MemoryConfig {
        /// Working memory of the whole process: level 1, caches and bodies on their way.
        budget_bytes: u64 = SIZE, "512MiB";
        /// Bytes of objects that level 1 holds; beyond that, objects are evicted.
        level1_bytes: u64 = SIZE, "half of memory.budget_bytes" => budget_bytes / 2;
        /// Who leaves a full level 1 first, for collections that name no policy of their own: `w-tinylfu` and `lfu`
        /// keep what is asked for often, `lru` what was asked for last.
        eviction: EvictionKind = EVICTION, "w-tinylfu";
        /// Percent of level 1 that pinned collections may hold; what they hold beyond that leaves like any
        /// other object.
        pinned_percent_max: usize = count::<0, PINNED_PERCENT_MAX>("a number from 0 to 90"), "50" => PINNED_PERCENT_DEFAULT as usize;
    }

    /// The embedded database of manifests and small objects.
    store: StoreConfig {
        /// Bytes of its page cache, part of memory.budget_bytes.
        cache_bytes: u64 = SIZE, "32MiB, at most an eighth of memory.budget_bytes" => (memory.budget_bytes / 8).min(32 << 20);
    }

    /// Level 3: sealed bytes in a cloud.
    cloud: CloudConfig {
        /// Where it is: a folder, as a path or as file:///path; containers of a site may share one.
        /// `none` switches level 3 off.
        url: Option<CloudUrl> = CLOUD, "folder cloud in data.dir" => Some(CloudUrl::Folder(data.dir.join("cloud")));
        /// Calls to it that are on their way at once.
        concurrency: usize = count::<1, 256>("a number from 1 to 256"), "8";
        /// How long a small call may take (a question, a manifest, a range), in milliseconds; one that
        /// fails in passing is made four times.
        timeout_ms: u64 = MILLIS, "10000";
        /// How long one part of an upload, or putting its parts together, may take, in milliseconds.
        upload_timeout_ms: u64 = MILLIS, "300000";
    }

    /// Sealing: compression, encryption and checks.
    nfr: NfrConfig {
        /// Threads that seal and open chunks; 0 means the number of cores.
        workers: usize = count::<0, 1024>("a number from 0 to 1024"), "0";
    }

    /// The reading of every sealed byte now and then, so that damage is found before somebody needs the bytes.
    scrub: ScrubConfig {
        /// Sealed bytes read in a second.
        bytes_per_s: u64 = SIZE, "16MiB";
        /// The rest between two rounds; `off` leaves only rounds that are asked for.
        every: Option<Duration> = REST, "7d";
    }

    /// What one container takes on; beyond a limit the answer is `busy` or `too_large`.
    limits: LimitsConfig {
        /// Connections in all; further ones wait until one of these ends. One in eight places is kept free: beyond
        /// that, who does not ask, rests or dribbles is ended, and pushes whose turn has not come hear `busy`. Each
        /// may hold a piece of a body that waits for its turn, so their number is part of the memory budget.
        connections_max: usize = count::<1, 1_000_000>("a number from 1 to 1000000"), "as many as memory.budget_bytes has room for, 8 to 4096" => budget::connections(memory.budget_bytes, memory.level1_bytes, store.cache_bytes);
        /// Requests a second from one bearer of a token, or without a token from one address; 0 for no
        /// limit. Beyond it the answer is `busy` and says when to come back.
        requests_per_s: usize = count::<0, 1_000_000_000>("a number from 0 to 1000000000"), "1000 where the door or the bus is beyond loopback, else 0" => if http.addr.ip().is_loopback() && !bus.is_beyond_loopback() { 0 } else { 1000 };
        /// Requests in flight at once.
        requests_max: usize = count::<1, 1_000_000>("a number from 1 to 1000000"), "1024";
        /// Plain bytes of the largest object.
        object_bytes_max: u64 = SIZE, "1TiB";
        /// How long a request may take when it names no deadline, in milliseconds.
        request_deadline_ms: u64 = MILLIS, "30000";
    }

    /// What the process says on stderr.
    log: LogConfig {
        /// `human` for reading, `json` for programs (one object a line), `auto` for human on a terminal and json elsewhere.
        format: LogFormat = FORMAT, "auto";
        /// How much is said.
        level: LevelFilter = LEVEL, "info";
    }

    /// What the container tells of its requests beside metrics; see docs/metrics.md.
    telemetry: TelemetryConfig {
        /// URL of a trace collector that takes OTLP over HTTP, such as `http://127.0.0.1:4318`; `/v1/traces` is added
        /// to it. `off` sends nothing.
        otlp_url: Option<String> = COLLECTOR, "off";
        /// Share of new traces that is sent; what callers ask for with `traceparent` comes on top.
        sample: Sample = SHARE, "1";
    }
}
