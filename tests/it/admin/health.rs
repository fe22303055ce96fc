//! `/livez` and `/readyz` while the world fails: the database away and back, the daemon draining.

use course_sync::demo::postgres::{Options, Shutdown, ThrowawayPostgres};
use course_sync::simulator::{Answer, Fault, Operation};

use super::get;
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Waits until `/readyz` answers so, and gives what it says.
async fn readiness(admin: &str, status: u16) -> serde_json::Value {
    eventually(&format!("/readyz answers {status}"), async || {
        let answer = get(&format!("{admin}/readyz")).await;
        if answer.status == status { Ok(answer.json()) } else { Err(answer.text) }
    })
    .await
}

#[tokio::test]
async fn a_database_that_goes_and_returns() {
    let durable = Options { durable: true, ..Options::default() };
    let cluster = ThrowawayPostgres::start(durable).await.unwrap();
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), cluster.url("postgres"));
    let mut daemon = world.daemon();
    let admin = daemon.admin().await;
    let ready = readiness(&admin, 200).await;
    assert_eq!(ready, serde_json::json!({ "ready": true, "reasons": [], "pauses": [] }));

    cluster.stop_server(Shutdown::Immediate).await.unwrap();
    let not_ready = readiness(&admin, 503).await;
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
    readiness(&admin, 200).await;
    assert_eq!(get(&format!("{admin}/status")).await.status, 200);
    assert!(daemon.stop().await.success());
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_database_whose_schema_is_not_there() {
    let world = World::new().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    readiness(&admin, 200).await;
    sqlx::raw_sql("alter table course_sync_migrations rename to elsewhere")
        .execute(world.pool())
        .await
        .unwrap();
    let not_ready = readiness(&admin, 503).await;
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
    // An instance of the next version is coming up: this one works on until it is told to stop.
    readiness(&admin, 200).await;
}

#[tokio::test]
async fn a_daemon_that_drains_lives_and_is_not_ready() {
    let world = World::new().await;
    world.hubspot.add_fault(Fault::new(Answer::Hang).on(Operation::BatchCreate));
    world.enqueue_many("A", 1).await;
    let mut daemon = world.daemon();
    let admin = daemon.admin().await;
    eventually("a create is open", async || if world.creates() > 0 { Ok(()) } else { Err(()) }).await;
    daemon.signal("TERM");
    let draining = readiness(&admin, 503).await;
    assert_eq!(draining["reasons"][0]["reason"], "stopping");
    assert_eq!(get(&format!("{admin}/livez")).await.status, 200);
    // A second signal: do not wait for HubSpot.
    daemon.signal("TERM");
    daemon.ended().await;
}

/// The leader's report goes with the lease, which is renewed every third of an hour here.
#[tokio::test]
async fn a_pause_is_told_to_others_at_once() {
    let mut world = World::new().await;
    world.set("OUTBOX__LEASE", "1h");
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    daemon.logged("\"leading\"").await;
    let reasons = async || {
        let status = get(&format!("{admin}/status")).await.json();
        let pauses = status["pauses"].as_array().cloned().unwrap_or_default();
        pauses.iter().map(|pause| pause["reason"].as_str().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(reasons().await, [""; 0]);
    world.hubspot.set_token("another");
    world.enqueue_many("A", 1).await;
    eventually("the pause is told", async || match reasons().await {
        told if told == ["token"] => Ok(()),
        told => Err(told),
    })
    .await;
    world.hubspot.set_token(&world.settings["HUBSPOT_ACCESS_TOKEN"]);
    world.all_are(&["synced"]).await;
    eventually("its end is told", async || match reasons().await {
        told if told.is_empty() => Ok(()),
        told => Err(told),
    })
    .await;
}
