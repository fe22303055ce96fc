//! Without faults: courses are enqueued, and each gets the id of its own record.

use std::time::Instant;

use serde_json::json;
use simulator::{Behaviour, Normalise, Operation};

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE_PROPERTY, World};

/// Checks that every course is synced with its own record, even if HubSpot omits parts of its responses.
async fn sync_all(unique: bool, behaviour: Behaviour) -> World {
    let world = World::with(unique, behaviour).await;
    world.enqueue_many("A", 250).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let counted = daemon.metric("course_sync_courses_total{outcome=\"deferred\"}").await;
    assert_eq!(counted, "0", "no course was deferred");
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 250);
    assert!(world.rows().await.iter().all(|row| row.attempts == 1 && row.error.is_none()));
    world
}

#[tokio::test]
async fn courses_are_synced_with_a_unique_property() {
    let world = sync_all(true, Behaviour::default()).await;
    assert!(world.hubspot.records().iter().all(|record| record.properties.contains_key(UNIQUE_PROPERTY)));
    assert_eq!(world.create_requests(), 5, "one course, ten, a hundred, and the rest in two batches");
    assert_eq!(world.hubspot.journal().len(), 6, "the creates and one request to verify the unique property");
}

#[tokio::test]
async fn results_are_matched_by_values_only() {
    sync_all(false, Behaviour { echo_trace_ids: false, shuffle_results: true, ..Behaviour::default() }).await;
}

#[tokio::test]
async fn results_are_matched_by_trace_ids_without_a_unique_property() {
    sync_all(false, Behaviour { echo_trace_ids: true, ..Behaviour::default() }).await;
}

#[tokio::test]
async fn values_that_hubspot_normalises_are_recognised() {
    let world =
        World::with(false, Behaviour { normalise: Normalise::DatesAndText, ..Behaviour::default() }).await;
    for n in 1..=20 {
        world
            .enqueue(
                &format!("K{n}"),
                &json!({ "hs_course_name": format!("  Course {n} "), "hs_enrollment_capacity": n }),
            )
            .await;
    }
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    for row in world.rows().await {
        let n = row.course_key.trim_start_matches('K');
        let records = world.hubspot.records();
        let record = records.iter().find(|record| Some(record.id.to_string()) == row.hubspot_id).unwrap();
        assert_eq!(record.properties["hs_course_name"], format!("Course {n}"));
    }
}

#[tokio::test]
async fn identical_courses_are_sent_in_one_batch_and_get_one_record_each() {
    let world = World::with(false, Behaviour::default()).await;
    for n in 1..=5 {
        world.enqueue(&format!("twin-{n}"), &json!({ "hs_course_name": "The same" })).await;
    }
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let ids: std::collections::BTreeSet<_> =
        world.rows().await.into_iter().map(|row| row.hubspot_id).collect();
    assert_eq!(ids.len(), 5);
    assert_eq!(world.create_requests(), 2, "one course, then the others");
}

#[tokio::test]
async fn numbers_booleans_and_associations_are_encoded_as_hubspot_expects() {
    let world = World::new().await;
    sqlx::query(
        r#"insert into course_outbox (course_key, properties, associations) values ('K',
           '{"hs_course_name":"Ünïcode \"quoted\" <b>","hs_enrollment_capacity":50,"hs_course_description":null}',
           '[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]')"#,
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let records = world.hubspot.records();
    assert_eq!(records[0].properties["hs_course_name"], "Ünïcode \"quoted\" <b>");
    assert_eq!(records[0].properties["hs_enrollment_capacity"], "50");
    assert_eq!(records[0].associations.len(), 1);
}

#[tokio::test]
async fn large_courses_are_sent_in_smaller_batches() {
    let mut world = World::new().await;
    world.set("BATCH__MAX_BYTES", "64KiB");
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'L-' || n, jsonb_build_object('hs_course_name', 'Large ' || n, 'hs_course_description', repeat('x', 20000))
           from generate_series(1, 10) n",
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let sizes: Vec<_> =
        world.received(Operation::BatchCreate).iter().map(|entry| entry.inputs.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 10);
}

