//! When the next courses are due, so that a poll of an idle outbox is one statement.

use std::time::Duration;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// In how many seconds the next course of each kind is due. Negative: it is due already. `None`: there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NextDue {
    /// New courses that are no suspects.
    pub creates: Option<f64>,
    /// Changed courses that are no suspects.
    pub updates: Option<f64>,
    /// Withdrawn courses that are no suspects.
    pub archives: Option<f64>,
    /// Suspects.
    pub suspects: Option<f64>,
    /// Unconfirmed courses, and records that are read once more.
    pub unconfirmed: Option<f64>,
}

impl_from_row!(NextDue { creates, updates, archives, suspects, unconfirmed });

impl NextDue {
    /// How long it takes until the next course that is not due yet is due.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let waits = [self.creates, self.updates, self.archives, self.suspects, self.unconfirmed];
        let next = waits.into_iter().flatten().filter(|seconds| *seconds > 0.0).reduce(f64::min)?;
        Duration::try_from_secs_f64(next).ok()
    }
}

/// Whether such a course is due now.
#[must_use]
pub fn is_due(seconds: Option<f64>) -> bool {
    seconds.is_some_and(|seconds| seconds <= 0.0)
}

/// Reads when the next courses are due. Courses in flight do not count: the end of their request is an event.
///
/// Index: `course_outbox_pending`, `course_outbox_updates`, `course_outbox_archives`, `course_outbox_suspects`,
/// `course_outbox_unconfirmed`, `course_outbox_rechecks` and `course_sync_batch_open`.
pub async fn read_next_due(database: impl Into<DatabaseRef<'_>>) -> Result<NextDue, OutboxError> {
    // The seconds are subtracted, not the times: a time may be infinite.
    const NEXT: &str = "-- next due courses
        with in_flight as materialized (
            select id from course_sync_in_flight()
        )
        select extract(epoch from creates)::float8 - extract(epoch from now())::float8 as creates,
               extract(epoch from updates)::float8 - extract(epoch from now())::float8 as updates,
               extract(epoch from archives)::float8 - extract(epoch from now())::float8 as archives,
               extract(epoch from suspects)::float8 - extract(epoch from now())::float8 as suspects,
               extract(epoch from unconfirmed)::float8 - extract(epoch from now())::float8 as unconfirmed
          from (select (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is null and hubspot_id is null and not archived
                           and id not in (select id from in_flight)
                         order by next_attempt_at, id limit 1) as creates,
                       (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is null and hubspot_id is not null and not archived
                           and id not in (select id from in_flight)
                         order by next_attempt_at, id limit 1) as updates,
                       (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is null and archived
                           and id not in (select id from in_flight)
                         order by next_attempt_at, id limit 1) as archives,
                       (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is not null
                           and id not in (select id from in_flight)
                         order by next_attempt_at, id limit 1) as suspects,
                       least((select min(next_attempt_at) from course_outbox where status = 'unconfirmed'),
                             (select min(recheck_at) from course_outbox
                               where recheck_at is not null and status = 'synced')) as unconfirmed) t";
    run_statement(database, async |session| sqlx::query_as(NEXT).fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("find the next course that is due"))
}
