//! The leader's lease: one row, on the database's clock, with a term that grows.
//!
//! Not a session's advisory lock: it must hold through a connection pooler, say who leads, and fence.

use std::time::Duration;

use serde_json::Value;
use sqlx::PgPool;
use uuid::Uuid;

use super::{OutboxError, connect};

/// The right to claim, as long as the database agrees.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lease {
    /// The instance that holds it.
    pub holder: Uuid,
    /// Its term. Together with `holder` it names a lease; alone it might repeat after a failover.
    pub term: i64,
}

/// Takes the lease if it is free or expired, or renews one's own. `None`: somebody else leads.
/// `report` is what the leader says of itself, for `status`.
///
/// Served by the table's only row.
pub async fn lead(
    pool: &PgPool,
    holder: Uuid,
    host: &str,
    lease: Duration,
    report: &Value,
) -> Result<Option<Lease>, OutboxError> {
    const LEAD: &str = "
        update course_sync_leader
           set term = term + (holder is distinct from $1)::int,
               holder = $1,
               host = $2,
               report = $4,
               renewed_at = clock_timestamp(),
               expires_at = clock_timestamp() + make_interval(secs => $3)
         where holder = $1 or expires_at < clock_timestamp()
        returning term";
    let query = sqlx::query_scalar(LEAD).bind(holder).bind(host).bind(lease.as_secs_f64()).bind(report);
    let term: Option<i64> = connect::ask(pool, async |session| query.fetch_optional(session).await)
        .await
        .map_err(OutboxError::doing("take the leader's lease"))?;
    Ok(term.map(|term| Lease { holder, term }))
}

/// Hands the lease over at once. Does nothing if it is no longer ours.
///
/// Served by the table's only row.
pub async fn release(pool: &PgPool, lease: Lease) -> Result<(), OutboxError> {
    const RELEASE: &str = "
        update course_sync_leader
           set expires_at = '-infinity'
         where holder = $1 and term = $2";
    connect::ask(pool, async |session| {
        sqlx::query(RELEASE).bind(lease.holder).bind(lease.term).execute(session).await
    })
    .await
    .map_err(OutboxError::doing("release the leader's lease"))?;
    Ok(())
}
