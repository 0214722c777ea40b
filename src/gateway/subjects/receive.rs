//! An object that is brought to whoever asked for it on a subject, where they offered a URL that takes it: for those
//! who cannot be asked to come for it, as the container is where they do not reach.

use std::io;
use std::pin::pin;
use std::time::Duration;

use actix_web::HttpResponse;
use actix_web::body::{BodySize, MessageBody};
use bytes::Bytes;
use futures_util::FutureExt;
use futures_util::future::{Either, poll_fn, select};
use tokio::sync::mpsc;
use tokio::time::timeout;

use super::answer;
use crate::bus::Message;
use crate::client::Receiver;
use crate::config::Receivers;
use crate::error::{Error, Kind, Result};

/// Pieces of the body that wait for the one who takes them.
const PIECES_MAX: usize = 2;

/// Where a request wants its object to be brought, if that is allowed.
pub(super) fn receiver(message: &Message, allowed: Receivers) -> Result<Option<Receiver>> {
    let Some(url) = message.header("Mesh-Receive") else { return Ok(None) };
    let receiver = Receiver::at(url.trim())?;
    let may = match allowed {
        Receivers::None => false,
        Receivers::Loopback => receiver.is_loopback(),
        Receivers::Any => true,
    };
    if may {
        return Ok(Some(receiver));
    }
    let why =
        "this container brings objects to no such address; bus.receivers says to which, or leave Mesh-Receive out";
    Err(Error::new(Kind::Forbidden, why).with("bus.receivers", allowed.name()))
}

/// Brings what a response holds. Returns how many bytes those were.
pub(super) async fn bring(receiver: &Receiver, response: HttpResponse, stall: Duration) -> Result<u64> {
    let headers = answer::headers(&response);
    let BodySize::Sized(bytes) = response.body().size() else {
        return Err(Error::internal("an object without a length cannot be brought"));
    };
    let (give, taken) = mpsc::channel::<io::Result<Bytes>>(PIECES_MAX);
    let body = futures_util::stream::unfold(taken, async |mut taken| Some((taken.recv().await?, taken)));
    let pump = async move {
        let mut body = pin!(response.into_body());
        while let Some(piece) = poll_fn(|context| body.as_mut().poll_next(context)).await {
            let piece = piece.map_err(|error| io::Error::other(error.to_string()));
            // Whoever takes nothing any more is not waited for: the body ends early, and that is an error there.
            if !matches!(timeout(stall, give.send(piece)).await, Ok(Ok(()))) {
                return false;
            }
        }
        true
    };
    let silent = |_| Error::deadline("where the object is taken nothing was said in time");
    match select(pin!(receiver.put(&headers, bytes, body)), pin!(pump)).await {
        Either::Right((_, put)) => timeout(stall, put).await.map_err(silent)??,
        Either::Left((brought, pump)) => {
            brought?;
            if pump.now_or_never() != Some(true) {
                return Err(Error::unavailable("where the object was to be taken it was not waited for"));
            }
        }
    }
    Ok(bytes)
}
