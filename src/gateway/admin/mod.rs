//! `/v1/admin`: what is inside a container, and what an operator may ask of it. One file an endpoint.
//!
//! Everything here is asked of the [`Admin`] behind the door; nothing is on the path of a request for
//! an object.

mod actors;
mod body;
mod config;
mod containers;
mod drain;
mod evict;
mod keys;
mod objects;
mod peers;
mod queues;
mod repair;
mod scrub;
mod sites;
mod tiers;
mod tokens;

use actix_web::HttpResponse;
use actix_web::dev::{Payload, RequestHead};
use actix_web::http::header::{CACHE_CONTROL, HeaderValue};
use actix_web::http::{Method, StatusCode};
use futures_util::future::BoxFuture;
use serde::{Serialize, Serializer};

pub use actors::{ActorReport, ErrorReport};
pub use config::SettingReport;
pub use containers::{ContainerReport, LoadReport, OwnReport, RecoveryReport};
pub use drain::{DrainReport, HandedOverReport};
pub use evict::{EvictReport, Evictable};
pub use keys::{KeyChange, KeyReport, KeysReport, RewrapReport};
pub use objects::{Entry, ObjectsPage, ObjectsQuery};
pub use peers::PeerReport;
pub use queues::QueueReport;
pub use repair::RepairReport;
pub use scrub::{QuarantineReport, RoundReport, ScrubReport};
pub use sites::{BusReport, SiteReport};
pub use tiers::TierReport;

use std::time::Duration;

use super::server::Shared;
use super::{audit, date, path, problem, reply};
use crate::error::{Error, Result};
use crate::model::{Level, TokenId};

/// The container as an operator sees it.
pub trait Admin: Send + Sync + 'static {
    /// How full each level is and how it served.
    fn tiers(&self) -> BoxFuture<'static, Result<Vec<TierReport>>>;

    /// A page of what a level holds.
    fn objects(&self, level: Level, query: ObjectsQuery) -> BoxFuture<'static, Result<ObjectsPage>>;

    /// How each actor is doing.
    fn actors(&self) -> Vec<ActorReport>;

    /// What waits, and the limits it waits at.
    fn queues(&self) -> BoxFuture<'static, Result<Vec<QueueReport>>>;

    /// The sites that are known.
    fn sites(&self) -> Vec<SiteReport>;

    /// The containers of the site, this one first.
    fn containers(&self) -> Vec<ContainerReport>;

    /// How it stands with the other containers of the site.
    fn peers(&self) -> Vec<PeerReport>;

    /// Every key of the configuration.
    fn config(&self) -> Vec<SettingReport>;

    /// Lets entries of a level go, as far as the rules allow.
    fn evict(&self, evict: Evictable, deadline: Duration) -> BoxFuture<'static, Result<EvictReport>>;

    /// How far the scrub is; begins a round first if that is wanted.
    fn scrub(&self, start: bool) -> BoxFuture<'static, Result<ScrubReport>>;

    /// What a salvage of the store lost; accepts the losses first if that is wanted.
    fn repair(&self, accept: bool) -> BoxFuture<'static, Result<RepairReport>>;

    /// Which keys there are, by name, and how far data keys are wrapped anew.
    fn keys(&self) -> BoxFuture<'static, Result<KeysReport>>;

    /// Changes the keyring.
    fn change_keys(&self, change: KeyChange) -> BoxFuture<'static, Result<KeysReport>>;

    /// Takes no more changes and writes out what memory alone holds; where it goes for good, hands over what is kept.
    fn drain(&self, deadline: Duration, hand_over: bool) -> BoxFuture<'static, Result<DrainReport>>;
}

/// What is asked of the admin door.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Task {
    Tiers,
    Objects(Level),
    Actors,
    Queues,
    Sites,
    Containers,
    Peers,
    Config,
    Evict,
    Drain,
    Scrub { start: bool },
    Repair { accept: bool },
    Audit,
    Keys,
    MakeKey,
    RotateKeys,
    Tokens,
    MakeToken,
    Token(TokenId),
    RevokeToken(TokenId),
}

/// What the contract names here and this step has not built, or others answer.
const LATER: [&str; 1] = ["recover"];

