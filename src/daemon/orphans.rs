//! Marks as unconfirmed what stopped instances left in flight. Neither leading nor sending waits for it: a course that an
//! open request lists is never claimed.

use crate::course::RowId;
use crate::outbox::OutboxError;
use crate::outbox::lease::Lease;
use crate::outbox::recover;
use crate::pipeline::context::Context;
use crate::pipeline::record;
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
    let mut groups = vec![orphaned.as_slice()];
    let (mut marked, mut refused, mut reason) = (0, Vec::new(), String::new());
    while let Some(group) = groups.pop() {
        let ids: Vec<RowId> = group.iter().map(|course| course.id).collect();
        match (mark(context, lease, Some(&ids)).await, group) {
            (Ok(courses), _) => marked += courses,
            (Err(error), [course]) if error.concerns_single_rows() => {
                reason = error.to_string();
                refused.push(course);
            }
            (Err(error), _) if error.concerns_single_rows() => {
                let (first, second) = group.split_at(group.len() / 2);
                groups.extend([second, first]);
            }
            (Err(error), _) => return Err(error),
        }
    }
    record::log_not_writable(refused.iter().map(|course| course.key.as_str()), refused.len(), &reason);
    Ok(marked)
}
