//! The leader's lease: one row, on the database's clock, with a term that grows.
//!
//! Not a session's advisory lock: it must hold through a connection pooler, say who leads, and fence.
//!
//! Whatever is done under the lease locks its row by `for key share`. A takeover locks it `for update`, so it
//! waits for what is under way; a renewal changes no key, so it waits for nothing, however many claims overlap.

use std::time::Duration;

use serde_json::Value;
use uuid::Uuid;

use super::OutboxError;
use super::database::{Reach, ask};

/// The right to claim, as long as the database agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The instance that holds it.
    pub holder: Uuid,
    /// Its term. Together with `holder` it names a lease; alone it might repeat after a failover.
    pub term: i64,
}

/// What the database said to whoever asked to lead.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Granted {
    /// The lease.
    pub lease: Lease,
    /// Commits may be lost, so that pending courses are to be looked up before anything is sent.
    pub verifying: bool,
}

/// Takes the lease if it is free or expired, or renews one's own. `None`: somebody else leads.
/// `report` is what the leader says of itself, for `status`; `verify` asks for pending courses to be
/// looked up first. They are, too, where this is not the database that the last leader knew.
///
/// Served by the table's only row.
pub async fn lead(
    database: impl Into<Reach<'_>>,
    holder: Uuid,
    host: &str,
    lease: Duration,
    report: &Value,
    verify: bool,
) -> Result<Option<Granted>, OutboxError> {
    const LEAD: &str = "
        with free as materialized (
            select from course_sync_leader
             where holder is distinct from $1
               and (expires_at < clock_timestamp()
                    -- renewed in the future: the clock was set back, and would keep a dead leader's lease for as long
                    or renewed_at > clock_timestamp() + make_interval(secs => $3))
               for update
        )
        update course_sync_leader
           set term = term + (holder is distinct from $1)::int,
               holder = $1,
               host = $2,
               report = $4,
               verifying = verifying or $5 or coalesce(incarnation <> course_sync_incarnation(), false),
               incarnation = course_sync_incarnation(),
               renewed_at = clock_timestamp(),
               expires_at = clock_timestamp() + make_interval(secs => $3)
         where holder = $1 or exists (select from free)
        returning term, verifying";
    let query =
        sqlx::query_as(LEAD).bind(holder).bind(host).bind(lease.as_secs_f64()).bind(report).bind(verify);
    let granted: Option<(i64, bool)> = ask(database, async |session| query.fetch_optional(session).await)
        .await
        .map_err(OutboxError::doing("take the leader's lease"))?;
    Ok(granted.map(|(term, verifying)| Granted { lease: Lease { holder, term }, verifying }))
}

/// Hands the lease over at once. Does nothing if it is no longer ours.
///
/// Served by the table's only row.
pub async fn release(database: impl Into<Reach<'_>>, lease: Lease) -> Result<(), OutboxError> {
    const RELEASE: &str = "
        update course_sync_leader
           set expires_at = '-infinity'
         where holder = $1 and term = $2";
    ask(database, async |session| {
        sqlx::query(RELEASE).bind(lease.holder).bind(lease.term).execute(session).await
    })
    .await
    .map_err(OutboxError::doing("release the leader's lease"))?;
    Ok(())
}
