//! A person's pause: heard before anything is sent, and in the middle of a backlog. And HubSpot's own: an outage.

use course_sync::simulator::{Answer, Behaviour, Dialect, ErrorForm, Fault, Latency, Operation};
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::World;

async fn pause(world: &World) {
    sqlx::query("insert into course_sync_pause (reason, message, author) values ('operator', 'spring cleaning', 'Ada')")
        .execute(world.pool())
        .await
        .unwrap();
}

async fn resume(world: &World) {
    sqlx::query("delete from course_sync_pause where reason = 'operator'")
        .execute(world.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn it_outlives_a_restart() {
    let world = World::new().await;
    pause(&world).await;
    world.enqueue_many("A", 250).await;
    let daemon = world.daemon();
    daemon.logged("spring cleaning").await;
    assert_eq!(world.hubspot.summary().requests, 0, "it was sent before the pause was heard");
    resume(&world).await;
    world.all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn it_is_heard_while_there_is_always_more_to_send() {
    let behaviour = Behaviour { latency: Latency { min_ms: 50, max_ms: 50 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("RATE_LIMIT__REQUESTS", "20");
    world.set("RATE_LIMIT__PER", "1s");
    world.enqueue_many("A", 1_000).await;
    let daemon = world.daemon();
    eventually("sending began", async || match world.hubspot.summary().requests {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    pause(&world).await;
    daemon.logged("spring cleaning").await;
    let counts = world.counts().await;
    assert!(counts.contains_key("pending"), "it was heard only when nothing was left: {counts:?}");
    resume(&world).await;
    world.all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn an_outage_that_answers_everything_with_503_fails_no_course() {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.hubspot.add_fault(Fault::new(Answer::Error {
        status: 503,
        body: ErrorForm::Html,
        retry_after: None,
    }));
    world.enqueue_many("A", 1_500).await;
    let _daemon = world.daemon();
    // Several tries of one course each, after those of the first moment.
    eventually("it was tried again", async || {
        let journal = world.hubspot.journal();
        let tries = journal.iter().filter(|entry| entry.inputs.len() == 1).count();
        if tries >= 4 { Ok(()) } else { Err(tries) }
    })
    .await;
    let requests = world.hubspot.summary().requests;
    assert!(requests < 32 + 15, "{requests} requests for nothing");
    assert!(!world.counts().await.contains_key("failed"));
    world.hubspot.clear_faults();
    world.all_are(&["synced"]).await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0), "a course was blamed");
    world.audit().await;
}

#[tokio::test]
async fn what_was_claimed_before_the_pause_is_not_sent_in_it() {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "info,course_sync=debug");
    let daemon = world.daemon();
    world.warm_up().await;
    let before = world.creates();
    let refused = Answer::RateLimited { dialect: Dialect::TenSecondlyRolling, retry_after: Some(2) };
    world.hubspot.add_fault(Fault::new(refused).on(Operation::BatchCreate).times(1).after_ms(1_500));
    world.enqueue("A", &json!({ "hs_course_name": "A" })).await;
    eventually("the first is under way", async || if world.creates() > before { Ok(()) } else { Err(()) })
        .await;
    // The second claim stands still until the first course's answer is known.
    let mut standstill = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_sync_batch in share mode").execute(&mut *standstill).await.unwrap();
    // Due also for a claim that has begun before it was inserted.
    sqlx::query(
        "insert into course_outbox (course_key, properties, next_attempt_at)
         values ('B', '{\"hs_course_name\": \"B\"}', now() - interval '1 hour')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.waits_for_locks(1).await;
    daemon.logged("\"paused\"").await;
    standstill.rollback().await.unwrap();
    daemon.logged("a pause holds the batch back").await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.attempts <= 2));
    let unsent: i64 = sqlx::query_scalar(
        "select count(*) from course_sync_batch where answered_at is not null and outcome is null",
    )
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert_eq!(unsent, 1);
}

/// Without a unique property the course is held, and nothing else is there to try.
#[tokio::test]
async fn an_outage_with_nothing_left_to_send_ends_by_itself() {
    let world = World::with(false, Behaviour::default()).await;
    let unavailable = Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None };
    world.hubspot.add_fault(Fault::new(unavailable).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let daemon = world.daemon();
    daemon.logged("\"paused\"").await;
    world.all_are(&["unconfirmed"]).await;
    daemon.logged("\"sending again\"").await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"unavailable\"}").await, "0");
    assert_eq!(world.creates(), 1, "nothing was created to find out");
}
