//! Marks as unconfirmed what stopped instances left in flight. Neither leading nor sending waits for it: a course that an
//! open request lists is never claimed.

use crate::course::RowId;
use crate::outbox::OutboxError;
use crate::outbox::lease::Lease;
use crate::outbox::recover;
use crate::pipeline::context::Context;
use crate::pipeline::single_rows::{Halves, log_not_writable};
use crate::runtime::database_health::DatabaseTask;

/// Marks the courses. Returns their number. An error is reported, and the next renewal of the lease tries again.
pub(super) async fn mark_unconfirmed(context: &Context, lease: Lease) -> u64 {
    let health = &context.reporting.database_health;
    let marked = match mark(context, lease, None).await {
        // One row may prevent the statement: then the others are marked without it.
        Err(error) if error.concerns_single_rows() => mark_one_by_one(context, lease).await,
        marked => marked,
    };
    match marked {
        Ok(courses) => {
            health.record_success(DatabaseTask::MarkOrphans);
            courses
        }
        Err(error) => {
            health.record_failure(DatabaseTask::MarkOrphans, &error);
            0
        }
    }
}

async fn mark(context: &Context, lease: Lease, only: Option<&[RowId]>) -> Result<u64, OutboxError> {
    let settings = &context.settings;
    recover::mark_orphans_unconfirmed(
        &context.edges.database,
        lease,
        settings.settle,
        settings.send_window(),
        only,
    )
    .await
}

/// Marks the courses in halves, down to those whose rows cannot be written.
async fn mark_one_by_one(context: &Context, lease: Lease) -> Result<u64, OutboxError> {
    let database = &context.edges.database;
    let orphaned = recover::orphaned_courses(database, lease, context.settings.send_window()).await?;
    let (mut halves, mut marked) = (Halves::new(&orphaned), 0);
    while let Some(group) = halves.next_group() {
        let ids: Vec<RowId> = group.iter().map(|course| course.id).collect();
        match mark(context, lease, Some(&ids)).await {
            Ok(courses) => marked += courses,
            Err(error) => halves.divide(group, error)?,
        }
    }
    let keys = halves.refused().iter().map(|course| course.key.as_str());
    log_not_writable(keys, halves.reason().unwrap_or_default());
    Ok(marked)
}
