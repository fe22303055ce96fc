//! The daemon behind a pooler in transaction mode, which gives no session of its own to a client.

use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::cluster;
use crate::support::world::World;

#[tokio::test]
async fn the_daemon_works_behind_a_pooler_in_transaction_mode() {
    let Some(pooler) = PgBouncer::start(cluster().await).await else {
        eprintln!("skipped: pgbouncer is not installed");
        return;
    };
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), pooler.url(world.database.name()));
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    let mut first = world.start_daemon();
    first.wait_for_event("lease_acquired").await;
    let mut second = world.start_daemon();
    second.wait_for_event("standby_started").await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(first.stop().await.success());
    second.wait_for_event("lease_acquired").await;
    world.enqueue_many("B", 500).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(second.stop().await.success());
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
    for log in [first.log(), second.log()] {
        assert!(!log.contains("prepared statement"), "{log}");
    }
}
