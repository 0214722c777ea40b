//! What is known of the mesh: which sites there are, which containers are of them, how far their news of a collection
//! were heard, and the policies that all sites hold alike.

use serde::{Deserialize, Serialize};

use super::batch::{Batch, Table};
use super::records;
use super::typed::Store;
use crate::error::Result;
use crate::model::{ContainerId, Dot, Name, PolicyRecord, SiteRecord, Version};

/// First bytes of the rows' keys.
const SITE: u8 = b's';
const CONTAINER: u8 = b'c';
const PLACE: u8 = b'p';
const POLICY: u8 = b'r';

/// A container, and of which site it is; also of the own one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FarContainer {
    /// Its identity.
    pub container: ContainerId,
    /// Its site.
    pub site: Name,
    /// Its name there.
    pub name: Name,
}

/// How far the news of a collection of a site were heard, of each life of the containers that tell of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NewsPlace {
    /// Of which site.
    pub site: Name,
    /// Which collection.
    pub collection: String,
    /// How far.
    pub heard: Vec<Dot>,
}

impl Batch {
    /// Keeps what is known of a site.
    pub fn put_site(&mut self, record: &SiteRecord) {
        self.put_known(SITE, record.name.as_str().as_bytes(), record);
    }

    /// Keeps of which site a container is.
    pub fn put_far_container(&mut self, far: &FarContainer) {
        self.put_known(CONTAINER, &far.container.0.to_be_bytes(), far);
    }

    /// Keeps how far the news of a collection were heard.
    pub fn put_news_place(&mut self, place: &NewsPlace) {
        // No name holds a 0.
        let name = [place.site.as_str().as_bytes(), &[0], place.collection.as_bytes()].concat();
        self.put_known(PLACE, &name, place);
    }

    /// Keeps a version of a policy.
    pub fn put_policy(&mut self, record: &PolicyRecord) {
        self.put_known(POLICY, &policy_name(&record.name, record.version), record);
    }

    /// Forgets a version of a policy.
    pub fn remove_policy(&mut self, name: &Name, version: Version) {
        let key = [&[POLICY], &policy_name(name, version)[..]].concat();
        self.remove(Table::Mesh, key);
    }

    fn put_known<T: Serialize>(&mut self, kind: u8, name: &[u8], record: &T) {
        let key = [&[kind], name].concat();
        let row = records::encode(&key, record);
        self.put(Table::Mesh, key, row);
    }
}

fn policy_name(name: &Name, version: Version) -> Vec<u8> {
    // No name holds a 0.
    [name.as_str().as_bytes(), &[0], &version.to_be_bytes()].concat()
}

impl Store {
    /// The policies of the mesh, each in all its versions that are kept. A row that is damaged is told anew by others.
    pub fn policies(&self) -> Result<Vec<PolicyRecord>> {
        self.known_of(POLICY)
    }

    /// The sites of the mesh. A row that is damaged is told anew by others.
    pub fn sites(&self) -> Result<Vec<SiteRecord>> {
        self.known_of(SITE)
    }

    /// Containers that were heard at some time.
    pub fn far_containers(&self) -> Result<Vec<FarContainer>> {
        self.known_of(CONTAINER)
    }

    /// How far the news of collections were heard.
    pub fn news_places(&self) -> Result<Vec<NewsPlace>> {
        self.known_of(PLACE)
    }

    /// Forgets how far the news were heard: what was taken in may be lost, and is to be fetched again.
    pub(super) fn forget_news_places(&self) -> Result<()> {
        let mut batch = Batch::new();
        self.rows.scan(Table::Mesh, &[PLACE], &mut |key, _| {
            let is_one = key.first() == Some(&PLACE);
            if is_one {
                batch.remove(Table::Mesh, key.to_vec());
            }
            Ok(is_one)
        })?;
        self.commit(&batch)
    }

    fn known_of<T: serde::de::DeserializeOwned + Send>(&self, kind: u8) -> Result<Vec<T>> {
        let mut found = Vec::new();
        self.rows.scan(Table::Mesh, &[kind], &mut |key, row| {
            let is_one = key.first() == Some(&kind);
            if is_one {
                found.extend(records::decode(Table::Mesh, key, row.to_vec()).ok());
            }
            Ok(is_one)
        })?;
        Ok(found)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::super::{Fs, SimFs, StoreOptions};
    use super::*;
    use crate::model::{Incarnation, SeededRng, SiteKeys};

    #[test]
    fn what_is_known_of_sites_is_kept_by_its_kind() {
        let file = SimFs::new(0).create(Path::new("/store")).unwrap();
        let store = Store::open(file, StoreOptions { cache_bytes: 1 << 20 }, &SeededRng::new(1)).unwrap();
        let site = |name: &str| SiteRecord {
            name: name.parse().unwrap(),
            keys: SiteKeys { agreement: [1; 32], signing: [2; 32] },
            since_ms: 3,
        };
        let far = FarContainer { container: ContainerId(7), site: site("edge").name, name: "c1".parse().unwrap() };
        let dot = |seq| Dot { incarnation: Incarnation(1), seq };
        let place = |seq| NewsPlace { site: site("edge").name, collection: "meteo".to_owned(), heard: vec![dot(seq)] };
        let mut batch = Batch::new();
        batch.put_site(&site("edge"));
        batch.put_site(&site("cloud"));
        batch.put_far_container(&far);
        batch.put_news_place(&place(4));
        batch.put_news_place(&place(5));
        store.commit(&batch).unwrap();
        assert_eq!(store.sites().unwrap(), [site("cloud"), site("edge")]);
        assert_eq!(store.far_containers().unwrap(), [far]);
        assert_eq!(store.news_places().unwrap(), [place(5)]);
        store.forget_news_places().unwrap();
        assert!(store.news_places().unwrap().is_empty() && store.sites().unwrap().len() == 2);
    }
}
