//! `DELETE /v1/objects/{collection}/{key}`: 204, also when there was nothing to delete.

use actix_web::HttpResponse;
use actix_web::dev::RequestHead;
use actix_web::http::StatusCode;

use crate::actors::Delete;
use crate::error::Result;
use crate::gateway::deadline::within;
use crate::gateway::server::Shared;
use crate::gateway::{headers, path, reply};
use crate::model::Address;

/// Deletes an object.
pub(in crate::gateway) async fn delete(door: &Shared, head: &RequestHead, address: Address) -> Result<HttpResponse> {
    headers::check_change(&head.headers)?;
    path::query(head.uri.query(), |_, _| Ok(false))?;
    let deadline = headers::deadline(&head.headers)?.unwrap_or(door.options.request_deadline);
    let condition = headers::condition(&head.headers)?;
    let mut session = headers::session(&head.headers)?.unwrap_or_default();
    let passed_on = head.headers.contains_key(&headers::MESH_PEER);
    let after = session.wants(&address);
    let delete = Delete { address: address.clone(), condition, after, passed_on, deadline };
    let deleted = within(deadline, door.core.delete(delete)).await?;
    let mut response = HttpResponse::new(StatusCode::NO_CONTENT);
    if let Some((version, dot)) = deleted.gone {
        reply::set(response.headers_mut(), headers::MESH_VERSION.clone(), reply::version(version));
        session.note(&address, version, dot);
    }
    reply::set(response.headers_mut(), headers::MESH_SESSION.clone(), session.to_string().into_bytes());
    Ok(response)
}
