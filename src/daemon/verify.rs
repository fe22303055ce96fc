//! Verification after lost commits: a standby was promoted, a backup restored, or an operator ran `--verify-first`.
//! Courses that are pending in the database may exist in HubSpot, so each is looked up before it is sent.

use std::sync::Arc;
use std::time::Instant;

use crate::daemon::lease_memory::LeaseMemory;
use crate::daemon::lease_request::renew_lease;
use crate::outbox::OutboxError;
use crate::outbox::lease::{Lease, LeaseGrant};
use crate::outbox::verify::{self, VerifyCursor, VerifyStep};
use crate::pipeline::context::Context;
use crate::telemetry::events;

/// Makes every pending course unconfirmed, so that the reconciler looks it up. Without a unique property, leaves the
/// decision to an operator: the request for the lease has written a pause. False if the lease was lost in between: the
/// next leader starts again.
pub(super) async fn verify_pending(
    context: &Arc<Context>,
    memory: &mut LeaseMemory,
    granted: &LeaseGrant,
) -> Result<bool, OutboxError> {
    let (lease, alarm) = (granted.lease, granted.alarm.as_deref());
    if let Some(detail) = granted.pause.as_deref() {
        context.account.set_operator_pause(Some(detail));
        tracing::error!(
            event = events::LOST_COMMITS_REVIEW_REQUIRED,
            term = lease.term.0,
            detail,
            "lost commits review required"
        );
    } else {
        tracing::warn!(
            event = events::LOST_COMMITS_VERIFICATION_STARTED,
            term = lease.term.0,
            alarm,
            "lost commits verification started"
        );
        if !mark_all_unconfirmed(context, memory, lease).await? {
            return Ok(false);
        }
    }
    verify::finish_verification(&context.edges.database, lease).await
}

/// Marks all pending courses, in steps. False if the lease was lost.
async fn mark_all_unconfirmed(
    context: &Arc<Context>,
    memory: &mut LeaseMemory,
    lease: Lease,
) -> Result<bool, OutboxError> {
    let mut renewed = Instant::now();
    let mut position = VerifyCursor::default();
    loop {
        // The marking may take longer than a lease, so it renews the lease in between.
        if renewed.elapsed() > context.settings.lease / 3 {
            if !renew_lease(context, memory, lease).await? {
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
