//! Where an object is: its copies in the site, as the containers tell of them.

use reqwest::Method;
use serde::{Deserialize, Serialize};

use super::{Client, about, answer, transport};
use crate::error::Result;
use crate::model::Address;

/// Where an object is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Located {
    /// The object.
    pub address: String,
    /// Every version that somebody has, newest first.
    pub versions: Vec<VersionCopies>,
    /// Containers that may have more and did not answer in time.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unasked: Vec<String>,
}

/// The copies of one version.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct VersionCopies {
    /// The version.
    pub version: String,
    /// Its copies, the nearest first.
    pub copies: Vec<Copy>,
}

/// One copy. Its words are texts, so that those of newer containers can be shown.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Copy {
    /// In which site.
    pub site: String,
    /// At which container.
    pub container: String,
    /// `ram`, `disk` or `cloud`.
    pub level: String,
    /// What it is good for, such as `kept` or `cached`.
    pub state: String,
    /// Milliseconds to that container and back; nothing where it cannot be asked.
    pub cost_ms: Option<f64>,
}

impl Client {
    /// Every copy of an object in the site.
    pub async fn locate(&self, address: &Address) -> Result<Located> {
        let request = self.request(Method::GET, &transport::locate_path(address))?;
        let answer = self.send(request).await.map_err(|error| about(error, address))?;
        let unasked = answer.headers().get("mesh-unasked").and_then(|names| names.to_str().ok()).unwrap_or_default();
        let unasked = unasked.split(", ").filter(|name| !name.is_empty()).map(str::to_owned).collect();
        let located: Located = answer::json(answer, "where the object is cannot be read").await?;
        Ok(Located { unasked, ..located })
    }
}
