//! From a message to the request that HTTP would have brought.

use actix_web::dev::RequestHead;
use actix_web::http::header::{
    AUTHORIZATION, CONTENT_LENGTH, CONTENT_TYPE, HOST, HeaderMap, HeaderName, HeaderValue, IF_MATCH, IF_NONE_MATCH,
    IF_RANGE, RANGE,
};
use actix_web::http::{Method, Uri};

use crate::bus::{Message, Subject};
use crate::error::{Error, Result};
use crate::gateway::headers::CONTENT_DIGEST;
use crate::gateway::path;
use crate::model::{Address, Name};
use crate::telemetry::metrics::labels;

/// What a subject's last word asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Operation {
    Push,
    Pull,
    Head,
    Delete,
    List,
    Locate,
    Batch,
    Sync,
    Transfers,
}

/// What both doors call by one name. All else that a message carries, such as what a client's library adds, is not
/// for us.
const TAKEN: [HeaderName; 5] = [CONTENT_TYPE, IF_MATCH, IF_NONE_MATCH, IF_RANGE, AUTHORIZATION];

impl Operation {
    pub(super) const ALL: [Operation; 9] = [
        Operation::Push,
        Operation::Pull,
        Operation::Head,
        Operation::Delete,
        Operation::List,
        Operation::Locate,
        Operation::Batch,
        Operation::Sync,
        Operation::Transfers,
    ];

    /// The operation that a subject ends in.
    pub(super) fn of(subject: &Subject) -> Option<Self> {
        let word = subject.as_str().rsplit('.').next();
        Operation::ALL.into_iter().find(|operation| Some(operation.name()) == word)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Operation::Push => "push",
            Operation::Pull => "pull",
            Operation::Head => "head",
            Operation::Delete => "delete",
            Operation::List => "list",
            Operation::Locate => "locate",
            Operation::Batch => "batch",
            Operation::Sync => "sync",
            Operation::Transfers => "transfers",
        }
    }

    const fn method(self) -> Method {
        match self {
            Operation::Push => Method::PUT,
            Operation::Pull | Operation::List | Operation::Locate | Operation::Transfers => Method::GET,
            Operation::Head => Method::HEAD,
            Operation::Delete => Method::DELETE,
            Operation::Batch | Operation::Sync => Method::POST,
        }
    }

    /// Whether it is about one container alone, whichever answers for the site: its answer says who that is.
    pub(super) const fn is_of_one(self) -> bool {
        matches!(self, Operation::Sync | Operation::Transfers)
    }
}

impl From<Option<Operation>> for labels::Operation {
    fn from(operation: Option<Operation>) -> Self {
        match operation {
            Some(Operation::Push) => labels::Operation::Push,
            Some(Operation::Pull) => labels::Operation::Pull,
            Some(Operation::Head) => labels::Operation::Head,
            Some(Operation::Delete) => labels::Operation::Delete,
            Some(Operation::List) => labels::Operation::List,
            Some(Operation::Locate) => labels::Operation::Locate,
            Some(Operation::Batch) => labels::Operation::Batch,
            Some(Operation::Sync) => labels::Operation::Sync,
            Some(Operation::Transfers) => labels::Operation::Transfers,
            None => labels::Operation::Other,
        }
    }
}

/// Why a subject that ends in none of the operations is refused.
pub(super) fn unknown(subject: &Subject) -> Error {
    let there_are = Operation::ALL.map(Operation::name).join(", ");
    Error::invalid(format!("there is no such operation; there are {there_are}")).with("subject", subject)
}

/// The method, for what is told of the request.
pub(super) fn method_name(head: &RequestHead) -> &'static str {
    match head.method {
        Method::PUT => "PUT",
        Method::HEAD => "HEAD",
        Method::DELETE => "DELETE",
        Method::POST => "POST",
        _ => "GET",
    }
}

/// The request that a message stands for.
pub(super) fn head(operation: Operation, message: &Message) -> Result<RequestHead> {
    let mut head = RequestHead::default();
    head.method = if is_cancelled(operation, message)? { Method::DELETE } else { operation.method() };
    head.uri = uri(operation, message)?;
    head.headers = headers(operation, message)?;
    Ok(head)
}

