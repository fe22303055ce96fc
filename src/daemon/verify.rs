//! The database may have lost commits (a standby was promoted, a backup restored), or a person says
//! so: nothing that it calls pending is believed before HubSpot was asked.

use std::sync::Arc;
use std::time::Instant;

use super::{Shared, leader};
use crate::outbox::lease::Lease;
use crate::outbox::verify::{self, Bite, Position};
use crate::outbox::{OutboxError, pause};

/// Puts every pending course in doubt, or without a unique property stops and asks. False where the
/// lease was lost meanwhile; the next leader begins again.
pub(super) async fn pass(shared: &Arc<Shared>, lease: Lease) -> Result<bool, OutboxError> {
    if shared.settings.unique_property.is_none() {
        let message = "the database may have lost commits (a standby was promoted, or a backup restored), so courses \
                       that it calls pending may exist in HubSpot already, and without hubspot.unique_property nothing \
                       can tell. Compare them by hand, then run `course-sync resume`";
        pause::pause(&shared.database, message, "course-sync").await?;
        shared.account.operator(Some(message));
        tracing::error!(
            term = lease.term,
            detail = message,
            "the database may have lost commits: a person has to mend this"
        );
    } else {
        tracing::warn!(
            term = lease.term,
            "the database may have lost commits: every pending course is looked up in HubSpot before it is sent"
        );
        if !doubt_all(shared, lease).await? {
            return Ok(false);
        }
    }
    verify::finish(&shared.database, lease).await
}

async fn doubt_all(shared: &Arc<Shared>, lease: Lease) -> Result<bool, OutboxError> {
    let mut renewed = Instant::now();
    let mut position = Position::default();
    loop {
        if renewed.elapsed() > shared.settings.lease / 3 {
            let granted = leader::ask(shared, false).await?;
            if granted.is_none_or(|granted| granted.lease != lease) {
                return Ok(false);
            }
            renewed = Instant::now();
        }
        match verify::doubt_pending(&shared.database, lease, position).await? {
            Bite::Taken(so_far) => position = so_far,
            Bite::NoneLeft => return Ok(true),
            Bite::NotLed => return Ok(false),
        }
    }
}
