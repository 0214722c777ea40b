//! The table of all operations of the HTTP door: what works, and nothing else.
//!
//! An operation that is built is written down here, or a test fails; so does one that is written down and
//! does not work.

/// An operation: a method on a path.
pub(super) struct Operation {
    pub(super) method: &'static str,
    /// With `{parameters}`.
    pub(super) path: &'static str,
    /// Its name in programs.
    pub(super) id: &'static str,
    pub(super) group: &'static str,
    pub(super) summary: &'static str,
    /// Parameters of the query and headers; those of the path are known by their names.
    pub(super) parameters: &'static [Parameter],
    /// What is sent.
    pub(super) body: Option<Body>,
    /// What comes back when it goes well: status, content type (none: no body), meaning.
    pub(super) answers: &'static [(u16, Option<&'static str>, &'static str)],
    /// The kinds of errors that it has reasons of its own for.
    pub(super) errors: &'static [&'static str],
}

/// A parameter.
#[derive(Clone, Copy)]
pub(super) struct Parameter {
    /// `query`, `header` or `path`.
    pub(super) place: &'static str,
    pub(super) name: &'static str,
    /// A type of JSON schema.
    pub(super) shape: &'static str,
    pub(super) meaning: &'static str,
}

/// What is sent.
#[derive(Clone, Copy)]
pub(super) struct Body {
    pub(super) content_type: &'static str,
    pub(super) meaning: &'static str,
    pub(super) required: bool,
}

const JSON: Option<&str> = Some("application/json");

const fn query(name: &'static str, shape: &'static str, meaning: &'static str) -> Parameter {
    Parameter { place: "query", name, shape, meaning }
}

const fn header(name: &'static str, meaning: &'static str) -> Parameter {
    Parameter { place: "header", name, shape: "string", meaning }
}

const fn json(meaning: &'static str, required: bool) -> Option<Body> {
    Some(Body { content_type: "application/json", meaning, required })
}

/// What the parameters of paths mean.
pub(super) const IN_PATHS: [Parameter; 5] = [
    Parameter {
        place: "path",
        name: "collection",
        shape: "string",
        meaning: "Name of a collection: `[a-z0-9][a-z0-9-]{0,62}`.",
    },
    Parameter { place: "path", name: "key", shape: "string", meaning: "Key of an object; may hold `/`." },
    Parameter { place: "path", name: "name", shape: "string", meaning: "Name of a collection, or of a policy." },
    Parameter { place: "path", name: "id", shape: "string", meaning: "Id of a token, as it is listed." },
    Parameter { place: "path", name: "level", shape: "string", meaning: "`ram` or `disk`." },
];

const DEADLINE: Parameter = header("Mesh-Deadline-Ms", "How long to wait at most, in milliseconds (default 30000).");
const SESSION: Parameter =
    header("Mesh-Session", "What the caller has seen so far, as a reply gave it; the answer is not older.");
const IF_MATCH: Parameter = header("If-Match", "Only if this is the current version: an ETag, or `*` for any.");
const IF_NONE_MATCH: Parameter =
    header("If-None-Match", "`*`: only if nothing is there. With a read: an ETag that is known already.");
const VERSION: Parameter = query("version", "string", "An old version, within the collection's retention.");
const PREFIX: Parameter = query("prefix", "string", "What keys start with.");
const AFTER: Parameter = query("after", "string", "Go on behind this one: `next` of the page before.");
const LIMIT: Parameter = query("limit", "integer", "Entries of the page, 1 to 1000 (default 100).");
const ANY: Option<&str> = Some("application/octet-stream");

/// Parameters of a read.
const READ: &[Parameter] = &[
    VERSION,
    header("Range", "One range of bytes: `bytes=0-99`."),
    header("If-Range", "The range counts for this version alone."),
    IF_MATCH,
    IF_NONE_MATCH,
    SESSION,
    header("Mesh-Mode", "`direct` or `storage`: whether what another container keeps is copied to this one's disk."),
    header("Accept", "`application/vnd.meshstore.frame` with `version`: the sealed bytes as they rest."),
    DEADLINE,
];
const HEAD: &[Parameter] = &[VERSION, IF_MATCH, IF_NONE_MATCH, SESSION, DEADLINE];
/// Conditions on the revision of a collection.
const REVISION: &[Parameter] = &[
    header("If-Match", "Only if this is the current revision: `\"3\"`."),
    header("If-None-Match", "`*`: only if there is no such collection yet."),
];

