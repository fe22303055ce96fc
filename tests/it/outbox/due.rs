//! When the next courses are due.

use course_sync::outbox::due::{is_due, read_next_due};
use course_sync::policy::backlog::Cursor;
use serde_json::json;

use super::{enqueue, execute, generous, leader, take};
use crate::support::postgres;

#[tokio::test]
async fn the_next_due_course_of_each_kind_is_found() {
    let database = postgres::database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    assert_eq!(read_next_due(pool).await.unwrap().wait(), None);

    enqueue(pool, "sent", json!({})).await;
    assert!(is_due(read_next_due(pool).await.unwrap().creates));
    take(pool, lease, generous(), Cursor::default()).await;
    assert_eq!(read_next_due(pool).await.unwrap().creates, None, "courses in flight do not count");

    execute(
        pool,
        "insert into course_outbox (course_key, next_attempt_at, properties, suspected_at) values
           ('never', 'infinity', '{}', null), ('hour', now() + interval '1 hour', '{}', null),
           ('suspect', now() + interval '1 minute', '{}', now()), ('no suspect', '-infinity', '{}', now())",
    )
    .await;
    let next = read_next_due(pool).await.unwrap();
    assert!(next.creates.is_some_and(|seconds| (3500.0..=3600.0).contains(&seconds)), "{next:?}");
    assert!(is_due(next.suspects) && !is_due(next.unconfirmed), "{next:?}");
    execute(pool, "delete from course_outbox where course_key = 'no suspect'").await;
    let next = read_next_due(pool).await.unwrap();
    assert!(next.wait().is_some_and(|wait| (50..=60).contains(&wait.as_secs())), "{next:?}");
    execute(pool, "delete from course_outbox where course_key <> 'never'").await;
    assert_eq!(read_next_due(pool).await.unwrap().wait(), None, "an infinite time is no time to wait for");
}
