//! The keyring by its names, as the admin door shows it.

use crate::actors::{ChangeKeys, Handle, KeysView};
use crate::error::Result;
use crate::gateway::admin::{KeyChange, KeyReport, KeysReport, RewrapReport};
use crate::store::RewrapRecord;

/// Which keys there are; changes them first if that is wanted.
pub(super) async fn report(handle: Handle, change: Option<KeyChange>) -> Result<KeysReport> {
    let view = match change {
        None => handle.keys().await?,
        Some(KeyChange::Create) => handle.change_keys(ChangeKeys::Create).await?,
        Some(KeyChange::Rotate(to)) => handle.change_keys(ChangeKeys::Rotate(to)).await?,
    };
    let KeysView { active, ids, rewrap } = view;
    let state = |id| if id == active { "active" } else { "kept" };
    let keys = ids.into_iter().map(|id| KeyReport { id: id.to_string(), state: state(id) }).collect();
    Ok(KeysReport { keys, rewrap: rewrap.map(told) })
}

fn told(record: RewrapRecord) -> RewrapReport {
    let RewrapRecord { key, rewrapped, failed, last_error, started_ms, ended_ms, .. } = record;
    let running = ended_ms.is_none();
    RewrapReport { key: key.to_string(), running, rewrapped, failed, last_error, started_ms, ended_ms }
}