/// Conditions on the version of a policy of the mesh.
const RULING: &[Parameter] = &[
    header("If-Match", "Only if this is the version that rules: the ETag."),
    header("If-None-Match", "`*`: only if no policy of this name rules yet."),
];

/// An operation that takes nothing and tells something as JSON.
const fn tell(path: &'static str, id: &'static str, group: &'static str, summary: &'static str) -> Operation {
    Operation {
        method: "GET",
        path,
        id,
        group,
        summary,
        parameters: &[],
        body: None,
        answers: &[(200, JSON, "As asked.")],
        errors: &[],
    }
}

/// All of them, in the order in which they are shown.
pub(super) const OPERATIONS: &[Operation] = &[
    Operation {
        method: "PUT",
        parameters: &[
            header("Content-Type", "Kept and given back."),
            header("Mesh-Durability", "When to acknowledge: `ram` or `disk`."),
            header(
                "Mesh-Nfr",
                "How to seal: `encrypt=aes256gcm|none; compress=auto|zstd|lz4|none; digest=blake3|sha256`.",
            ),
            header("Mesh-Ttl-S", "How long the object lives, in seconds."),
            header("Content-Digest", "Checked before the acknowledgement: `sha-256=:…:`."),
            header("Mesh-Meta-*", "Metadata of your own, kept and given back."),
            IF_MATCH,
            IF_NONE_MATCH,
            SESSION,
            DEADLINE,
        ],
        body: Some(Body { content_type: "application/octet-stream", meaning: "The object's bytes.", required: true }),
        answers: &[(201, JSON, "Stored; nothing was there."), (200, JSON, "Stored over an older version.")],
        errors: &["invalid", "already_exists", "precondition_failed", "too_large"],
        ..tell("/v1/objects/{collection}/{key}", "push", "Objects", "Store an object.")
    },
    Operation {
        parameters: READ,
        answers: &[
            (200, ANY, "The object's bytes."),
            (206, ANY, "The range's bytes."),
            (304, None, "The version that `If-None-Match` names is the current one."),
        ],
        errors: &["invalid", "not_found", "precondition_failed", "bad_range", "not_yet", "corrupt"],
        ..tell("/v1/objects/{collection}/{key}", "pull", "Objects", "Read an object or a range of it.")
    },
    Operation {
        method: "HEAD",
        parameters: HEAD,
        answers: &[(200, None, "What is known of the object, as headers."), (304, None, "As with GET.")],
        errors: &["invalid", "not_found", "precondition_failed", "not_yet"],
        ..tell("/v1/objects/{collection}/{key}", "head", "Objects", "What is known of an object.")
    },
    Operation {
        method: "DELETE",
        parameters: &[IF_MATCH, SESSION, DEADLINE],
        answers: &[(204, None, "It is gone, or was not there.")],
        errors: &["invalid", "precondition_failed"],
        ..tell("/v1/objects/{collection}/{key}", "delete", "Objects", "Delete an object.")
    },
    Operation {
        parameters: &[PREFIX, AFTER, LIMIT, SESSION, DEADLINE],
        errors: &["invalid", "not_yet"],
        ..tell(
            "/v1/objects/{collection}",
            "list",
            "Objects",
            "A page of a collection's keys, in the order of their bytes.",
        )
    },
    Operation {
        parameters: &[SESSION, DEADLINE],
        errors: &["invalid", "not_found", "not_yet"],
        ..tell(
            "/v1/locate/{collection}/{key}",
            "locate",
            "Objects",
            "Every copy of an object in the site, the newest version first; `Mesh-Unasked` names who did not answer.",
        )
    },
    Operation {
        method: "POST",
        body: Some(Body {
            content_type: "multipart/mixed",
            meaning: "Parts of type `application/http`, each a PUT, GET, HEAD or DELETE of an object or a list; 1000 at most.",
            required: true,
        }),
        answers: &[(200, Some("multipart/mixed"), "An answer for each part, in their order.")],
        errors: &["invalid", "too_large", "busy"],
        ..tell("/v1/batch", "batch", "Objects", "Many operations in one request.")
    },
    tell("/v1/collections", "listCollections", "Collections", "Every collection, its policy and what it holds."),
    Operation {
        errors: &["not_found"],
        ..tell("/v1/collections/{name}", "showCollection", "Collections", "A collection, its policy and what it holds.")
    },
    Operation {
        method: "PUT",
        parameters: REVISION,
        body: json(
            "The whole policy; what is left out is as by default: `{\"durability\":\"disk\",\"ttl_s\":\"7d\"}`.",
            false,
        ),
        answers: &[(201, JSON, "It is new."), (200, JSON, "Its policy was set.")],
        errors: &["invalid", "precondition_failed", "too_large"],
        ..tell("/v1/collections/{name}", "setCollection", "Collections", "Make a collection, or set its policy.")
    },
    Operation {
        method: "DELETE",
        parameters: REVISION,
        answers: &[(204, None, "It is gone, or was not there.")],
        errors: &["precondition_failed"],
        ..tell("/v1/collections/{name}", "removeCollection", "Collections", "Remove an empty collection.")
    },
    tell("/v1/policies", "listPolicies", "Policies", "What the sites of the mesh may do with which collections."),
    Operation {
        errors: &["not_found"],
        ..tell("/v1/policies/{name}", "showPolicy", "Policies", "A policy of the mesh, and its past.")
    },
    Operation {
        method: "PUT",
        parameters: RULING,
        body: json("The whole policy: `{\"collections\":[\"patient-*\"],\"hold\":[\"edge\"],\"cloud\":false}`.", true),
        answers: &[(201, JSON, "It is new."), (200, JSON, "It was changed.")],
        errors: &["invalid", "precondition_failed", "too_large"],
        ..tell("/v1/policies/{name}", "setPolicy", "Policies", "Set a policy, at all sites.")
    },
    Operation {
        method: "DELETE",
        parameters: RULING,
        answers: &[(204, None, "It rules no more.")],
        errors: &["not_found", "precondition_failed"],
        ..tell("/v1/policies/{name}", "removePolicy", "Policies", "Remove a policy, at all sites.")
    },
    Operation {
        parameters: &[
            query("collection", "string", "Only of this collection."),
            query("kind", "string", "Only of these kinds: `push,delete,expire,evict,collection,conflict`."),
            query(
                "scope",
                "string",
                "`container` (this one) or `site` (all of them; there is no place to go on from).",
            ),
            header("Last-Event-ID", "Go on behind this event."),
        ],
        answers: &[(200, Some("text/event-stream"), "Events as they happen, until the container is drained.")],
        errors: &["invalid", "busy", "unavailable"],
        ..tell("/v1/events", "watchEvents", "Events", "What happens, as it happens (server-sent events).")
    },
    Operation {
        parameters: &[
            query("collection", "string", "Only of this collection."),
            query("key", "string", "Only of this object, together with its collection."),
            AFTER,
            LIMIT,
            DEADLINE,
        ],
        errors: &["invalid"],
        ..tell("/v1/transfers", "listTransfers", "Cloud", "What the cloud is still to get, oldest first.")
    },
    Operation {
        method: "POST",
        parameters: &[
            query("collection", "string", "Only of this collection."),
            query("key", "string", "Only of this object, together with its collection."),
            DEADLINE,
        ],
        errors: &["invalid", "unavailable", "deadline"],
        ..tell(
            "/v1/sync",
            "sync",
            "Cloud",
            "Send to the cloud now what is owed to it, and wait for that. `owed` is what all of the container still owes.",
        )
    },
    tell("/v1/admin/tiers", "showTiers", "Administration", "How full each level is and how it served."),
    Operation {
        parameters: &[query("prefix", "string", "What addresses start with."), AFTER, LIMIT],
        errors: &["invalid"],
        ..tell("/v1/admin/tiers/{level}/objects", "listLevel", "Administration", "What a level holds.")
    },
    tell("/v1/admin/actors", "showActors", "Administration", "How each actor is doing: queue, restarts, last error."),
    tell("/v1/admin/queues", "showQueues", "Administration", "What waits, the limits it waits at, and what was lost."),
    tell(
        "/v1/admin/sites",
        "showSites",
        "Administration",
        "The sites of the mesh that are known, the container's own first.",
    ),
    tell("/v1/admin/containers", "showContainers", "Administration", "The containers of the site, this one first."),
    tell(
        "/v1/admin/peers",
        "showPeers",
        "Administration",
        "How far each other container is ahead or behind, and what came of requests to it.",
    ),
    tell("/v1/admin/config", "showConfig", "Administration", "Every key of the configuration, without secrets."),
    Operation {
        method: "POST",
        parameters: &[DEADLINE],
        body: json("What is to leave: `{\"level\":\"ram\",\"collection\":…,\"key\":…,\"bytes\":…}`.", true),
        errors: &["invalid", "deadline"],
        ..tell(
            "/v1/admin/evict",
            "evict",
            "Administration",
            "Let copies leave memory or the disk; what is nowhere else is written to the next level first.",
        )
    },
    Operation {
        method: "POST",
        parameters: &[DEADLINE],
        body: json(
            "Nothing, or `{\"hand_over\":true}`: the other containers of the site are to keep what this one keeps.",
            false,
        ),
        errors: &["invalid", "deadline"],
        ..tell(
            "/v1/admin/drain",
            "drain",
            "Administration",
            "Take no more changes until started anew, and write out what memory alone holds; hand over what is kept.",
        )
    },
    tell(
        "/v1/admin/scrub",
        "showScrub",
        "Administration",
        "How far the scrub is, what it found, what is in quarantine.",
    ),
    Operation {
        method: "POST",
        body: json("Nothing, or `{}`.", false),
        answers: &[(202, JSON, "It goes on by itself.")],
        ..tell("/v1/admin/scrub", "startScrub", "Administration", "Read every sealed byte once, at the set pace.")
    },
    tell("/v1/admin/repair", "showLosses", "Administration", "What a salvage of a damaged store could not bring back."),
    Operation {
        method: "POST",
        body: json("Nothing, or `{}`.", false),
        ..tell(
            "/v1/admin/repair",
            "acceptLosses",
            "Administration",
            "Accept those losses: what is not found from here on does not exist.",
        )
    },
    tell(
        "/v1/admin/keys",
        "listKeys",
        "Administration",
        "Every key of the keyring by its id, and how far data keys are wrapped anew.",
    ),
    Operation {
        method: "POST",
        body: json("Nothing, or `{}`.", false),
        answers: &[(201, JSON, "The keys, with the new one; it wraps nothing yet.")],
        errors: &["unavailable", "too_large"],
        ..tell("/v1/admin/keys", "createKey", "Administration", "Make a key, to be shared out before it is used.")
    },
    Operation {
        method: "POST",
        body: json("`{\"to\":\"0123456789abcdef\"}` for a key that is there; without it a new one is made.", false),
        answers: &[(202, JSON, "It wraps from here on; what is there is wrapped anew by itself.")],
        errors: &["invalid", "unavailable"],
        ..tell("/v1/admin/keys/rotate", "rotateKeys", "Administration", "Let another key wrap the data keys.")
    },
    tell("/v1/admin/audit", "showAudit", "Administration", "Who administered what, latest first."),
    tell("/v1/admin/tokens", "listTokens", "Administration", "Every token: whose it is, what it allows, until when."),
    Operation {
        method: "POST",
        body: json("`{\"subject\":\"ada\",\"scopes\":[\"read:meteo\"],\"expires_in_s\":2592000}`.", true),
        answers: &[(201, JSON, "The token; it is shown this once.")],
        errors: &["invalid"],
        ..tell("/v1/admin/tokens", "createToken", "Administration", "Make a token.")
    },
    Operation {
        errors: &["invalid", "not_found"],
        ..tell("/v1/admin/tokens/{id}", "showToken", "Administration", "What a token allows, and until when.")
    },
    Operation {
        method: "DELETE",
        answers: &[(204, None, "It counts no more.")],
        errors: &["invalid", "not_found"],
        ..tell("/v1/admin/tokens/{id}", "revokeToken", "Administration", "End a token at once.")
    },
    Operation {
        answers: &[(200, Some("application/openmetrics-text"), "Every metric; `docs/metrics.md` says what they mean.")],
        ..tell("/metrics", "metrics", "About", "What is counted and measured, for Prometheus and the like.")
    },
    tell("/healthz", "health", "About", "Whether the process lives."),
    Operation {
        errors: &["unavailable"],
        ..tell("/readyz", "ready", "About", "Whether it takes requests of every kind.")
    },
    tell("/openapi.json", "openapi", "About", "This description."),
    Operation {
        answers: &[(200, Some("text/html"), "A page.")],
        ..tell("/api", "api", "About", "This description as a page to browse and try.")
    },
];
