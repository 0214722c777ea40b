//! The Rust client of a container's HTTP door. The command line uses it; so may any program.
//!
//! It knows the contract of the door and nothing of what is behind it. Answers that fail come back
//! as [`crate::Error`] of the same kind as inside the container. The only place that names reqwest.

mod admin;
mod answer;
mod batch;
mod collections;
mod collector;
mod direct;
mod frame;
mod located;
mod object;
mod options;
mod policies;
mod pull;
mod push;
mod receiver;
mod tls;
mod transfers;
mod transport;

pub use batch::BatchPush;
pub use collections::{Amount, Collection};
pub use collector::HttpCollector;
pub use frame::FrameBytes;
pub use located::{Copy, Located, VersionCopies};
pub use object::{Deleted, Item, ListPage, Object};
pub use options::{DeleteOptions, ReadOptions};
pub use policies::{MeshPolicy, PolicyVersion};
pub use pull::Pulled;
pub use push::{PushOptions, Pushed, Upload};
pub use receiver::Receiver;
pub use transfers::{Payment, Transfer, Transfers};
pub use transport::Client;

use std::ops::Range;

use reqwest::Method;

use crate::error::{Error, Kind, Result};
use crate::model::{Address, ByteRange, Name};

/// The path that the client asks for an object by, for the fuzz targets alone.
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub fn path_of(address: &Address) -> String {
    transport::object_path(address)
}

impl Client {
    /// Stores an object.
    pub async fn push(&self, address: &Address, body: Upload, options: &PushOptions) -> Result<Pushed> {
        push::push(self, address, body, options).await
    }

    /// Reads an object or a range of it; the bytes follow as they are asked for.
    pub async fn pull(&self, address: &Address, range: Option<ByteRange>) -> Result<Pulled> {
        self.pull_with(address, &ReadOptions { range, ..ReadOptions::default() }).await
    }

    /// The same, of a version or in a session.
    pub async fn pull_with(&self, address: &Address, options: &ReadOptions) -> Result<Pulled> {
        pull::pull(self, address, options).await
    }

    /// Asks for a range of a version's sealed bytes; `options` name the version.
    pub async fn frame(&self, address: &Address, options: &ReadOptions, range: Range<u64>) -> Result<FrameBytes> {
        frame::frame(self, address, options, range).await
    }

    /// What is known of an object, without its bytes.
    pub async fn stat(&self, address: &Address) -> Result<Object> {
        self.stat_with(address, &ReadOptions::default()).await
    }

    /// The same, of a version or in a session.
    pub async fn stat_with(&self, address: &Address, options: &ReadOptions) -> Result<Object> {
        let request = self.request(Method::HEAD, &transport::version_path(address, options.version))?;
        let request = options::with_session(request, options.session.as_deref())?;
        let answer = match self.send(request).await {
            Ok(answer) => answer,
            Err(error) if error.kind() == Kind::NotFound => {
                let error = about(error, address);
                return Err(options.version.map_or(error.duplicate(), |version| error.with("version", version)));
            }
            // Nobody answered, so nobody would answer a GET.
            Err(error) if matches!(error.kind(), Kind::Unavailable | Kind::Deadline) => {
                return Err(about(error, address));
            }
            // An answer to HEAD has no words; those to GET say why.
            Err(error) => return Err(self.pull_with(address, options).await.err().unwrap_or(about(error, address))),
        };
        object::of_headers(answer.headers(), transport::length(&answer)).map_err(|error| about(error, address))
    }

    /// Deletes an object; deleting what is not there succeeds.
    pub async fn delete(&self, address: &Address) -> Result<()> {
        self.delete_with(address, &DeleteOptions::default()).await.map(drop)
    }

    /// The same under a condition or in a session.
    pub async fn delete_with(&self, address: &Address, options: &DeleteOptions) -> Result<Deleted> {
        let request = self.request(Method::DELETE, &transport::object_path(address))?;
        let request = options::with_session(request, options.session.as_deref())?;
        let request = options::with_peer(request, options.peer.as_deref())?;
        let request = options::with_condition(request, &options.condition);
        let answer = self.send(request).await.map_err(|error| about(error, address))?;
        Ok(object::deleted(answer.headers()))
    }

    /// One page of a collection's keys in byte order; the container chooses its length when `limit` is `None`.
    pub async fn list(
        &self,
        collection: &Name,
        prefix: &str,
        after: Option<&str>,
        limit: Option<usize>,
        session: Option<&str>,
    ) -> Result<ListPage> {
        let request = self.request(Method::GET, &transport::list_path(collection, prefix, after, limit))?;
        let request = options::with_session(request, session)?;
        let answer = self.send(request).await?;
        let incomplete = answer.headers().contains_key("mesh-incomplete");
        let page: ListPage = answer::json(answer, "its list cannot be read").await?;
        Ok(ListPage { incomplete, ..page })
    }

    /// All keys of a collection that start with `prefix`, asked for page by page.
    pub fn list_all(&self, collection: &Name, prefix: &str) -> Lister {
        let (client, collection, prefix) = (self.clone(), collection.clone(), prefix.to_owned());
        let page = Vec::new().into_iter();
        Lister { client, collection, prefix, session: None, page, after: None, last: false, incomplete: false }
    }

    /// Whether a container answers at this URL.
    pub async fn health(&self) -> Result<()> {
        let request = self.request(Method::GET, "/healthz")?;
        self.send(request).await.map(drop)
    }

    /// Whether anything speaks HTTP at this URL, whatever it says.
    pub async fn answers(&self) -> bool {
        match self.request(Method::GET, "/healthz") {
            Ok(request) => request.send().await.is_ok(),
            Err(_) => false,
        }
    }
}

/// Names the object in an error that does not name it yet.
fn about(error: Error, address: &Address) -> Error {
    let named = error.context("address").is_some() || error.message().contains(address.as_str());
    if named { error } else { error.with("address", address) }
}

/// Walks a collection page by page, holding one page at a time.
#[derive(Debug)]
pub struct Lister {
    client: Client,
    collection: Name,
    prefix: String,
    session: Option<String>,
    page: std::vec::IntoIter<Item>,
    after: Option<String>,
    last: bool,
    incomplete: bool,
}

impl Lister {
    /// Whether a page said that entries may be missing.
    pub fn incomplete(&self) -> bool {
        self.incomplete
    }

    /// Not older than what this session has seen.
    #[must_use]
    pub fn in_session(mut self, session: Option<String>) -> Self {
        self.session = session;
        self
    }

    /// The next entry; `None` at the end.
    pub async fn next(&mut self) -> Result<Option<Item>> {
        loop {
            if let Some(item) = self.page.next() {
                return Ok(Some(item));
            }
            if self.last {
                return Ok(None);
            }
            let (after, session) = (self.after.as_deref(), self.session.as_deref());
            let page = self.client.list(&self.collection, &self.prefix, after, None, session).await?;
            // Keys come in order; a page that goes back would have us walk for ever.
            if page.next.is_some() && page.next <= self.after {
                return Err(answer::strange("its list does not go on"));
            }
            self.incomplete |= page.incomplete;
            self.last = page.next.is_none();
            self.after = page.next;
            self.page = page.items.into_iter();
        }
    }
}

#[cfg(test)]
mod fake;
#[cfg(test)]
mod tests;
