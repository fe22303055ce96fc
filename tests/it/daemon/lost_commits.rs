//! A restored backup: the database has lost commits that it had acknowledged.

use simulator::Behaviour;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::eventually::eventually;
use crate::support::postgres::cluster;
use crate::support::world::World;

/// A world in which all courses were sent and the database was then restored to its state before.
async fn world_with_restored_backup(unique: bool) -> World {
    let mut world = World::with(unique, Behaviour::default()).await;
    world.enqueue_many("A", 150).await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.wait_until_all_are(&["synced"]).await;
    world.enqueue_many("B", 10).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    // The backup contains the state before the first send, except that the leader was already known.
    sqlx::raw_sql(
        "update course_outbox set status = 'pending', hubspot_id = null, synced_at = null, batch_id = null, attempts = 0;
         delete from course_sync_batch; delete from course_sync_history",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.pool().close().await;
    let name = world.database.name().to_owned();
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    for statement in [
        format!("create database {name}_backup template {name}"),
        format!("drop database {name} with (force)"),
        format!("alter database {name}_backup rename to {name}"),
    ] {
        sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
    }
    world.database.reconnect().await;
    world
}

#[tokio::test]
async fn a_restored_backup_is_detected_and_pending_courses_are_looked_up_before_sending() {
    let world = world_with_restored_backup(true).await;
    world.enqueue_many("C", 10).await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lost_commits_verification_started").await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(
        world.sends_per_course().values().all(|times| *times == 1),
        "a course that HubSpot already had was sent again"
    );
    assert!(daemon.stop().await.success());
    let mut again = world.start_daemon();
    again.wait_for_event("lease_acquired").await;
    assert!(!again.log().contains("lost_commits"), "the lost commits were reported again");
    assert!(again.stop().await.success());
}

#[tokio::test]
async fn without_a_unique_property_a_restored_backup_pauses_for_the_operator() {
    let world = world_with_restored_backup(false).await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lost_commits_review_required").await;
    daemon.wait_for_event("lease_acquired").await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"operator\"}").await, "1");
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    // The operator finds that HubSpot has none of the courses.
    world.hubspot.reset();
    let resumed = crate::support::daemon::output({
        let mut command = crate::support::daemon::program(&world.settings);
        command.arg("resume");
        command
    })
    .await;
    assert!(resumed.status.success(), "{resumed:?}");
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn an_operator_can_request_verification_with_verify_first() {
    let world = World::new().await;
    world.enqueue_many("A", 20).await;
    let properties = [("hs_course_name", "Course A 7"), (crate::support::world::UNIQUE_PROPERTY, "A-7")];
    world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    let mut daemon = crate::support::daemon::Daemon::start(&world.settings, &["--verify-first"]);
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.sends_per_course().len(), 19, "the course that HubSpot already had was never sent");
    world.enqueue_many("B", 5).await;
    eventually("later courses are sent without a look-up", async || match world.sends_per_course().len() {
        24 => Ok(()),
        sent => Err(sent),
    })
    .await;
    assert!(daemon.stop().await.success());
}
