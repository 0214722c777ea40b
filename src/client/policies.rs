//! The policies of the mesh at the door, each change naming the version that it replaces.

use reqwest::header::{IF_MATCH, IF_NONE_MATCH};
use reqwest::{Method, RequestBuilder};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use super::{Client, answer};
use crate::error::{Error, Result};
use crate::model::Name;

/// One version of a policy.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyVersion {
    /// Which.
    pub version: String,
    /// When it was made (RFC 3339, UTC).
    pub changed: String,
    /// At which site.
    pub site: String,
    /// The versions that it replaces.
    #[serde(default)]
    pub replaces: Vec<String>,
    /// What it says; nothing where it removed the policy.
    pub rule: Option<Map<String, Value>>,
}

/// A policy as the container tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MeshPolicy {
    /// Its name.
    pub name: String,
    /// The version that rules.
    #[serde(flatten)]
    pub ruling: PolicyVersion,
    /// Those that were made at the same time at other sites, and that nobody decided against yet.
    #[serde(default)]
    pub others: Vec<PolicyVersion>,
    /// Objects of the container that it does not let rest there.
    #[serde(default)]
    pub against: u64,
    /// Its past, the latest version first; only where one policy was asked for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub log: Vec<PolicyVersion>,
}

#[derive(Deserialize)]
struct List {
    items: Vec<MeshPolicy>,
}

impl Client {
    /// Every policy of the mesh, by name.
    pub async fn policies(&self) -> Result<Vec<MeshPolicy>> {
        let answer = self.send(self.request(Method::GET, "/v1/policies")?).await?;
        let list: List = answer::json(answer, "its list of policies cannot be read").await?;
        Ok(list.items)
    }

    /// One of them, with its past.
    pub async fn policy(&self, name: &Name) -> Result<MeshPolicy> {
        let answer = self.send(self.request(Method::GET, &path(name))?).await;
        answer::json(answer.map_err(|error| about(error, name))?, "its policy cannot be read").await
    }

    /// Sets a policy; `expected` names the version that it replaces, nothing where none may rule.
    pub async fn put_policy(
        &self,
        name: &Name,
        rule: &Map<String, Value>,
        expected: Option<&str>,
    ) -> Result<MeshPolicy> {
        let body = serde_json::to_vec(rule).map_err(|error| Error::internal("cannot write JSON").because(error))?;
        let request = expecting(self.request(Method::PUT, &path(name))?, expected);
        let request = request.header(reqwest::header::CONTENT_TYPE, "application/json").body(body);
        let answer = self.send(request).await.map_err(|error| about(error, name))?;
        answer::json(answer, "its policy cannot be read").await
    }

    /// Removes a policy.
    pub async fn remove_policy(&self, name: &Name, expected: Option<&str>) -> Result<()> {
        let request = expecting(self.request(Method::DELETE, &path(name))?, expected);
        self.send(request).await.map(drop).map_err(|error| about(error, name))
    }
}

fn path(name: &Name) -> String {
    format!("/v1/policies/{name}")
}

fn expecting(request: RequestBuilder, expected: Option<&str>) -> RequestBuilder {
    match expected {
        None => request.header(IF_NONE_MATCH, "*"),
        Some(version) => request.header(IF_MATCH, format!("\"{version}\"")),
    }
}

/// Names the policy in an error that does not name it yet.
fn about(error: Error, name: &Name) -> Error {
    let named = error.message().contains(&format!("policy: {name}"));
    if named { error } else { error.with("policy", name) }
}
