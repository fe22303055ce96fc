//! Finds the long transaction that keeps vacuum from removing dead rows. Claims stay fast meanwhile, but the outbox's
//! tables grow until it ends.

use std::time::Duration;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// A transaction that has been open for a long time.
#[derive(Debug, Clone, PartialEq)]
pub struct OldTransaction {
    /// The server's process, for `pg_terminate_backend`.
    pub pid: i32,
    /// The role that opened it.
    pub usename: Option<String>,
    /// The program that opened it.
    pub application_name: Option<String>,
    /// How long it has been open.
    pub seconds: f64,
}

impl_from_row!(OldTransaction { pid, usename, application_name, seconds });

/// The oldest transaction in this database that holds back vacuum and is older than `age`. A role without
/// `pg_read_all_stats` sees only its own transactions.
///
/// Index: none; it reads the server's list of sessions.
pub async fn oldest_transaction(
    database: impl Into<DatabaseRef<'_>>,
    age: Duration,
) -> Result<Option<OldTransaction>, OutboxError> {
    const OLDEST: &str = "-- oldest transaction
        select pid, usename::text, application_name, extract(epoch from clock_timestamp() - xact_start)::float8 as seconds
          from pg_stat_activity
         where datname = current_database() and pid <> pg_backend_pid() and backend_xmin is not null
           and xact_start < clock_timestamp() - make_interval(secs => $1)
         order by xact_start
         limit 1";
    run_statement(database, async |session| {
        sqlx::query_as(OLDEST).bind(age.as_secs_f64()).fetch_optional(session).await
    })
    .await
    .map_err(OutboxError::failed_to("look for long transactions"))
}
