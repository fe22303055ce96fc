//! The pauses that survive a restart.

use std::time::Duration;

use course_sync::outbox::ops::pause::{pause, resume};
use course_sync::outbox::pause::{DurablePause, delete_pause, read_active, save_pause};
use sqlx::PgPool;

use super::execute;
use crate::support::postgres::database;

const HOUR: Duration = Duration::from_hours(1);

async fn reasons(pool: &PgPool) -> Vec<String> {
    read_active(pool).await.unwrap().into_iter().map(|pause| pause.reason).collect()
}

async fn only(pool: &PgPool) -> DurablePause {
    let [pause] = <[_; 1]>::try_from(read_active(pool).await.unwrap()).unwrap();
    pause
}

#[tokio::test]
async fn the_daemons_own_pause_is_saved_and_deleted() {
    let database = database().await;
    let pool = database.pool();
    save_pause(pool, "daily_quota", "used up", Some(HOUR)).await.unwrap();
    let first = only(pool).await;
    assert_eq!((first.reason.as_str(), first.message.as_str()), ("daily_quota", "used up"));
    assert_eq!(first.author.as_deref(), Some("course-sync"));
    let left = first.seconds_left.unwrap();
    assert!(left > 3_590.0 && left <= 3_600.0, "{left}");

    // Saved again while it is active: the same pause with another end.
    save_pause(pool, "daily_quota", "still used up", Some(HOUR * 2)).await.unwrap();
    let again = only(pool).await;
    assert_eq!((again.since, again.message.as_str()), (first.since, "still used up"));
    assert!(again.until > first.until && again.seconds_left > first.seconds_left);

    save_pause(pool, "rejected", "refuses every course", None).await.unwrap();
    pause(pool, "maintenance", "operator of the night").await.unwrap();
    assert_eq!(reasons(pool).await, ["rejected", "operator", "daily_quota"]);
    let rejected = read_active(pool).await.unwrap().remove(0);
    assert_eq!((rejected.until, rejected.seconds_left), (None, None));

    delete_pause(pool, "rejected").await.unwrap();
    assert_eq!(reasons(pool).await, ["operator", "daily_quota"]);
    delete_pause(pool, "rejected").await.unwrap();
    assert_eq!(reasons(pool).await, ["operator", "daily_quota"]);
}

#[tokio::test]
async fn an_expired_pause_is_inactive_and_a_later_one_starts_again() {
    let database = database().await;
    let pool = database.pool();
    save_pause(pool, "daily_quota", "used up", Some(HOUR)).await.unwrap();
    execute(
        pool,
        "update course_sync_pause set since = now() - interval '1 day', until = now() - interval '1 second'",
    )
    .await;
    assert!(reasons(pool).await.is_empty());
    assert!(!resume(pool).await.unwrap(), "there is no pause to end");
    save_pause(pool, "daily_quota", "used up again", Some(HOUR)).await.unwrap();
    let age: f64 =
        sqlx::query_scalar("select extract(epoch from now() - since)::float8 from course_sync_pause")
            .fetch_one(pool)
            .await
            .unwrap();
    assert!(age < 60.0, "it is a new pause: {age}");
}

#[tokio::test]
async fn resume_ends_every_pause() {
    let database = database().await;
    let pool = database.pool();
    save_pause(pool, "daily_quota", "used up", Some(HOUR)).await.unwrap();
    save_pause(pool, "rejected", "refuses every course", None).await.unwrap();
    pause(pool, "maintenance", "operator").await.unwrap();
    assert!(resume(pool).await.unwrap());
    assert!(reasons(pool).await.is_empty());
    assert!(!resume(pool).await.unwrap());
}

#[tokio::test]
async fn pauses_that_do_not_survive_a_restart_cannot_be_saved() {
    let database = database().await;
    for reason in ["token", "scopes", "object_type", "interval_quota", "unavailable", "schema"] {
        let error = save_pause(database.pool(), reason, "x", None).await.unwrap_err();
        assert!(!error.may_have_committed(), "{reason}: {error:?}");
    }
    assert!(reasons(database.pool()).await.is_empty());
}
