//! The scrub and what it found, as the admin door shows it.

use crate::actors::Handle;
use crate::error::{Error, Result};
use crate::gateway::admin::{QuarantineReport, RepairReport, RoundReport, ScrubReport};
use crate::limits::QUARANTINE_NAMED_MAX;
use crate::store::{QuarantineRecord, ScrubRecord, ScrubRound};

/// Begins a round if that is wanted, and tells how far it is.
pub(super) async fn report(handle: Handle, start: bool, bytes_per_s: u64) -> Result<ScrubReport> {
    let record = if start { handle.start_scrub().await? } else { handle.scrub().await? };
    let told = tokio::task::spawn_blocking(move || tell(&handle, record, bytes_per_s)).await;
    told.map_err(|error| Error::internal("the report could not be made").because(error))?
}

/// Accepts what a salvage lost if that is wanted, and tells what it was.
pub(super) async fn losses(handle: Handle, accept: bool) -> Result<RepairReport> {
    let frames_let_go = if accept { handle.accept_losses().await? } else { 0 };
    let Some(record) = handle.losses().await? else { return Ok(RepairReport::default()) };
    if accept {
        tracing::warn!(frames_let_go, kept = record.damaged, "the losses of a salvage are accepted");
    }
    Ok(RepairReport {
        incomplete: record.incomplete,
        salvaged_ms: Some(record.at_ms),
        why: Some(record.why),
        kept: Some(record.damaged),
        rows: record.rows,
        lost_pages: record.lost_pages,
        lost_rows: record.lost_rows,
        tables: record.tables,
        missing: record.missing,
        frames_let_go,
    })
}

fn tell(handle: &Handle, record: ScrubRecord, bytes_per_s: u64) -> Result<ScrubReport> {
    let disk = handle.keeper().disk();
    let usage = disk.usage()?;
    let named = disk.store().quarantined(QUARANTINE_NAMED_MAX)?.into_iter().map(|(frame, record)| {
        let QuarantineRecord { address, version, why, at_ms } = record;
        let newest = match disk.head(&address) {
            Ok(Some(head)) => head.version() <= version,
            // The object is gone, and only an old version of it is kept; unless its head is among what was lost.
            Ok(None) => disk.is_incomplete(),
            // A head that cannot be read is no newer version either.
            Err(_) => true,
        };
        let (version, frame) = (version.to_string(), frame.to_string());
        QuarantineReport { address: address.to_string(), version, frame, why, at_ms, newest }
    });
    Ok(ScrubReport {
        running: record.round.is_some(),
        round: record.round.map(round),
        objects: usage.objects,
        bytes: usage.bytes,
        bytes_per_s,
        history: record.history.into_iter().map(round).collect(),
        quarantined: usage.quarantined,
        quarantine: named.collect(),
    })
}

fn round(round: ScrubRound) -> RoundReport {
    let ScrubRound { started_ms, ended_ms, asked, objects, bytes, damaged, healed, unreadable, last_error } = round;
    RoundReport { started_ms, ended_ms, asked, objects, bytes, damaged, healed, unreadable, last_error }
}
