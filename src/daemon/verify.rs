//! Verification after lost commits: a standby was promoted, a backup restored, or an operator ran `--verify-first`.
//! Courses that are pending in the database may exist in HubSpot, so each is looked up before it is sent.

use std::sync::Arc;
use std::time::Instant;

use crate::daemon::lease_request::request_lease;
use crate::outbox::OutboxError;
use crate::outbox::lease::Lease;
use crate::outbox::ops::pause;
use crate::outbox::verify::{self, VerifyCursor, VerifyStep};
use crate::pipeline::context::Context;
use crate::telemetry::events;

/// Makes every pending course unconfirmed, so that the reconciler looks it up. Without a unique property, pauses and
/// leaves the decision to an operator. False if the lease was lost in between: the next leader starts again.
pub(super) async fn verify_pending(context: &Arc<Context>, lease: Lease) -> Result<bool, OutboxError> {
    if context.settings.unique_property.is_none() {
        let message = "the database may have lost commits (a standby was promoted, or a backup restored). Pending courses \
                       may already exist in HubSpot, and without hubspot.unique_property course-sync cannot check. \
                       Compare them by hand, then run `course-sync resume`";
        pause::pause(&context.edges.database, message, "course-sync").await?;
        context.account.set_operator_pause(Some(message));
        tracing::error!(
            event = events::LOST_COMMITS_REVIEW_REQUIRED,
            term = lease.term.0,
            detail = message,
            "lost commits review required"
        );
    } else {
        tracing::warn!(
            event = events::LOST_COMMITS_VERIFICATION_STARTED,
            term = lease.term.0,
            "lost commits verification started"
        );
        if !mark_all_unconfirmed(context, lease).await? {
            return Ok(false);
        }
    }
    verify::finish_verification(&context.edges.database, lease).await
}

/// Marks all pending courses, in steps. False if the lease was lost.
async fn mark_all_unconfirmed(context: &Arc<Context>, lease: Lease) -> Result<bool, OutboxError> {
    let mut renewed = Instant::now();
    let mut position = VerifyCursor::default();
    loop {
        // The marking may take longer than a lease, so it renews the lease in between.
        if renewed.elapsed() > context.settings.lease / 3 {
            let granted = request_lease(context, false).await?;
            if granted.is_none_or(|granted| granted.lease != lease) {
                return Ok(false);
            }
            renewed = Instant::now();
        }
        match verify::mark_pending_unconfirmed(&context.edges.database, lease, position).await? {
            VerifyStep::Progress(so_far) => position = so_far,
            VerifyStep::Complete => return Ok(true),
            VerifyStep::LeaseLost => return Ok(false),
        }
    }
}
