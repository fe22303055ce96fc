//! The leader's lease: one row, on the database's clock, with a growing term that fences stale leaders.
//!
//! A row and not a session's advisory lock: the lease must work through a connection pooler, name the leader, and
//! contain a fence.
//!
//! Each statement that needs the lease locks its row by `for key share`. A takeover locks it `for update`, so it waits
//! for statements under way; a renewal changes no key, so it waits for none, however many claims overlap.

use std::time::Duration;

use sqlx::types::Json;

use crate::course::{InstanceId, Term};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::policy::leader_report::LeaderReport;

/// The right to claim. Each statement that uses it checks in the database that it is still valid.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The instance that holds it.
    pub holder: InstanceId,
    /// Its term. Only `holder` and `term` together identify a lease: after a failover that lost commits a term may
    /// repeat.
    pub term: Term,
}

/// The lease as the database granted it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LeaseGrant {
    /// The lease.
    pub lease: Lease,
    /// Commits may be lost, so pending courses must be verified before anything is sent.
    pub verifying: bool,
}

/// Takes the lease if it is free or expired, or renews this instance's own. `None`: another instance leads.
///
/// `report` is shown by `status`. `verify` requests that pending courses are verified before anything is sent; that
/// happens too if this is not the database that the last leader used.
///
/// Index: none; the table has one row.
pub async fn acquire_or_renew(
    database: impl Into<DatabaseRef<'_>>,
    holder: InstanceId,
    host: &str,
    lease: Duration,
    report: &LeaderReport,
    verify: bool,
) -> Result<Option<LeaseGrant>, OutboxError> {
    const LEAD: &str = "-- acquire or renew lease
        with free as materialized (
            -- A takeover waits here for claims under way, so that it finds their intents.
            select from course_sync_leader
             where holder is distinct from $1
               and (expires_at < clock_timestamp()
                    -- Renewed in the future: the clock was set back, and a dead leader's lease would last longer.
                    or renewed_at > clock_timestamp() + make_interval(secs => $3))
               for update
        )
        update course_sync_leader
           -- A renewal keeps the term; a new holder gets a new one.
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
    let query = sqlx::query_as(LEAD)
        .bind(holder)
        .bind(host)
        .bind(lease.as_secs_f64())
        .bind(Json(report))
        .bind(verify);
    let granted: Option<(Term, bool)> =
        run_statement(database, async |session| query.fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("take the leader's lease"))?;
    Ok(granted.map(|(term, verifying)| LeaseGrant { lease: Lease { holder, term }, verifying }))
}

/// Releases the lease, so that another instance can take it at once. Changes nothing if this instance lost it already.
///
/// Index: none; the table has one row.
pub async fn release(database: impl Into<DatabaseRef<'_>>, lease: Lease) -> Result<(), OutboxError> {
    const RELEASE: &str = "-- release lease
        update course_sync_leader
           set expires_at = '-infinity'
         where holder = $1 and term = $2";
    run_statement(database, async |session| {
        sqlx::query(RELEASE).bind(lease.holder).bind(lease.term).execute(session).await
    })
    .await
    .map_err(OutboxError::failed_to("release the leader's lease"))?;
    Ok(())
}