fn uri(operation: Operation, message: &Message) -> Result<Uri> {
    let mut target = match operation {
        Operation::Batch => "/v1/batch".to_owned(),
        Operation::List => {
            let collection: Name = address(message)?.trim_end_matches('/').parse()?;
            format!("/v1/objects/{collection}")
        }
        Operation::Sync => "/v1/sync".to_owned(),
        Operation::Transfers => match message.header("Mesh-Transfer") {
            Some(id) => format!("/v1/transfers/{}", path::escape(id.trim())),
            None => "/v1/transfers".to_owned(),
        },
        _ => {
            let address: Address = address(message)?.parse()?;
            let what = if operation == Operation::Locate { "locate" } else { "objects" };
            format!("/v1/{what}/{}/{}", path::escape(address.collection()), path::escape(address.key()))
        }
    };
    let mut separator = '?';
    let mut ask = |name: &str, value: &str| {
        target.push_str(&format!("{separator}{name}={}", path::escape(value)));
        separator = '&';
    };
    if operation.is_of_one()
        && let Some(which) = message.header("Mesh-Address").map(str::trim)
    {
        let (collection, key) = which.split_once('/').unwrap_or((which, ""));
        ask("collection", collection);
        if !key.is_empty() {
            ask("key", key);
        }
    }
    let asked: &[(&str, &str)] = match operation {
        Operation::List => &[("Mesh-Prefix", "prefix"), ("Mesh-After", "after"), ("Mesh-Limit", "limit")],
        // The version that is wanted; in an answer the same header names the one there is.
        Operation::Pull | Operation::Head => &[("Mesh-Version", "version")],
        Operation::Transfers => &[("Mesh-After", "after"), ("Mesh-Limit", "limit")],
        Operation::Push | Operation::Delete | Operation::Locate | Operation::Batch | Operation::Sync => &[],
    };
    for (header, name) in asked {
        if let Some(value) = message.header(header) {
            ask(name, value);
        }
    }
    target.parse().map_err(|_| Error::invalid("the address is longer than a request takes"))
}

pub(super) fn address(message: &Message) -> Result<&str> {
    let why =
        "the message has no Mesh-Address header; it names the object as collection/key, or the collection to list";
    message.header("Mesh-Address").map(str::trim).ok_or_else(|| Error::invalid(why))
}

/// Whether a transfer is to be cancelled instead of shown.
fn is_cancelled(operation: Operation, message: &Message) -> Result<bool> {
    let Some(text) = message.header("Mesh-Cancel").filter(|_| operation == Operation::Transfers) else {
        return Ok(false);
    };
    match text.trim() {
        "true" if message.header("Mesh-Transfer").is_some() => Ok(true),
        "true" => Err(Error::invalid("which transfer is to be cancelled is named by Mesh-Transfer")),
        "false" => Ok(false),
        other => Err(Error::invalid("Mesh-Cancel is true or false").with("mesh-cancel", other.escape_default())),
    }
}

/// How long a body may be to come in the answer itself, where the request says so.
pub(super) fn inline_max(message: &Message) -> Result<Option<u64>> {
    number(message, "Mesh-Inline-Max")
}

/// The size of an object that is to be brought another way: announced, and not in the message.
pub(super) fn announced(message: &Message) -> Result<Option<u64>> {
    let size = number(message, "Mesh-Size")?;
    if message.body.is_empty() {
        return Ok(size.filter(|size| *size > 0));
    }
    match size {
        Some(size) if size != message.body.len() as u64 => {
            let why = "Mesh-Size names another size than the body has; send the body, or the size alone for a ticket";
            Err(Error::invalid(why).with("mesh-size", size).with("bytes", message.body.len()))
        }
        _ => Ok(None),
    }
}

fn number(message: &Message, name: &'static str) -> Result<Option<u64>> {
    let Some(text) = message.header(name).map(str::trim) else { return Ok(None) };
    let bad = || Error::invalid("this header is a number of bytes").with("header", name);
    if !text.bytes().all(|b| b.is_ascii_digit()) {
        return Err(bad().with("value", text.escape_default()));
    }
    text.parse().map(Some).map_err(|_| bad().with("value", text.escape_default()))
}

