//! What administers a container: tokens. The answers are shown as they come, so they stay JSON.

use bytes::Bytes;
use reqwest::header::CONTENT_TYPE;
use reqwest::{Method, RequestBuilder};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::Client;
use super::answer;
use crate::error::Result;
use crate::model::TokenId;

/// What a token is asked for with.
#[derive(Clone, Debug, Serialize)]
pub struct TokenWanted {
    /// Whom it is for.
    pub subject: String,
    /// What the subject belongs to.
    pub groups: Vec<String>,
    /// What it is to allow, such as `read:meteo`.
    pub scopes: Vec<String>,
    /// How long it counts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_in_s: Option<u64>,
}

/// A token as a container tells of it.
#[derive(Clone, Deserialize, Serialize)]
pub struct TokenTold {
    /// Its name.
    pub id: String,
    /// The token itself, in the answer that makes it alone.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Whom it is for.
    pub subject: String,
    /// What the subject belongs to.
    pub groups: Vec<String>,
    /// What it allows.
    pub scopes: Vec<String>,
    /// `live`, `expired` or `revoked`.
    pub state: String,
    /// When it was made (RFC 3339, UTC).
    pub created: String,
    /// When it ends.
    pub expires: Option<String>,
}

#[derive(Deserialize)]
struct Items<T> {
    items: Vec<T>,
}

impl Client {
    /// Makes a token. Its secret is in this answer and nowhere else.
    pub async fn create_token(&self, wanted: &TokenWanted) -> Result<TokenTold> {
        let body = serde_json::to_vec(wanted).unwrap_or_default();
        self.document(self.posting("/v1/admin/tokens", body)?).await
    }

    /// Every token that the container knows.
    pub async fn tokens(&self) -> Result<Vec<TokenTold>> {
        let items: Items<TokenTold> = self.document(self.request(Method::GET, "/v1/admin/tokens")?).await?;
        Ok(items.items)
    }

    /// Ends a token at once.
    pub async fn revoke_token(&self, id: TokenId) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/v1/admin/tokens/{id}"))?).await.map(drop)
    }

    fn posting(&self, path: &str, body: Vec<u8>) -> Result<RequestBuilder> {
        Ok(self.request(Method::POST, path)?.header(CONTENT_TYPE, "application/json").body(Bytes::from(body)))
    }

    async fn document<T: DeserializeOwned>(&self, request: RequestBuilder) -> Result<T> {
        let bytes = answer::whole(self.send(request).await?).await?;
        serde_json::from_slice(&bytes).map_err(|error| answer::strange("its JSON cannot be read").because(error))
    }
}
