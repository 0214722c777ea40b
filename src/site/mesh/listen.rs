//! Listening to the news of collections that are used here.

use super::super::wire;
use super::super::{Site, locked};
use super::hear::FarNews;
use super::tell::Tidings;
use crate::bus::{Message, Subscription};
use crate::error::{Error, Kind, Result};
use crate::model::Name;

/// Hands on what other sites tell of a collection.
pub(super) async fn listen(site: Site, collection: String, mut news: Subscription) {
    while let Some(message) = site.next(&mut news, "news").await {
        let from = message.subject.as_str().split('.').nth(2).and_then(|name| name.parse::<Name>().ok());
        let Some(from) = from.filter(|from| *from != site.0.parts.site) else { continue };
        match site.read_news(&from, &collection, &message) {
            Ok(news) => {
                let heard = FarNews::Tidings { site: from, collection: collection.clone(), news };
                if site.0.mesh.heard.send(heard).await.is_err() {
                    return;
                }
            }
            Err(error) => tracing::debug!(%error, %from, collection, "news of another site count for nothing"),
        }
    }
}

impl Site {
    fn read_news(&self, from: &Name, collection: &str, message: &Message) -> Result<Tidings> {
        let subject = message.subject.as_str();
        let sealed = self.said::<Tidings>(from, subject, &message.body)?;
        let unknown = || Error::new(Kind::NotYet, "what the site shows is not known yet");
        let key = locked(&self.0.mesh.far).news_key(from, collection).ok_or_else(unknown)?;
        let opened = key.open(&wire::purpose::<Tidings>(subject), sealed).inspect_err(|_| {
            // Who may see it has changed: its site tells anew who asks.
            locked(&self.0.mesh.far).doubt(from);
        })?;
        wire::from_plain(&opened)
    }
}
