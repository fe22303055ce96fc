//! When the next courses are due, so that a poll of an idle outbox is one statement.

use std::time::Duration;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// In how many seconds the next course of each kind is due. Negative: it is due already. `None`: there is none.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct NextDue {
    /// Pending courses that are no suspects.
    pub fresh: Option<f64>,
    /// Suspects.
    pub suspects: Option<f64>,
    /// Unconfirmed courses.
    pub unconfirmed: Option<f64>,
}

impl_from_row!(NextDue { fresh, suspects, unconfirmed });

impl NextDue {
    /// How long it takes until the next course that is not due yet is due.
    #[must_use]
    pub fn wait(&self) -> Option<Duration> {
        let waits = [self.fresh, self.suspects, self.unconfirmed];
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
/// Index: `course_outbox_pending`, `course_outbox_suspects`, `course_outbox_unconfirmed` and `course_sync_batch_open`.
pub async fn read_next_due(database: impl Into<DatabaseRef<'_>>) -> Result<NextDue, OutboxError> {
    // The seconds are subtracted, not the times: a time may be infinite.
    const NEXT: &str = "-- next due courses
        select extract(epoch from fresh)::float8 - extract(epoch from now())::float8 as fresh,
               extract(epoch from suspects)::float8 - extract(epoch from now())::float8 as suspects,
               extract(epoch from unconfirmed)::float8 - extract(epoch from now())::float8 as unconfirmed
          from (select (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is null
                           and id not in (select id from course_sync_in_flight())
                         order by next_attempt_at, id limit 1) as fresh,
                       (select next_attempt_at from course_outbox
                         where status = 'pending' and suspected_at is not null
                           and id not in (select id from course_sync_in_flight())
                         order by next_attempt_at, id limit 1) as suspects,
                       (select min(next_attempt_at) from course_outbox where status = 'unconfirmed') as unconfirmed) t";
    run_statement(database, async |session| sqlx::query_as(NEXT).fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("find the next course that is due"))
}
