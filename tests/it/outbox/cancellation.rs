//! A statement whose future is dropped half-way must not lose the next write on the same connection.

use std::time::Duration;

use course_sync::outbox::connect::open_pool as connect;
use course_sync::outbox::journal::close_settled_batches;
use course_sync::outbox::ops::pause::{pause, resume};
use course_sync::outbox::{Database, SessionMode};
use secrecy::SecretString;

use crate::support::postgres::{TestDatabase, database};

/// Statements that are cancelled, at moments from before the first byte to after the response.
const CANCELLED: u64 = 300;

async fn later_writes_take_effect(test: &TestDatabase, sessions: SessionMode) {
    let outbox: Database = connect(&SecretString::from(test.url().await), 2, sessions).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..CANCELLED {
        let cancelled = close_settled_batches(&outbox);
        // It may have been committed or not: both are fine.
        let _outcome = tokio::time::timeout(Duration::from_micros(random.u64(0..1_500)), cancelled).await;
        let message = format!("round {round}");
        pause(&outbox, &message, "test").await.unwrap();
        let seen: String =
            sqlx::query_scalar("select message from course_sync_pause where reason = 'operator'")
                .fetch_one(test.pool())
                .await
                .unwrap();
        assert_eq!(seen, message, "an acknowledged write is not visible to other sessions");
    }
    assert!(resume(&outbox).await.unwrap());
    outbox.close().await;
    let open: i64 = sqlx::query_scalar(
        "select count(*) from pg_stat_activity where datname = current_database() and state like 'idle in transaction%'",
    )
    .fetch_one(test.pool())
    .await
    .unwrap();
    assert_eq!(open, 0, "a transaction was left open");
}

#[tokio::test]
async fn a_cancelled_statement_loses_no_later_write_with_dedicated_sessions() {
    later_writes_take_effect(&database().await, SessionMode::Dedicated).await;
}

#[tokio::test]
async fn a_cancelled_statement_loses_no_later_write_with_pooled_sessions() {
    later_writes_take_effect(&database().await, SessionMode::Pooled).await;
}
