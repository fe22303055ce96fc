//! The lease under concurrency: takeover and renewal during a claim, and the end of the lease during a verification.

use course_sync::course::{BatchId, InstanceId, Term};
use course_sync::outbox::claim::ClaimResult;
use course_sync::outbox::lease::{acquire_or_renew, release};
use course_sync::outbox::verify::{VerifyCursor, VerifyStep, finish_verification, mark_pending_unconfirmed};
use course_sync::policy::backlog::Cursor;
use course_sync::policy::leader_report::LeaderReport;
use serde_json::json;
use uuid::Uuid;

use super::{LEASE, claim_for, enqueue, generous, leader};
use crate::support::postgres::{database, wait_for_lock_waiters};

#[tokio::test]
async fn a_takeover_waits_for_a_claim_in_progress_and_a_renewal_does_not() {
    let database = database().await;
    let pool = database.pool();
    enqueue(pool, "a", json!({})).await;
    let lease = leader(pool).await;
    // The claim waits at its intent, because another session is inserting the same batch id.
    let batch = BatchId(Uuid::now_v7());
    let mut blocker = pool.begin().await.unwrap();
    sqlx::query("insert into course_sync_batch (batch_id, term, holder, row_ids, send_by) values ($1, 0, $1, '{}', now())")
        .bind(batch)
        .execute(&mut *blocker)
        .await
        .unwrap();
    let claiming = tokio::spawn({
        let pool = pool.clone();
        async move { claim_for(&pool, lease, &[batch], generous(), Cursor::default()).await }
    });
    wait_for_lock_waiters(pool, 1).await;

    let renewed =
        acquire_or_renew(pool, lease.holder, "test", LEASE, &LeaderReport::default(), false).await.unwrap();
    assert_eq!(renewed.expect("this instance holds it").lease, lease);
    release(pool, lease).await.unwrap();
    assert!(!claiming.is_finished(), "renewal and release did not wait for the claim");

    let taking = tokio::spawn({
        let pool = pool.clone();
        async move {
            acquire_or_renew(
                &pool,
                InstanceId(Uuid::new_v4()),
                "other",
                LEASE,
                &LeaderReport::default(),
                false,
            )
            .await
            .unwrap()
        }
    });
    wait_for_lock_waiters(pool, 2).await;
    blocker.rollback().await.unwrap();
    assert_eq!(claimed_courses(claiming.await.unwrap()), 1);
    let taken = taking.await.unwrap().expect("the lease was free").lease;
    assert_eq!(taken.term, Term(lease.term.0 + 1));
    let batches = [BatchId(Uuid::now_v7())];
    assert_eq!(claimed_courses(claim_for(pool, lease, &batches, generous(), Cursor::default()).await), 0);
}

fn claimed_courses(result: ClaimResult) -> usize {
    match result {
        ClaimResult::Taken(taken) => taken.batches.iter().map(|batch| batch.courses.len()).sum(),
        ClaimResult::Refused => panic!("the claim is refused"),
    }
}

#[tokio::test]
async fn verification_does_not_finish_without_the_lease() {
    let database = database().await;
    let pool = database.pool();
    let lease = leader(pool).await;
    enqueue(pool, "a", json!({})).await;
    release(pool, lease).await.unwrap();
    assert_eq!(
        mark_pending_unconfirmed(pool, lease, VerifyCursor::default()).await.unwrap(),
        VerifyStep::LeaseLost
    );
    assert!(!finish_verification(pool, lease).await.unwrap());

    let renewed =
        acquire_or_renew(pool, lease.holder, "test", LEASE, &LeaderReport::default(), true).await.unwrap();
    assert!(renewed.expect("the lease is free").verifying);
    let VerifyStep::Progress(so_far) =
        mark_pending_unconfirmed(pool, lease, VerifyCursor::default()).await.unwrap()
    else {
        panic!("one course is pending");
    };
    assert_eq!(mark_pending_unconfirmed(pool, lease, so_far).await.unwrap(), VerifyStep::Complete);
    assert!(finish_verification(pool, lease).await.unwrap());
}
