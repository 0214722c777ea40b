//! How the other sites stand, as far as this container can say.

use super::super::members::Member;
use super::super::{Site, locked};
use crate::model::SiteRecord;

/// A site of the mesh.
#[derive(Clone, Debug)]
pub struct SiteStanding {
    /// Who it is.
    pub record: SiteRecord,
    /// Its containers that were heard, and whether each can be asked.
    pub members: Vec<(Member, bool)>,
    /// How many collections of it this site may see; nothing until that was heard.
    pub collections: Option<u64>,
    /// The version of the mesh that it speaks, where that is another one than here: then it is not heard.
    pub spoken: Option<u8>,
}

impl Site {
    /// The own site as others know it.
    pub fn own_record(&self) -> Option<SiteRecord> {
        self.0.mesh.roster.get(&self.0.parts.site)
    }

    /// The other sites of the mesh, by name.
    pub fn other_sites(&self) -> Vec<SiteStanding> {
        let (now_ms, far) = (self.now_ms(), locked(&self.0.mesh.far));
        let others = self.0.mesh.roster.all().into_iter().filter(|record| record.name != self.0.parts.site);
        let standing = |record: SiteRecord| SiteStanding {
            members: far.members(&record.name, now_ms),
            spoken: far.spoken(&record.name),
            collections: far.collections(&record.name).map(|collections| collections.len() as u64),
            record,
        };
        others.map(standing).collect()
    }
}