fn headers(operation: Operation, message: &Message) -> Result<HeaderMap> {
    let mut out = HeaderMap::with_capacity(message.headers.len() + 2);
    for (name, value) in &message.headers {
        let bad = |why: &'static str| Error::invalid(why).with("header", name.escape_default());
        let Ok(known) = HeaderName::try_from(name.as_str()) else { continue };
        if !known.as_str().starts_with("mesh-") && known != CONTENT_DIGEST && !TAKEN.contains(&known) {
            continue;
        }
        let value = HeaderValue::from_str(value).map_err(|_| bad("a header's value holds no control characters"))?;
        match known.as_str() {
            "mesh-token" => {
                let bearer = HeaderValue::from_str(&format!("Bearer {}", value.to_str().unwrap_or_default()));
                out.append(AUTHORIZATION, bearer.map_err(|_| bad("this is no token"))?);
            }
            "mesh-range" => {
                let text = value.to_str().map_err(|_| bad("a range is text"))?;
                let text = if text.contains('=') { text.to_owned() } else { format!("bytes={text}") };
                out.append(RANGE, HeaderValue::from_str(&text).map_err(|_| bad("a range is text"))?);
            }
            // What is read from the message itself, and by its first header alone.
            "mesh-address" | "mesh-prefix" | "mesh-after" | "mesh-limit" | "mesh-size" | "mesh-inline-max"
            | "mesh-transfer" | "mesh-cancel" | "mesh-receive" | "mesh-version"
                if known != "mesh-version" || operation != Operation::Push =>
            {
                let same = message.headers.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name));
                if same.count() > 1 {
                    return Err(bad("this header may be sent once"));
                }
            }
            _ => out.append(known, value),
        }
    }
    // A message comes from no page, and reaches us by no name of ours.
    out.insert(HOST, HeaderValue::from_static("localhost"));
    if matches!(operation, Operation::Push | Operation::Batch | Operation::Sync) {
        out.insert(CONTENT_LENGTH, HeaderValue::from(message.body.len()));
    }
    Ok(out)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(subject: &str, headers: &[(&str, &str)]) -> Message {
        let headers = headers.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Message { headers, ..Message::to(subject.parse().unwrap(), "body") }
    }

    fn read(subject: &str, headers: &[(&str, &str)]) -> Result<RequestHead> {
        let message = message(subject, headers);
        head(Operation::of(&message.subject).unwrap(), &message)
    }

    #[test]
    fn a_message_is_the_request_that_http_would_bring() {
        let headers = [("mesh-address", "meteo/a b?.csv"), ("Mesh-Token", "t"), ("Nats-Thing", "x"), ("If-Match", "*")];
        let head = read("mesh.edge.push", &headers).unwrap();
        assert_eq!((head.method, head.uri.path()), (Method::PUT, "/v1/objects/meteo/a%20b%3F.csv"));
        assert_eq!(head.headers.get(AUTHORIZATION).unwrap(), "Bearer t");
        assert_eq!(head.headers.get(CONTENT_LENGTH).unwrap(), "4");
        assert!(head.headers.contains_key(IF_MATCH) && !head.headers.contains_key("nats-thing"));
        let head = read("mesh.edge.c1.pull", &[("Mesh-Address", "c/k"), ("Mesh-Range", "0-9")]).unwrap();
        assert_eq!(head.headers.get(RANGE).unwrap(), "bytes=0-9");
        let head = read("mesh.edge.pull", &[("Mesh-Address", "c/k"), ("Mesh-Version", "1-2")]).unwrap();
        assert_eq!(head.uri.query(), Some("version=1-2"));
        let head = read("mesh.edge.c1.locate", &[("Mesh-Address", "c/a b")]).unwrap();
        assert_eq!((head.method, head.uri.path()), (Method::GET, "/v1/locate/c/a%20b"));
        let listed = [("Mesh-Address", "c"), ("Mesh-Prefix", "a&b"), ("Mesh-Limit", "5")];
        let head = read("mesh.edge.list", &listed).unwrap();
        assert_eq!(head.uri, "/v1/objects/c?prefix=a%26b&limit=5");
    }

    #[test]
    fn what_is_owed_is_asked_for_as_over_http() {
        let of = |subject: &str, headers: &[(&str, &str)]| {
            let head = read(subject, headers).unwrap();
            (head.method.to_string(), head.uri.to_string())
        };
        let expected = |method: &str, uri: &str| (method.to_owned(), uri.to_owned());
        assert_eq!(of("mesh.edge.sync", &[]), expected("POST", "/v1/sync"));
        assert_eq!(of("mesh.edge.sync", &[("Mesh-Address", "c")]), expected("POST", "/v1/sync?collection=c"));
        let one = [("Mesh-Address", "c/a b/d")];
        assert_eq!(of("mesh.edge.c1.sync", &one), expected("POST", "/v1/sync?collection=c&key=a%20b/d"));
        let page = [("Mesh-Address", "c/"), ("Mesh-After", "1-2"), ("Mesh-Limit", "5")];
        let asked = "/v1/transfers?collection=c&after=1-2&limit=5";
        assert_eq!(of("mesh.edge.transfers", &page), expected("GET", asked));
        let one = [("Mesh-Transfer", "1-2"), ("Mesh-Cancel", "false")];
        assert_eq!(of("mesh.edge.transfers", &one), expected("GET", "/v1/transfers/1-2"));
        let cancelled = [("Mesh-Transfer", "1-2"), ("Mesh-Cancel", "true")];
        assert_eq!(of("mesh.edge.transfers", &cancelled), expected("DELETE", "/v1/transfers/1-2"));
        for bad in [&[("Mesh-Cancel", "true")][..], &[("Mesh-Transfer", "1-2"), ("Mesh-Cancel", "perhaps")]] {
            assert!(read("mesh.edge.transfers", bad).is_err(), "{bad:?}");
        }
    }

    #[test]
    fn what_names_no_object_is_refused_with_the_header_that_would() {
        let error = read("mesh.edge.pull", &[]).err().unwrap();
        assert!(error.to_string().contains("Mesh-Address"), "{error}");
        for bad in ["", "c", "c/", "C/k", "c/../k", "c/a\u{7}b"] {
            assert!(read("mesh.edge.pull", &[("Mesh-Address", bad)]).is_err(), "{bad:?}");
        }
        assert_eq!(Operation::of(&"mesh.edge.fly".parse().unwrap()), None);
    }
}
