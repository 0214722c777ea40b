//! The admin door: JSON in, JSON out. What the fields mean is said where they are made, and shown by
//! whoever asks.

use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::{Client, answer, transport};
use crate::error::Result;

impl Client {
    /// What `GET /v1/admin/{path}` tells.
    pub async fn admin(&self, path: &str) -> Result<Value> {
        let request = self.request(Method::GET, &format!("/v1/admin/{path}"))?;
        decode(self.send(request).await?).await
    }

    /// Whether the container takes requests of every kind; it tells so without a token.
    pub async fn ready(&self) -> Result<()> {
        self.send(self.request(Method::GET, "/readyz")?).await.map(drop)
    }

    /// A page of what a level holds; its members are `items` and `next`.
    pub async fn admin_objects(&self, level: &str, prefix: &str, after: Option<&str>) -> Result<Value> {
        self.admin(&transport::level_path(level, prefix, after)).await
    }

    /// What `POST /v1/admin/{path}` does and tells.
    pub async fn admin_do(&self, path: &str, asked: &Value) -> Result<Value> {
        let request = self.request(Method::POST, &format!("/v1/admin/{path}"))?;
        let request = request.header(CONTENT_TYPE, "application/json").body(asked.to_string());
        decode(self.send(request).await?).await
    }

    /// What `DELETE /v1/admin/{path}` ends.
    pub async fn admin_end(&self, path: &str) -> Result<()> {
        self.send(self.request(Method::DELETE, &format!("/v1/admin/{path}"))?).await.map(drop)
    }
}

async fn decode(answer: reqwest::Response) -> Result<Value> {
    answer::json(answer, "it is no JSON").await
}
