//! A server that became read-only: after a switchover, connections to the old primary are not used again.

use course_sync::course::InstanceId;
use course_sync::outbox::connect::{open_pool, verify_schema};
use course_sync::outbox::lease::acquire_or_renew;
use course_sync::outbox::{Database, OutboxError, SessionMode};
use course_sync::policy::leader_report::LeaderReport;
use secrecy::SecretString;
use sqlx::AssertSqlSafe;
use uuid::Uuid;

use super::LEASE;
use crate::support::postgres::database;

/// A statement that writes.
async fn write(pool: &Database) -> Result<(), OutboxError> {
    let instance = InstanceId(Uuid::new_v4());
    acquire_or_renew(pool, instance, "test", LEASE, &LeaderReport::default(), false).await.map(drop)
}

#[tokio::test]
async fn one_refused_write_replaces_every_connection_to_a_read_only_server() {
    let database = database().await;
    let name = database.name();
    let set = format!("alter database {name} set default_transaction_read_only = on");
    sqlx::raw_sql(AssertSqlSafe(set)).execute(database.pool()).await.unwrap();
    let pool = open_pool(&SecretString::from(database.url().await), 4, SessionMode::Dedicated).unwrap();
    let (a, b, c, d) =
        tokio::join!(verify_schema(&pool), verify_schema(&pool), verify_schema(&pool), verify_schema(&pool));
    assert!([a, b, c, d].iter().all(Result::is_ok));
    let sessions: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity
          where datname = current_database() and application_name = 'course-sync'",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert!(sessions > 1, "the pool has {sessions} sessions");
    // As after a switchover: the open sessions stay read-only, and new ones reach a server that accepts writes.
    let reset =
        format!("set transaction_read_only = off; alter database {name} reset default_transaction_read_only");
    sqlx::raw_sql(AssertSqlSafe(reset)).execute(database.pool()).await.unwrap();
    assert!(write(&pool).await.unwrap_err().is_transient());
    for _ in 0..sessions {
        write(&pool).await.unwrap();
    }
}
