//! Whose open transaction keeps the server from clearing away dead rows. The outbox's own claims stay fast
//! beside one; its tables grow until it ends.

use std::time::Duration;

use super::OutboxError;
use super::database::{Reach, ask};

/// A transaction that has been open for long.
#[derive(Debug, Clone, PartialEq, sqlx::FromRow)]
pub struct OldTransaction {
    /// The server's process, for `pg_terminate_backend`.
    pub pid: i32,
    /// Who opened it.
    pub usename: Option<String>,
    /// By which program.
    pub application_name: Option<String>,
    /// How long it has been open.
    pub seconds: f64,
}

/// The oldest transaction of this database that holds back vacuum and is older than `age`. A role without
/// `pg_read_all_stats` sees its own alone.
///
/// Reads the server's list of sessions, no table.
pub async fn oldest_transaction(
    database: impl Into<Reach<'_>>,
    age: Duration,
) -> Result<Option<OldTransaction>, OutboxError> {
    const OLDEST: &str = "
        select pid, usename::text, application_name, extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
          from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and backend_xmin is not null
           and xact_start < clock_timestamp() - make_interval(secs => $1)
         order by xact_start
         limit 1";
    ask(database, async |session| {
        sqlx::query_as(OLDEST).bind(age.as_secs_f64()).fetch_optional(session).await
    })
    .await
    .map_err(OutboxError::doing("look for old transactions"))
}
