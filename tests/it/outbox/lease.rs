//! What a claim under way does to those who want the lease, and what the lease's end does to a pass.

use std::time::Duration;

use course_sync::outbox::claim::claim;
use course_sync::outbox::lease::{lead, release};
use course_sync::outbox::verify::{Bite, Position, doubt_pending, finish};
use course_sync::policy::backlog::Cursor;
use serde_json::json;
use uuid::Uuid;

use super::{LEASE, enqueue, generous, leader};
use crate::support::postgres::{database, waits_for_locks};

#[tokio::test]
async fn a_takeover_waits_for_a_claim_under_way_and_a_renewal_does_not() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    // The claim stands still over its intent, as another session is about to write the same one.
    let batch = Uuid::now_v7();
    let mut standstill = pool.begin().await.unwrap();
    sqlx::query("insert into course_sync_batch (batch_id, term, holder, row_ids, send_by) values ($1, 0, $1, '{}', now())")
        .bind(batch)
        .execute(&mut *standstill)
        .await
        .unwrap();
    let claiming = tokio::spawn({
        let pool = pool.clone();
        async move {
            claim(&pool, lease, Duration::ZERO, batch, generous(), Cursor::default(), LEASE).await.unwrap()
        }
    });
    waits_for_locks(pool, 1).await;

    let renewed = lead(pool, lease.holder, "test", LEASE, &json!({}), false).await.unwrap();
    assert_eq!(renewed.expect("it is ours").lease, lease);
    release(pool, lease).await.unwrap();
    assert!(!claiming.is_finished(), "nothing of this waited for the claim");

    let taking = tokio::spawn({
        let pool = pool.clone();
        async move { lead(&pool, Uuid::new_v4(), "other", LEASE, &json!({}), false).await.unwrap() }
    });
    waits_for_locks(pool, 2).await;
    standstill.rollback().await.unwrap();
    assert_eq!(claiming.await.unwrap().courses.len(), 1);
    let taken = taking.await.unwrap().expect("it was free").lease;
    assert_eq!(taken.term, lease.term + 1);
    let nothing = claim(pool, lease, Duration::ZERO, Uuid::now_v7(), generous(), Cursor::default(), LEASE);
    assert!(nothing.await.unwrap().courses.is_empty());
}

#[tokio::test]
async fn a_pass_whose_lease_has_ended_is_not_at_its_end() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    enqueue(pool, "a", json!({})).await;
    release(pool, lease).await.unwrap();
    assert_eq!(doubt_pending(pool, lease, Position::default()).await.unwrap(), Bite::NotLed);
    assert!(!finish(pool, lease).await.unwrap());

    let renewed = lead(pool, lease.holder, "test", LEASE, &json!({}), true).await.unwrap();
    assert!(renewed.expect("it is free").verifying);
    let Bite::Taken(so_far) = doubt_pending(pool, lease, Position::default()).await.unwrap() else {
        panic!("one course is pending");
    };
    assert_eq!(doubt_pending(pool, lease, so_far).await.unwrap(), Bite::NoneLeft);
    assert!(finish(pool, lease).await.unwrap());
}
