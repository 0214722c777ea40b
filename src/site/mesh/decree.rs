//! The policies of the mesh on their way from site to site. Each version is signed by the site where it was made, so any
//! site may tell of those of others.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use super::super::wire::{self, Said};
use super::super::{Site, locked};
use super::call::{Answer, Call};
use crate::error::{Error, Kind, Result};
use crate::limits::ASK_MAX;
use crate::model::{Name, PolicyRecord, Version};
use crate::nfr::{SIGNATURE_BYTES, said_by};

/// Pages that are asked for in one go.
const PAGES_MAX: usize = 256;

/// What a version is signed for; on no subject, since it is told on many.
const SUBJECT: &str = "policy";

/// A version as it is signed.
impl Said for PolicyRecord {
    const KIND: &'static str = "policy 1";
}

/// The sites whose policies were asked for and brought nothing, and the sum that they told of them: it would be no other
/// if they were asked again.
#[derive(Default)]
pub(super) struct Vain(Mutex<BTreeMap<Name, u64>>);

impl Vain {
    fn has(&self, site: &Name, sum: u64) -> bool {
        locked(&self.0).get(site) == Some(&sum)
    }

    fn note(&self, site: Name, sum: u64) {
        locked(&self.0).insert(site, sum);
    }

    /// What could not be believed may be, now that other sites are known.
    pub(super) fn forget(&self) {
        locked(&self.0).clear();
    }
}

impl Site {
    /// A page of policies for another site, behind this version.
    pub(super) fn policies_page(&self, after: Option<&(Name, Version)>) -> Result<Answer> {
        let (mut page, mut bytes, room) = (Vec::new(), 0, self.message_room() / 2);
        let behind = |record: &PolicyRecord| {
            after.is_none_or(|(name, version)| (&record.name, record.version) > (name, *version))
        };
        let mut last = None;
        for record in self.0.parts.policies.records().into_iter().filter(behind) {
            let place = (record.name.clone(), record.version);
            let told = self.told_policy(record)?;
            bytes += told.len();
            if bytes > room && !page.is_empty() {
                return Ok(Answer::Policies(page, last));
            }
            page.push(told);
            last = Some(place);
        }
        Ok(Answer::Policies(page, None))
    }

    fn told_policy(&self, record: PolicyRecord) -> Result<Vec<u8>> {
        let proof = record.proof;
        let plain = wire::plain(&PolicyRecord { proof: Vec::new(), ..record })?;
        match proof.is_empty() {
            true => self.0.mesh.identity.sign(&wire::purpose::<PolicyRecord>(SUBJECT), &plain),
            false => Ok([proof, plain].concat()),
        }
    }

    fn heard_policy(&self, told: &[u8]) -> Result<PolicyRecord> {
        let foreign = || Error::new(Kind::Unauthorised, "a policy that no site of the mesh has made");
        let (proof, plain) = told.split_first_chunk::<SIGNATURE_BYTES>().ok_or_else(foreign)?;
        let record: PolicyRecord = wire::from_plain(plain)?;
        let maker = self.0.mesh.roster.get(&record.site).ok_or_else(|| foreign().with("site", &record.site))?;
        said_by(&maker.keys, &wire::purpose::<PolicyRecord>(SUBJECT), told)?;
        Ok(PolicyRecord { proof: proof.to_vec(), ..record })
    }

    /// Whoever holds other policies is asked for them, one at a time.
    pub(super) fn compare_policies(&self, site: &Name, of: Name, sum: u64) {
        if sum == self.0.parts.policies.sum() || self.0.mesh.vain.has(site, sum) {
            return;
        }
        let Ok(turn) = Arc::clone(&self.0.mesh.asking).try_acquire_owned() else { return };
        let (me, site) = (self.clone(), site.clone());
        self.spawn(async move {
            match me.take_policies(&site, &of).await {
                Ok(0) => me.0.mesh.vain.note(site, sum),
                Ok(new) => tracing::info!(%site, new, "policies of the mesh were changed"),
                Err(error) => tracing::debug!(%error, %site, "the policies that a site knows could not be asked for"),
            }
            drop(turn);
        });
    }

    async fn take_policies(&self, site: &Name, of: &Name) -> Result<usize> {
        let (mut after, mut new) = (None, 0);
        for _ in 0..PAGES_MAX {
            let Answer::Policies(page, next) = self.call(site, Some(of), &Call::Policies(after), ASK_MAX).await? else {
                return Err(Error::internal("another site answers something else"));
            };
            let mut records = Vec::with_capacity(page.len());
            for told in page {
                match self.heard_policy(&told) {
                    Ok(record) => records.push(record),
                    Err(error) => self.meet_stranger("mesh.ask", &error),
                }
            }
            let policies = Arc::clone(&self.0.parts.policies);
            let adopted = tokio::task::spawn_blocking(move || policies.adopt(records)).await;
            new += adopted.map_err(|error| Error::internal("policies could not be kept").because(error))??;
            match next {
                Some(next) => after = Some(next),
                None => return Ok(new),
            }
        }
        Ok(new)
    }
}
