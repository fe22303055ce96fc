//! Courses go in, identifiers come back: each its own.

use course_sync::simulator::{Behaviour, Normalise, Operation};
use serde_json::json;

use crate::support::eventually::eventually;
use crate::support::world::{UNIQUE, World};

/// Every course is synced with its own record, whatever HubSpot leaves out of its answers.
async fn drains(unique: bool, behaviour: Behaviour) -> World {
    let world = World::with(unique, behaviour).await;
    world.enqueue_many("A", 250).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let counted = daemon.metric("course_sync_courses_total{outcome=\"deferred\"}").await;
    assert_eq!(counted, "0", "nothing was held up");
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(world.hubspot.records().len(), 250);
    assert!(world.rows().await.iter().all(|row| row.attempts == 1 && row.error.is_none()));
    world
}

#[tokio::test]
async fn with_a_unique_property() {
    let world = drains(true, Behaviour::default()).await;
    assert!(world.hubspot.records().iter().all(|record| record.properties.contains_key(UNIQUE)));
    assert_eq!(world.creates(), 5, "one course, ten, a hundred, and the rest in full batches");
    assert_eq!(world.hubspot.journal().len(), 6, "and one to verify the unique property");
}

#[tokio::test]
async fn without_a_unique_property_and_with_nothing_but_the_values() {
    drains(false, Behaviour { echo_trace_ids: false, shuffle_results: true, ..Behaviour::default() }).await;
}

#[tokio::test]
async fn without_a_unique_property_but_with_trace_ids() {
    drains(false, Behaviour { echo_trace_ids: true, ..Behaviour::default() }).await;
}

#[tokio::test]
async fn values_that_hubspot_tidies_up_are_recognised() {
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
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    for row in world.rows().await {
        let n = row.course_key.trim_start_matches('K');
        let records = world.hubspot.records();
        let record = records.iter().find(|record| Some(record.id.to_string()) == row.hubspot_id).unwrap();
        assert_eq!(record.properties["hs_course_name"], format!("Course {n}"));
    }
}

#[tokio::test]
async fn courses_that_nothing_tells_apart_travel_together_and_have_a_record_each() {
    let world = World::with(false, Behaviour::default()).await;
    for n in 1..=5 {
        world.enqueue(&format!("twin-{n}"), &json!({ "hs_course_name": "The same" })).await;
    }
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let ids: std::collections::BTreeSet<_> =
        world.rows().await.into_iter().map(|row| row.hubspot_id).collect();
    assert_eq!(ids.len(), 5);
    assert_eq!(world.creates(), 2, "one course, then the others");
}

#[tokio::test]
async fn numbers_booleans_and_associations_arrive_as_hubspot_wants_them() {
    let world = World::new().await;
    sqlx::query(
        r#"insert into course_outbox (course_key, properties, associations) values ('K',
           '{"hs_course_name":"Ünïcode \"quoted\" <b>","hs_enrollment_capacity":50,"hs_course_description":null}',
           '[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]')"#,
    )
    .execute(world.pool())
    .await
    .unwrap();
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
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
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let sizes: Vec<_> =
        world.received(Operation::BatchCreate).iter().map(|entry| entry.inputs.len()).collect();
    assert!(sizes.iter().all(|size| *size <= 3), "{sizes:?}");
    assert_eq!(sizes.iter().sum::<usize>(), 10);
}

#[tokio::test]
async fn the_dated_paths_work_too() {
    let mut world = World::new().await;
    world.set("HUBSPOT__API_VERSION", "2026-03");
    world.enqueue_many("A", 5).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert_eq!(world.received(Operation::BatchCreate)[0].path, "/crm/objects/2026-03/0-410/batch/create");
}

#[tokio::test]
async fn without_notifications_the_poll_carries() {
    let mut world = World::new().await;
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    let daemon = world.daemon();
    daemon.logged("leading").await;
    world.enqueue_many("A", 5).await;
    world.all_are(&["synced"]).await;
}

/// Each renewal of the lease, and each answer, ends the waiting.
#[tokio::test]
async fn the_poll_carries_also_where_other_news_come_more_often() {
    let mut world = World::new().await;
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__LEASE", "3s");
    world.set("OUTBOX__POLL_INTERVAL", "2s");
    world.enqueue_many("A", 5).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.enqueue_many("B", 5).await;
    world.all_are(&["synced"]).await;
}

#[tokio::test]
async fn an_insert_wakes_the_daemon_at_once() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    let daemon = world.daemon();
    daemon.logged("leading").await;
    listens(&world).await;
    world.enqueue_many("A", 5).await;
    world.all_are(&["synced"]).await;
}

#[tokio::test]
async fn a_short_batch_waits_for_company() {
    let mut world = World::new().await;
    world.set("OUTBOX__POLL_INTERVAL", "1h");
    world.set("BATCH__LINGER", "3s");
    let daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    listens(&world).await;
    world.warm_up().await;
    let before = world.creates();
    for n in 1..=20 {
        world.enqueue(&format!("A-{n}"), &json!({ "hs_course_name": format!("Course A {n}") })).await;
    }
    world.all_are(&["synced"]).await;
    // The last wait of the warm-up may end while they arrive.
    assert!(world.creates() <= before + 2, "{} requests", world.creates() - before);
}

/// Waits until the daemon hears of new courses.
async fn listens(world: &World) {
    eventually("the daemon listens", async || {
        let listening: i64 = sqlx::query_scalar(
            "select count(*) from pg_stat_activity where datname = current_database() and query ilike 'listen%'",
        )
        .fetch_one(world.pool())
        .await
        .unwrap();
        if listening > 0 { Ok(()) } else { Err(listening) }
    })
    .await;
}

#[tokio::test]
async fn a_row_that_commits_behind_later_ones_is_found() {
    let world = World::new().await;
    let mut slow = world.pool().begin().await.unwrap();
    sqlx::query(
        "insert into course_outbox (course_key, properties) values ('slow', '{\"hs_course_name\":\"Slow\"}')",
    )
    .execute(&mut *slow)
    .await
    .unwrap();
    world.enqueue_many("A", 150).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
    slow.commit().await.unwrap();
    eventually("the late row is synced", async || match world.row("slow").await.status.as_str() {
        "synced" => Ok(()),
        other => Err(other.to_owned()),
    })
    .await;
    world.audit().await;
}

#[tokio::test]
async fn the_fewest_connections_are_enough() {
    let mut world = World::new().await;
    world.set("DATABASE__MAX_CONNECTIONS", "2");
    world.enqueue_many("A", 5).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;
}

#[tokio::test]
async fn courses_of_sixty_kilobytes_stay_within_the_bytes_of_a_request_and_little_memory() {
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
    let daemon = world.daemon();
    world.all_are(&["synced"]).await;
    world.audit().await;
    // batch.max_bytes is 2 MiB.
    let most = world.received(Operation::BatchCreate).iter().map(|entry| entry.inputs.len()).max().unwrap();
    assert!(most > 1 && most * BYTES <= 2 << 20, "{most} courses in a request");
    assert!(daemon.peak_memory_kib() < 256 * 1024, "{} KiB", daemon.peak_memory_kib());
}