/// What a request to a path below `/v1/admin/` asks for, or (as `Err`) its answer.
// As in `route.rs`: an early answer is an answer.
#[allow(clippy::result_large_err)]
pub(super) fn plan(method: &Method, rest: &str) -> Result<Task, HttpResponse> {
    let refuse = |error: Error| problem::of(&error, None);
    let task = match rest {
        "tiers" => Task::Tiers,
        "actors" => Task::Actors,
        "queues" => Task::Queues,
        "sites" => Task::Sites,
        "containers" => Task::Containers,
        "peers" => Task::Peers,
        "config" => Task::Config,
        "keys" if *method == Method::POST => Task::MakeKey,
        "keys" => Task::Keys,
        "keys/rotate" => Task::RotateKeys,
        "audit" => Task::Audit,
        "evict" => Task::Evict,
        "drain" => Task::Drain,
        "scrub" if *method == Method::GET => Task::Scrub { start: false },
        "scrub" => Task::Scrub { start: true },
        "repair" if *method == Method::GET => Task::Repair { accept: false },
        "repair" => Task::Repair { accept: true },
        "tokens" if *method == Method::POST => Task::MakeToken,
        "tokens" => Task::Tokens,
        _ if let Some(id) = rest.strip_prefix("tokens/") => {
            let id = id.parse().map_err(refuse)?;
            if *method == Method::DELETE { Task::RevokeToken(id) } else { Task::Token(id) }
        }
        _ => match rest.strip_prefix("tiers/").and_then(|rest| rest.strip_suffix("/objects")) {
            Some(level) => Task::Objects(level_of(level).map_err(refuse)?),
            None if LATER.contains(&rest.split('/').next().unwrap_or_default()) => {
                let why = "this part of the admin door is not built yet";
                return Err(refuse(Error::unimplemented(why).with("path", rest.escape_default())));
            }
            None => {
                let why = "no such path; the admin door has tiers, tiers/{level}/objects, actors, queues, sites, containers, peers, config, keys, keys/rotate, scrub, repair, audit, tokens, tokens/{id}, evict and drain";
                return Err(refuse(Error::not_found(why).with("path", rest.escape_default())));
            }
        },
    };
    let allow = match task {
        Task::Evict | Task::Drain | Task::RotateKeys | Task::Scrub { start: true } | Task::Repair { accept: true } => {
            "POST"
        }
        Task::Tokens | Task::MakeToken | Task::Keys | Task::MakeKey => "GET, POST",
        Task::Token(_) | Task::RevokeToken(_) => "GET, DELETE",
        _ => "GET",
    };
    if !allow.split(", ").any(|allowed| allowed == method.as_str()) {
        return Err(problem::wrong_method(method.as_str(), allow));
    }
    Ok(task)
}

/// Does what was asked.
pub(super) async fn perform(door: &Shared, head: &RequestHead, payload: Payload, task: Task) -> Result<HttpResponse> {
    let admin = &door.admin;
    if !matches!(task, Task::Objects(_)) {
        path::query(head.uri.query(), |_, _| Ok(false))?;
    }
    let mut response = match task {
        Task::Tiers => tiers::show(door, admin.tiers()).await?,
        Task::Objects(level) => objects::show(door, head, level).await?,
        Task::Actors => actors::show(&admin.actors()),
        Task::Queues => queues::show(door, admin.queues()).await?,
        Task::Sites => sites::show(&admin.sites()),
        Task::Containers => containers::show(&admin.containers()),
        Task::Peers => peers::show(&admin.peers()),
        Task::Config => config::show(&admin.config()),
        Task::Evict => evict::evict(door, head, payload).await?,
        Task::Drain => drain::drain(door, head, payload).await?,
        Task::Repair { accept } => repair::repair(door, payload, accept).await?,
        Task::Scrub { start } => scrub::scrub(door, payload, start).await?,
        Task::Keys => keys::show(door).await?,
        Task::MakeKey => keys::create(door, head, payload).await?,
        Task::RotateKeys => keys::rotate(door, head, payload).await?,
        Task::Audit => audit::show(door),
        Task::Tokens => tokens::list(door),
        Task::MakeToken => tokens::make(door, head, payload).await?,
        Task::Token(id) => tokens::show(door, id)?,
        Task::RevokeToken(id) => tokens::revoke(door, head, id).await?,
    };
    response.headers_mut().insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok(response)
}

/// A level from its name on the door.
fn level_of(name: &str) -> Result<Level> {
    Level::ALL
        .into_iter()
        .find(|level| level.name() == name)
        .ok_or_else(|| Error::invalid("a level is ram, disk or cloud").with("level", name.escape_default()))
}

/// An answer that is one list under its name.
fn listing<T: Serialize>(name: &'static str, items: &[T]) -> HttpResponse {
    reply::json(StatusCode::OK, &std::collections::BTreeMap::from([(name, items)]))
}

/// Milliseconds since 1970 as RFC 3339.
fn moment<S: Serializer>(ms: &u64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_str(&date::rfc3339(*ms))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_and_methods_name_tasks() {
        let task = |method: Method, rest| plan(&method, rest).map_err(|response| response.status().as_u16());
        assert_eq!(task(Method::GET, "tiers"), Ok(Task::Tiers));
        assert_eq!(task(Method::GET, "tiers/disk/objects"), Ok(Task::Objects(Level::Disk)));
        assert_eq!(task(Method::POST, "drain"), Ok(Task::Drain));
        for (method, rest, status) in [
            (Method::POST, "tiers", 405),
            (Method::HEAD, "tiers", 405),
            (Method::GET, "drain", 405),
            (Method::GET, "tiers/tape/objects", 400),
            (Method::GET, "tiers/ram", 404),
            (Method::GET, "", 404),
            (Method::GET, "Tiers", 404),
            (Method::GET, "tiers/", 404),
            (Method::POST, "sites", 405),
            (Method::HEAD, "peers", 405),
            (Method::GET, "sites/edge", 404),
            (Method::GET, "peers/", 404),
            (Method::POST, "recover", 501),
            (Method::PUT, "tokens", 405),
            (Method::DELETE, "keys", 405),
            (Method::GET, "keys/rotate", 405),
            (Method::GET, "keys/0123456789abcdef", 404),
            (Method::POST, "tokens/0123456789abcdef", 405),
            (Method::DELETE, "tokens/x", 400),
        ] {
            assert_eq!(task(method, rest), Err(status), "{rest}");
        }
    }
}
