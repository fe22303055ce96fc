//! A database that accepts connections but does not respond, and one with a newer schema.

use simulator::Behaviour;

use crate::support::postgres::cluster;
use crate::support::silent_relay::SilentRelay;
use crate::support::world::World;

#[tokio::test]
async fn a_connection_that_dies_during_a_statement_is_abandoned() {
    // Without a unique property an unconfirmed course would be held. Courses that were claimed but not sent must not
    // become unconfirmed.
    let mut world = World::with(false, Behaviour::default()).await;
    let cluster = cluster().await;
    let relay = SilentRelay::start(cluster.root().join(format!(".s.PGSQL.{}", cluster.port()))).await;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(world.pool()).await.unwrap();
    let user: String = sqlx::query_scalar("select current_user").fetch_one(world.pool()).await.unwrap();
    let url = format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", relay.port);
    world.settings.insert("DATABASE_URL".into(), url);
    world.set("DATABASE__MAX_CONNECTIONS", "2");
    // The first failure of an outage has a line at `warn`, each further one at `debug`.
    world.set("LOG__FILTER", "info,course_sync=debug");
    let daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.warm_up().await;
    // The claim and the renewal of the lease both wait for this lock, so both statements are sent and unanswered.
    let mut lock = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_sync_leader in access exclusive mode").execute(&mut *lock).await.unwrap();
    world.enqueue_many("A", 5).await;
    world.wait_for_lock_waiters(2).await;
    relay.drop_responses();
    lock.rollback().await.unwrap();
    daemon.wait_for_log("the server does not respond").await;
    world.wait_until_all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.attempts == 1));
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_schema_of_a_newer_version_is_refused() {
    let mut world = World::new().await;
    sqlx::query(
        "insert into course_sync_migrations (version, description, success, checksum, execution_time)
         values (9999, 'the future', true, '', 0)",
    )
    .execute(world.pool())
    .await
    .unwrap();
    for migrate in ["true", "false"] {
        world.set("DATABASE__MIGRATE", migrate);
        let mut daemon = world.start_daemon();
        assert_eq!(daemon.wait_for_exit().await.code(), Some(2));
        assert!(daemon.log().contains("newer than this program"), "{}", daemon.log());
    }
}
