//! How long this container was without its site. The traces of deletes are forgotten after a month: who was away for
//! longer may hold what was deleted meanwhile, and nobody could tell it. So it comes back empty, or not at all.

use std::time::Duration;

use super::Site;
use crate::error::{Error, Result};
use crate::limits::TOMBSTONE_MS;

/// How often it is noted that this container is in touch with its site.
const NOTE_EVERY: Duration = Duration::from_secs(3600);

/// Whether who was in touch at this moment last may hold what all others have forgotten the delete of.
fn is_too_long(in_touch_ms: Option<u64>, now_ms: u64) -> bool {
    in_touch_ms.is_some_and(|last| now_ms.saturating_sub(last) > TOMBSTONE_MS)
}

impl Site {
    /// Refuses to come back to others after so long.
    pub(super) async fn check_absence(&self) -> Result<()> {
        if self.is_alone() {
            return Ok(());
        }
        let in_touch = self.blocking(|keeper| keeper.disk().store().in_touch_ms()).await?;
        if !is_too_long(in_touch, self.keeper().now_ms()) {
            return Ok(());
        }
        let why = "this container was away from its site for more than 30 days, and may hold what was deleted meanwhile; \
                   start it with an empty data folder, and look at what the old one holds with --bus local";
        Err(Error::invalid(why).with("site", &self.0.parts.site).with("container", &self.0.parts.container))
    }
}

/// Notes it until it is stopped. Who hears itself on the bus is heard by the others, whoever is there.
pub(super) async fn note(site: Site) {
    let last = site.blocking(|keeper| keeper.disk().store().in_touch_ms()).await.unwrap_or_default();
    // Those who remember may come a moment later than who was away: that stays to be seen for an hour.
    if is_too_long(last, site.keeper().now_ms()) {
        tokio::time::sleep(NOTE_EVERY).await;
    }
    loop {
        if site.has_lease() && site.0.parts.bus.describe().is_shared() {
            let noted = site.blocking(|keeper| keeper.disk().store().note_in_touch(keeper.now_ms())).await;
            if let Err(error) = noted {
                tracing::debug!(%error, "that the site was in touch cannot be noted; it is tried again");
            }
        }
        tokio::time::sleep(NOTE_EVERY).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_month_is_too_long_and_who_never_met_anybody_is_new() {
        assert!(!is_too_long(None, u64::MAX));
        assert!(!is_too_long(Some(5), TOMBSTONE_MS + 5) && is_too_long(Some(5), TOMBSTONE_MS + 6));
        assert!(!is_too_long(Some(9), 5), "a clock that was set back");
    }
}
