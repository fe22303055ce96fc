//! `/livez` and `/readyz`: during a database outage, with a missing or newer schema, and during shutdown.

use course_sync::demo::postgres::{PostgresOptions, StopMode, ThrowawayPostgres};
use simulator::{Answer, Fault, Operation};

use super::get;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Waits until `/readyz` has this status. Returns its JSON.
async fn wait_for_readyz(admin: &str, status: u16) -> serde_json::Value {
    eventually(&format!("/readyz responds with {status}"), async || {
        let answer = get(&format!("{admin}/readyz")).await;
        if answer.status == status { Ok(answer.json()) } else { Err(answer.text) }
    })
    .await
}

#[tokio::test]
async fn readyz_follows_a_database_outage() {
    let durable = PostgresOptions { durable: true, ..PostgresOptions::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), cluster.url("postgres"));
    let mut daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let ready = wait_for_readyz(&admin, 200).await;
    assert_eq!(ready, serde_json::json!({ "ready": true, "reasons": [], "pauses": [] }));

    cluster.stop_server(StopMode::Immediate).await.unwrap();
    let not_ready = wait_for_readyz(&admin, 503).await;
    assert_eq!(not_ready["ready"], false);
    assert_eq!(not_ready["reasons"][0]["reason"], "database");
    assert!(!not_ready["reasons"][0]["message"].as_str().unwrap().is_empty());
    assert_eq!(get(&format!("{admin}/livez")).await.status, 200);
    assert_eq!(get(&format!("{admin}/metrics")).await.status, 200);
    for path in ["/status", "/"] {
        let answer = get(&format!("{admin}{path}")).await;
        assert_eq!(answer.status, 503, "{path}: {answer:?}");
        assert!(path != "/" || answer.text.contains("The database cannot be read"), "{answer:?}");
    }

    cluster.start_server().await.unwrap();
    wait_for_readyz(&admin, 200).await;
    assert_eq!(get(&format!("{admin}/status")).await.status, 200);
    assert!(daemon.stop().await.success());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_missing_schema_is_not_ready_and_a_newer_one_is() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    wait_for_readyz(&admin, 200).await;
    sqlx::raw_sql("alter table course_sync_migrations rename to elsewhere")
        .execute(world.pool())
        .await
        .unwrap();
    let not_ready = wait_for_readyz(&admin, 503).await;
    assert!(not_ready["reasons"][0]["message"].as_str().unwrap().contains("course-sync migrate"));
    sqlx::raw_sql("alter table elsewhere rename to course_sync_migrations")
        .execute(world.pool())
        .await
        .unwrap();
    sqlx::raw_sql(
        "insert into course_sync_migrations (version, description, success, checksum, execution_time)
         values (9999, 'of a later version', true, '', 0)",
    )
    .execute(world.pool())
    .await
    .unwrap();
    // During a rolling restart the old version keeps working with the newer schema.
    wait_for_readyz(&admin, 200).await;
}

#[tokio::test]
async fn a_draining_daemon_is_alive_and_not_ready() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Hang).on(Operation::BatchCreate));
    world.enqueue_many("A", 1).await;
    let mut daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    eventually("a create is open", async || if world.create_requests() > 0 { Ok(()) } else { Err(()) }).await;
    daemon.signal("TERM");
    let draining = wait_for_readyz(&admin, 503).await;
    assert_eq!(draining["reasons"][0]["reason"], "stopping");
    assert_eq!(get(&format!("{admin}/livez")).await.status, 200);
    // The second signal stops the daemon without waiting for HubSpot.
    daemon.signal("TERM");
    daemon.wait_for_exit().await;
}

/// The report is stored with the lease, which is renewed only every 20 minutes here.
#[tokio::test]
async fn a_pause_is_reported_to_other_instances_at_once() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "1h");
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    daemon.wait_for_event("lease_acquired").await;
    let reasons = async || {
        let status = get(&format!("{admin}/status")).await.json();
        let pauses = status["pauses"].as_array().cloned().unwrap_or_default();
        pauses.iter().map(|pause| pause["reason"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(reasons().await, [""; 0]);
    world.hubspot.set_token("another");
    world.enqueue_many("A", 1).await;
    eventually("the pause is reported", async || match reasons().await {
        shown if shown == ["token"] => Ok(()),
        shown => Err(shown),
    })
    .await;
    world.hubspot.set_token(&world.settings["HUBSPOT_ACCESS_TOKEN"]);
    world.wait_until_all_are(&["synced"]).await;
    eventually("its end is reported", async || match reasons().await {
        shown if shown.is_empty() => Ok(()),
        shown => Err(shown),
    })
    .await;
}
