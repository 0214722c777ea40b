//! What is owed to the cloud: ask for it, and have it paid.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::collections::Amount;
use super::{Client, answer, transport};
use crate::error::Result;

/// Something that the cloud is still to get.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Transfer {
    /// The version, which names it.
    pub id: String,
    /// The object.
    pub address: String,
    /// Where it is to go.
    pub to: String,
    /// Sealed bytes.
    pub bytes: u64,
    /// `owed`, or `begun` once it was tried.
    pub state: String,
}

/// A page of them, oldest first.
#[derive(Clone, Debug, Deserialize)]
pub struct Transfers {
    /// What is owed.
    pub items: Vec<Transfer>,
    /// Where the next page starts.
    pub next: Option<String>,
}

/// What became of a payment.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Payment {
    /// What the cloud got.
    pub sent: Amount,
    /// What it is still to get, of all objects.
    pub owed: Amount,
}

impl Client {
    /// A page of what is owed, of one collection or one of its keys where they are named.
    pub async fn transfers(
        &self,
        collection: Option<&str>,
        key: Option<&str>,
        after: Option<&str>,
    ) -> Result<Transfers> {
        let path = transport::owed_path("/v1/transfers?limit=1000", collection, key, after);
        answer::json(self.send(self.request(Method::GET, &path)?).await?, "its transfers cannot be read").await
    }

    /// Sends what is owed now, and answers when it is there.
    pub async fn sync(&self, collection: Option<&str>, key: Option<&str>) -> Result<Payment> {
        let path = transport::owed_path("/v1/sync?", collection, key, None);
        answer::json(self.send(self.request(Method::POST, &path)?).await?, "its payment cannot be read").await
    }
}
