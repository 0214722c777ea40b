//! `/v1/transfers` shows what is owed to the cloud; `POST /v1/sync` pays it now.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;
use actix_web::http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use serde_json::{Value, json};

use super::deadline::within;
use super::server::Shared;
use super::{headers, path, reply};
use crate::actors::{OwedQuery, Which};
use crate::error::{Error, Result};
use crate::limits::LIST_LIMIT_DEFAULT;
use crate::model::{Usage, Version};
use crate::store::Owed;

/// `GET /v1/transfers?collection=&key=&after=&limit=`.
pub(super) async fn list(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let mut scope = Scope::default();
    let (mut after, mut limit) = (None, LIST_LIMIT_DEFAULT);
    path::query(head.uri.query(), |name, value| {
        match name {
            "after" => after = Some(value.parse::<Version>()?),
            "limit" => {
                limit = value.parse().map_err(|_| Error::invalid("a limit is a number").with("limit", &value))?;
            }
            _ => return scope.take(name, value),
        }
        Ok(true)
    })?;
    let query = OwedQuery { which: scope.which()?, after, limit };
    let page = within(deadline, door.core.owed(query)).await?;
    let items: Vec<Value> = page.items.iter().map(|(version, owed)| represent(*version, owed)).collect();
    let next = page.next.map(|next| next.to_string());
    Ok(reply::json(StatusCode::OK, &json!({ "items": items, "next": next })))
}

/// `POST /v1/sync?collection=&key=`: answers once what was owed at the time of the request is in the cloud.
pub(super) async fn flush(door: &Shared, head: &RequestHead) -> Result<HttpResponse> {
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    if head.headers.contains_key(TRANSFER_ENCODING)
        || headers::single(&head.headers, &CONTENT_LENGTH)?.is_some_and(|n| n != "0")
    {
        let why = "this takes no body; name what is to be sent in the query (?collection=&key=), or on a subject in \
                   Mesh-Address";
        return Err(Error::invalid(why));
    }
    let mut scope = Scope::default();
    path::query(head.uri.query(), |name, value| scope.take(name, value))?;
    let (sent, owed) = within(deadline, door.core.flush(scope.which()?, deadline)).await?;
    let usage = |usage: Usage| json!({ "objects": usage.objects, "bytes": usage.bytes });
    Ok(reply::json(StatusCode::OK, &json!({ "sent": usage(sent), "owed": usage(owed) })))
}

fn represent(version: Version, owed: &Owed) -> Value {
    json!({
        "id": version.to_string(),
        "address": owed.address.as_str(),
        "to": "cloud",
        "bytes": owed.bytes,
        "state": if owed.begun { "begun" } else { "owed" },
    })
}

/// Which objects a request is about.
#[derive(Default)]
struct Scope {
    collection: Option<String>,
    key: Option<String>,
}

impl Scope {
    fn take(&mut self, name: &str, value: String) -> Result<bool> {
        match name {
            "collection" => self.collection = Some(value),
            "key" => self.key = Some(value),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn which(self) -> Result<Which> {
        Ok(match (self.collection, self.key) {
            (Some(collection), Some(key)) => Which::Object(format!("{collection}/{key}").parse()?),
            (Some(collection), None) => Which::Collection(collection.parse()?),
            (None, None) => Which::Any,
            (None, Some(_)) => return Err(Error::invalid("a key is named together with its collection")),
        })
    }
}
