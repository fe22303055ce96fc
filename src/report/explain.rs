//! The explanation of one course, from the database.

use jiff::Timestamp;

use crate::course::Status;
use crate::outbox::{DatabaseRef, OutboxError, history, overview, pause};
use crate::policy::explain::{ExplainContext, Explanation, UnconfirmedPolicy, explain};
use crate::report::pauses::merge_pauses;

/// Explains the course with this key; `None` if there is no such course.
///
/// # Errors
/// The database cannot be read.
pub async fn read_explanation(
    database: impl Into<DatabaseRef<'_>>,
    key: &str,
    unconfirmed: UnconfirmedPolicy,
) -> Result<Option<Explanation>, OutboxError> {
    let database = database.into();
    let Some(history) = history::read_history(database, key).await? else { return Ok(None) };
    let leader = overview::read_leader(database).await?.filter(|leader| leader.is_current);
    let stored = pause::read_active(database).await?;
    let has_leader = leader.is_some();
    let mut pauses = merge_pauses(leader.map(|leader| leader.report.pauses), &stored);
    // A pause of look-ups does not delay a course that is to be created, and a pause of archives delays only archives.
    let is_unconfirmed = history.course.status == Status::Unconfirmed;
    let is_archive = history.course.status == Status::Pending && history.course.archived;
    pauses.retain(|pause| {
        if pause.stops_only_archives() { is_archive } else { is_unconfirmed || pause.stops_creates() }
    });
    let context = ExplainContext { now: Timestamp::now(), has_leader, pauses, unconfirmed };
    Ok(Some(explain(history, &context)))
}
