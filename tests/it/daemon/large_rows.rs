//! Rows with a very large text, some of them with a small stored form. They fail on their own, and their text is never made.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::daemon::{output, program};
use crate::support::world::World;

/// The limit for the growth of the daemon's memory, in KiB.
const MAX_GROWTH_KIB: u64 = 32 * 1024;

/// Inserts rows as replication does, without triggers: 1.1 GB and 26 MB of digits, 30 MB of text, 16 MB of zeros, 30 MB of
/// associations.
async fn insert_large(world: &World) {
    let mut writer = world.pool().begin().await.unwrap();
    sqlx::raw_sql(
        "set local session_replication_role = replica;
         insert into course_outbox (course_key, properties, associations)
         select 'large-' || place, properties::jsonb, associations::jsonb
           from (values
               (1, (select '{' || string_agg('\"n' || n || '\": 1e131071', ',') || '}' from generate_series(1, 8000) n), '[]'),
               (2, (select '{' || string_agg('\"n' || n || '\": -1e131071', ',') || '}' from generate_series(1, 100) n), '[]'),
               (3, '{\"text\": \"' || repeat('x', 30000000) || '\"}', '[]'),
               (4, (select '{' || string_agg('\"n' || n || '\": 1.' || repeat('0', 16000), ',') || '}'
                      from generate_series(1, 1000) n), '[]'),
               (5, '{}', '[\"' || repeat('x', 30000000) || '\"]')
           ) as row (place, properties, associations)
          order by place",
    )
    .execute(&mut *writer)
    .await
    .unwrap();
    writer.commit().await.unwrap();
}

#[tokio::test]
async fn rows_that_are_too_large_fail_on_their_own_and_cost_no_memory() {
    let mut world = World::new().await;
    world.settings.insert("MALLOC_MMAP_THRESHOLD_".into(), "131072".into());
    let mut daemon = world.start_daemon();
    world.enqueue_many("A", 10).await;
    world.wait_until_all_are(&["synced"]).await;
    let usual = daemon.peak_memory_kib();
    insert_large(&world).await;
    // One such number has 128 kB: HubSpot decides.
    let single = serde_json::from_str(r#"{"hs_course_name": "Course one", "n": 1e131071}"#).unwrap();
    world.enqueue("one", &single).await;
    world.enqueue_many("B", 200).await;
    world.wait_until_all_are(&["synced", "failed"]).await;
    let grown = daemon.peak_memory_kib() - usual;
    for row in world.rows().await {
        let found =
            (row.status.as_str(), row.error.as_ref().map_or("", |error| error["category"].as_str().unwrap()));
        match row.course_key.as_str() {
            "one" => assert_eq!(found, ("failed", "VALIDATION_ERROR"), "{row:?}"),
            key if key.starts_with("large-") => {
                assert_eq!((found, row.attempts), (("failed", "too_large"), 0), "{row:?}");
                assert!(row.error("message").contains("4 MiB"), "{row:?}");
            }
            _ => assert_eq!((found, row.attempts), (("synced", ""), 1), "{row:?}"),
        }
    }
    assert!(grown < MAX_GROWTH_KIB, "the memory of the daemon grew by {grown} KiB");
    assert!(daemon.events("claim_withdrawn").is_empty() && daemon.events("database_unavailable").is_empty());
    assert!(daemon.stop().await.success());
    world.audit().await;
}

#[tokio::test]
async fn preview_shows_rows_that_are_too_large() {
    let world = World::new().await;
    insert_large(&world).await;
    world.enqueue_many("A", 1).await;
    let mut command = program(&world.settings);
    command.args(["preview", "--json"]);
    let shown = output(command).await;
    let shown: BTreeMap<String, Value> = serde_json::from_slice(&shown.stdout).unwrap();
    let too_large =
        shown["refusals"].as_array().unwrap().iter().find(|it| it["code"] == "too_large").unwrap();
    assert_eq!(too_large["count"], 5, "{shown:?}");
}