#[tokio::test]
async fn a_dated_api_version_uses_dated_paths() {
    let mut world = World::new().await;
    world.set("HUBSPOT__API_VERSION", "2026-03");
    world.enqueue_many("A", 5).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(world.received(Operation::BatchCreate)[0].path, "/crm/objects/2026-03/0-410/batch/create");
}

#[tokio::test]
async fn polling_finds_courses_without_notifications() {
    let mut world = World::new().await;
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
}

/// Each renewal of the lease and each response wakes the daemon more often than the poll interval.
#[tokio::test]
async fn polling_is_not_postponed_by_more_frequent_wakeups() {
    let mut world = World::new().await;
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__LEASE", "3s");
    world.set("OUTBOX__POLL_INTERVAL", "2s");
    world.enqueue_many("A", 5).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.enqueue_many("B", 5).await;
    world.wait_until_all_are(&["synced"]).await;
}

#[tokio::test]
async fn an_insert_wakes_the_daemon_immediately() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.wait_until_listening().await;
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
}

#[tokio::test]
async fn a_small_batch_waits_for_more_courses_while_most_of_the_quota_is_in_use() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    world.set("BATCH__LINGER", "3s");
    world.set("RATE_LIMIT__REQUESTS", "100");
    world.set("RATE_LIMIT__PER", "2m");
    // 80 requests, none of which waits, because each is full.
    world.set("BATCH__MAX_SIZE", "1");
    world.enqueue_many("B", 80).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.set("BATCH__MAX_SIZE", "100");
    daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.wait_until_listening().await;
    let (before, began) = (world.create_requests(), Instant::now());
    for n in 1..=20 {
        world.enqueue(&format!("A-{n}"), &json!({ "hs_course_name": format!("Course A {n}") })).await;
    }
    // On a busy machine the linger may end several times before the last course is enqueued.
    let lingers = began.elapsed().as_secs() / 3;
    world.wait_until_all_are(&["synced"]).await;
    // The first looks at the outbox after the start may find some of the courses. Without a wait, there are about ten requests.
    let requests = world.create_requests() - before;
    assert!(requests as u64 <= lingers + 4, "{requests} requests in {lingers} lingers");
}

#[tokio::test]
async fn a_row_that_commits_after_later_rows_is_found() {
    let world = World::new().await;
    let mut slow = world.pool().begin().await.unwrap();
    sqlx::query(
        "insert into course_outbox (course_key, properties) values ('slow', '{\"hs_course_name\":\"Slow\"}')",
    )
    .execute(&mut *slow)
    .await
    .unwrap();
    world.enqueue_many("A", 150).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    slow.commit().await.unwrap();
    eventually("the late row is synced", async || match world.row("slow").await.status.as_str() {
        "synced" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    world.audit().await;
}

#[tokio::test]
async fn two_database_connections_are_enough() {
    let mut world = World::new().await;
    world.set("DATABASE__MAX_CONNECTIONS", "2");
    world.enqueue_many("A", 5).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
}

#[tokio::test]
async fn large_courses_respect_max_bytes_and_bounded_memory() {
    const COURSES: usize = 400;
    const BYTES: usize = 60_000;
    let world = World::new().await;
    sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'A-' || n, jsonb_build_object('hs_course_name', 'Course A ' || n, 'hs_course_description', repeat('x', $1))
           from generate_series(1, $2) n",
    )
    .bind(i32::try_from(BYTES).unwrap())
    .bind(i32::try_from(COURSES).unwrap())
    .execute(world.pool())
    .await
    .unwrap();
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    // batch.max_bytes is 2 MiB.
    let most = world.received(Operation::BatchCreate).iter().map(|entry| entry.inputs.len()).max().unwrap();
    assert!(most > 1 && most * BYTES <= 2 << 20, "{most} courses in a request");
    assert!(daemon.peak_memory_kib() < 256 * 1024, "{} KiB", daemon.peak_memory_kib());
}
