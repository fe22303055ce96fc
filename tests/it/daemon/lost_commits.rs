//! A database that forgot what it had acknowledged: a restored backup, a promoted standby.

use course_sync::simulator::Behaviour;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::eventually::eventually;
use crate::support::postgres::cluster;
use crate::support::world::World;

/// Makes a backup before anything is sent, lets everything be sent, and restores the backup.
async fn restored(unique: bool) -> World {
    let mut world = World::with(unique, Behaviour::default()).await;
    world.enqueue_many("A", 150).await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.all_are(&["synced"]).await;
    world.enqueue_many("B", 10).await;
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    // What the backup holds: the state before anything was sent, but for the leader, who was known.
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
    world.database.reopen().await;
    world
}

#[tokio::test]
async fn a_restored_backup_is_noticed_and_everything_pending_is_looked_up_before_it_is_sent() {
    let world = restored(true).await;
    world.enqueue_many("C", 10).await;
    let mut daemon = world.daemon();
    daemon.logged("the database may have lost commits").await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1), "what HubSpot held was not sent again");
    assert!(daemon.stop().await.success());
    let mut again = world.daemon();
    again.logged("\"leading\"").await;
    assert!(!again.log().contains("lost commits"), "it is noticed once");
    assert!(again.stop().await.success());
}

#[tokio::test]
async fn without_a_unique_property_it_stops_and_asks() {
    let world = restored(false).await;
    let mut daemon = world.daemon();
    daemon.logged("Compare them by hand, then run `course-sync resume`").await;
    daemon.logged("\"leading\"").await;
    assert_eq!(daemon.metric("course_sync_paused{reason=\"operator\"}").await, "1");
    assert!(world.sends().values().all(|times| *times == 1));
    // A person finds that nothing of it is in HubSpot.
    world.hubspot.reset();
    let resumed = crate::support::daemon::output({
        let mut command = crate::support::daemon::program(&world.settings);
        command.arg("resume");
        command
    })
    .await;
    assert!(resumed.status.success(), "{resumed:?}");
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn a_person_can_ask_for_it() {
    let world = World::new().await;
    world.enqueue_many("A", 20).await;
    let properties = [("hs_course_name", "Course A 7"), (crate::support::world::UNIQUE, "A-7")];
    world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value.into())).into());
    let mut daemon = crate::support::daemon::Daemon::start(&world.settings, &["--verify-first"]);
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert_eq!(world.sends().len(), 19, "the one that HubSpot held was never sent");
    world.enqueue_many("B", 5).await;
    eventually("later courses go straight", async || match world.sends().len() {
        24 => Ok(()),
        sent => Err(sent),
    })
    .await;
    assert!(daemon.stop().await.success());
}
