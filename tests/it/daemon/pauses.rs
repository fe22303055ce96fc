//! Pauses by an operator, at start and during a backlog, and pauses because of an outage of HubSpot.

use serde_json::json;
use simulator::{Answer, Behaviour, Dialect, ErrorForm, Fault, Latency, Operation};

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
async fn an_operator_pause_is_in_force_after_a_restart() {
    let world = World::new().await;
    pause(&world).await;
    world.enqueue_many("A", 250).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("spring cleaning").await;
    assert_eq!(world.hubspot.summary().requests, 0, "a request was sent before the pause was read");
    resume(&world).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn an_operator_pause_takes_effect_during_a_backlog() {
    let behaviour = Behaviour { latency: Latency { min_ms: 50, max_ms: 50 }, ..Behaviour::default() };
    let mut world = World::with(true, behaviour).await;
    world.set("BATCH__MAX_SIZE", "10");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("RATE_LIMIT__REQUESTS", "20");
    world.set("RATE_LIMIT__PER", "1s");
    world.enqueue_many("A", 1_000).await;
    let daemon = world.start_daemon();
    eventually("sending has started", async || match world.hubspot.summary().requests {
        0 => Err(()),
        _ => Ok(()),
    })
    .await;
    pause(&world).await;
    daemon.wait_for_log("spring cleaning").await;
    let counts = world.counts().await;
    assert!(
        counts.contains_key("pending"),
        "the pause took effect only after the backlog was sent: {counts:?}"
    );
    resume(&world).await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
}

#[tokio::test]
async fn an_outage_with_503_responses_fails_no_course() {
    let mut world = World::new().await;
    world.set("RETRY__MAX_ATTEMPTS", "1");
    world.hubspot.add_fault(Fault::new(Answer::Error {
        status: 503,
        body: ErrorForm::Html,
        retry_after: None,
    }));
    world.enqueue_many("A", 1_500).await;
    let _daemon = world.start_daemon();
    // After the concurrent requests at the start, single courses are sent as probes.
    eventually("HubSpot was probed several times", async || {
        let journal = world.hubspot.journal();
        let probes = journal.iter().filter(|entry| entry.inputs.len() == 1).count();
        if probes >= 4 { Ok(()) } else { Err(probes) }
    })
    .await;
    let requests = world.hubspot.summary().requests;
    assert!(requests < 32 + 15, "{requests} requests during the outage");
    assert!(!world.counts().await.contains_key("failed"));
    world.hubspot.clear_faults();
    world.wait_until_all_are(&["synced"]).await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0), "a fault was counted for a course");
    world.audit().await;
}

#[tokio::test]
async fn courses_claimed_before_a_pause_are_not_sent_during_it() {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "info,course_sync=debug");
    // Without polls, the claim that waits for the lock below is the one of new courses.
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    let daemon = world.start_daemon();
    world.warm_up().await;
    let before = world.create_requests();
    let refused = Answer::RateLimited { dialect: Dialect::TenSecondlyRolling, retry_after: Some(3) };
    world.hubspot.add_fault(Fault::new(refused).on(Operation::BatchCreate).times(1).after_ms(60_000));
    world.enqueue("A", &json!({ "hs_course_name": "A" })).await;
    eventually("the first course is being sent", async || {
        if world.create_requests() > before { Ok(()) } else { Err(()) }
    })
    .await;
    // The claim of the next course waits for this lock until after the response for the first course has arrived. Claims of
    // other kinds run in turn: if one of them waits instead, the next course is sent and another one is tried.
    let mut course = 0;
    let lock = loop {
        course += 1;
        let key = format!("B-{course}");
        let mut lock = world.pool().begin().await.unwrap();
        sqlx::query("lock table course_sync_batch in share mode").execute(&mut *lock).await.unwrap();
        // Due in the past, so that a claim that began before the insert takes it as well.
        sqlx::query(
            "insert into course_outbox (course_key, properties, next_attempt_at)
             values ($1, '{\"hs_course_name\": \"B\"}', now() - interval '1 hour')",
        )
        .bind(&key)
        .execute(world.pool())
        .await
        .unwrap();
        if waiting_query(&world).await.starts_with("-- claim fresh courses for create") {
            break lock;
        }
        lock.rollback().await.unwrap();
        world.wait_until_settled(&key, "synced").await;
    };
    // The response for the first course, held until now.
    world.hubspot.clear_faults();
    daemon.wait_for_event("sending_paused").await;
    lock.rollback().await.unwrap();
    daemon.wait_for_event("batch_held").await;
    world.wait_until_all_are(&["synced"]).await;
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

/// A query that waits for a lock, as soon as there is one.
async fn waiting_query(world: &World) -> String {
    let waiting =
        "select query from pg_stat_activity where datname = current_database() and wait_event_type = 'Lock'";
    eventually("a query waits for a lock", async || {
        let query: Option<String> = sqlx::query_scalar(waiting).fetch_optional(world.pool()).await.unwrap();
        query.ok_or("none")
    })
    .await
}

/// Without a unique property the course is held, so no course is left that could be sent as a probe.
#[tokio::test]
async fn an_outage_pause_ends_with_no_courses_left_to_send() {
    let world = World::with(false, Behaviour::default()).await;
    let unavailable = Answer::Error { status: 502, body: ErrorForm::Html, retry_after: None };
    world.hubspot.add_fault(Fault::new(unavailable).on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let daemon = world.start_daemon();
    daemon.wait_for_event("sending_paused").await;
    world.wait_until_all_are(&["unconfirmed"]).await;
    daemon.wait_for_event("sending_resumed").await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"unavailable\"}").await, "0");
    assert_eq!(world.create_requests(), 1, "the probe must not be a create");
}
