//! Collections at the door: their policies as flat fields, each change naming the revision it replaces.

use reqwest::header::{IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder, Response, StatusCode};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, answer};
use crate::error::{Error, Result};
use crate::model::Name;

/// A collection as the container tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Collection {
    /// Its name.
    pub name: String,
    /// What it asks for. Plain fields, so that those of newer containers can be shown and kept.
    pub policy: Map<String, Value>,
    /// One more with each change of the policy, from 1.
    pub revision: u64,
    /// When it was made (RFC 3339, UTC).
    pub created: String,
    /// When its policy was last changed.
    pub changed: String,
    /// Its current objects.
    pub objects: u64,
    /// Their plain bytes.
    pub bytes: u64,
    /// Those that the cloud is still to get.
    #[serde(default)]
    pub owed: Amount,
}

/// A number of objects.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Amount {
    /// How many.
    pub objects: u64,
    /// Their bytes: plain where objects are counted, sealed where they travel.
    pub bytes: u64,
}

#[derive(Deserialize)]
struct List {
    items: Vec<Collection>,
}

impl Client {
    /// Every collection, by name.
    pub async fn collections(&self) -> Result<Vec<Collection>> {
        let answer = self.send(self.request(Method::GET, "/v1/collections")?).await?;
        let list: List = answer::json(answer, "its list of collections cannot be read").await?;
        Ok(list.items)
    }

    /// A collection and what it holds.
    pub async fn collection(&self, name: &Name) -> Result<Collection> {
        let answer = self.send(self.request(Method::GET, &path(name))?).await;
        read(answer.map_err(|error| about(error, name))?).await
    }

    /// Makes these fields the collection's whole policy: what they do not name is as by default. `expected`
    /// is the revision that is replaced, 0 where there must be none yet. Says whether the collection is new.
    pub async fn put_collection(
        &self,
        name: &Name,
        policy: &Map<String, Value>,
        expected: Option<u64>,
    ) -> Result<(Collection, bool)> {
        let body = serde_json::to_vec(policy).map_err(|error| Error::internal("cannot write JSON").because(error))?;
        let request = expecting(self.request(Method::PUT, &path(name))?, expected);
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let answer = self.send(request).await.map_err(|error| about(error, name))?;
        let created = answer.status() == StatusCode::CREATED;
        Ok((read(answer).await?, created))
    }

    /// Removes a collection that holds nothing; removing one that is not there succeeds.
    pub async fn remove_collection(&self, name: &Name, expected: Option<u64>) -> Result<()> {
        let request = expecting(self.request(Method::DELETE, &path(name))?, expected);
        self.send(request).await.map(drop).map_err(|error| about(error, name))
    }
}

fn path(name: &Name) -> String {
    format!("/v1/collections/{name}")
}

fn expecting(request: RequestBuilder, expected: Option<u64>) -> RequestBuilder {
    match expected {
        None => request,
        Some(0) => request.header(IF_NONE_MATCH, "*"),
        Some(revision) => request.header(IF_MATCH, format!("\"{revision}\"")),
    }
}

async fn read(answer: Response) -> Result<Collection> {
    answer::json(answer, "its collection cannot be read").await
}

/// Names the collection in an error that does not name it yet.
fn about(error: Error, name: &Name) -> Error {
    let named = error.message().contains(&format!("collection: {name}"));
    if named { error } else { error.with("collection", name) }
}
