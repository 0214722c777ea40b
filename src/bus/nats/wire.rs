//! Messages as the client has them, and as we do.

use async_nats::{HeaderMap, HeaderName, HeaderValue};

use crate::bus::{Headers, Message};
use crate::error::Result;

/// Headers for the client.
pub(super) fn to_theirs(headers: &Headers) -> HeaderMap {
    let mut out = HeaderMap::new();
    for (name, value) in headers {
        // What neither takes was refused by the check of the message.
        if let (Ok(name), Ok(value)) = (name.parse::<HeaderName>(), value.parse::<HeaderValue>()) {
            out.append(name, value);
        }
    }
    out
}

/// A message from the client.
pub(super) fn to_ours(message: async_nats::Message) -> Result<Message> {
    let mut headers = Headers::new();
    for (name, values) in message.headers.iter().flat_map(HeaderMap::iter) {
        headers.extend(values.iter().map(|value| (name.to_string(), value.to_string())));
    }
    let reply = message.reply.map(|reply| reply.as_str().parse()).transpose()?;
    Ok(Message { subject: message.subject.as_str().parse()?, reply, headers, body: message.payload })
}
