//! A statement whose future is dropped half-way must not take the next write with it.

use std::time::Duration;

use course_sync::outbox::connect::database as connect;
use course_sync::outbox::pause::{pause, resume};
use course_sync::outbox::recover::close;
use course_sync::outbox::{Database, Sessions};
use secrecy::SecretString;

use crate::support::postgres::{TestDatabase, database};

/// Statements that are dropped, at moments from before the first byte to after the answer.
const CANCELLED: u64 = 300;

async fn writes_survive(test: &TestDatabase, sessions: Sessions) {
    let outbox: Database = connect(&SecretString::from(test.url().await), 2, sessions).unwrap();
    let mut random = fastrand::Rng::with_seed(7);
    for round in 0..CANCELLED {
        let dropped = close(&outbox);
        // Whether it happened is anybody's guess.
        let _guess = tokio::time::timeout(Duration::from_micros(random.u64(0..1_500)), dropped).await;
        let message = format!("round {round}");
        pause(&outbox, &message, "test").await.unwrap();
        let seen: String =
            sqlx::query_scalar("select message from course_sync_pause where reason = 'operator'")
                .fetch_one(test.pool())
                .await
                .unwrap();
        assert_eq!(seen, message, "a write that was acknowledged is not there for others");
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
async fn with_sessions_that_are_kept() {
    writes_survive(&database().await, Sessions::Kept).await;
}

#[tokio::test]
async fn with_sessions_that_a_pooler_gives() {
    writes_survive(&database().await, Sessions::Pooled).await;
}
