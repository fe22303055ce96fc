//! The courses of attached tables that the outbox cannot hold. Touches the database.

use sqlx::Row;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The courses that the outbox cannot hold.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct RefusedCourses {
    /// Their number, up to [`MAX_COUNTED`].
    pub count: u64,
    /// The newest of them: table, key and reason.
    pub examples: Vec<String>,
}

/// More courses are not counted.
pub const MAX_COUNTED: u32 = 1000;

/// The rows of refused courses, without those that were written to the outbox since. Index: `course_outbox_course_key_unique`.
macro_rules! refused_changes {
    () => {
        "select source, course_key, reason, last_at from course_sync_refused_change as r
              where not exists (select from course_outbox as o
                                 where o.course_key = r.course_key and coalesce(o.changed_at, o.created_at) > r.last_at)"
    };
}
pub(in crate::outbox) use refused_changes;

/// Reads the courses that the outbox cannot hold, without those that were written to it since.
///
/// Index: none on `last_at`, the table is small; `course_outbox_course_key_unique`.
pub async fn read_refused(database: impl Into<DatabaseRef<'_>>) -> Result<RefusedCourses, OutboxError> {
    const REFUSED: &str = concat!(
        "-- refused courses of attached tables
        with refused as (
             ",
        refused_changes!(),
        "
             limit $1
        )
        select (select count(*) from refused) as count,
               array(select format('%s, key %s: %s', source, coalesce(quote_literal(left(course_key, 60)), 'missing'), reason)
                       from refused order by last_at desc limit 3) as examples"
    );
    let query = sqlx::query(REFUSED).bind(i64::from(MAX_COUNTED));
    let read = run_statement(database, async |session| {
        let row = query.fetch_one(session).await?;
        let count: i64 = row.try_get("count")?;
        Ok(RefusedCourses {
            count: u64::try_from(count).unwrap_or_default(),
            examples: row.try_get("examples")?,
        })
    });
    read.await.map_err(OutboxError::failed_to("read the refused courses of attached tables"))
}
