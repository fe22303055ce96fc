//! Behind a pooler in transaction mode: no session is kept, and nothing is missed.

use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::cluster;
use crate::support::world::World;

#[tokio::test]
async fn everything_works_without_a_session_of_its_own() {
    let Some(pooler) = PgBouncer::before(cluster().await).await else {
        eprintln!("skipped: pgbouncer is not installed");
        return;
    };
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), pooler.url(world.database.name()));
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    world.set("BATCH__MAX_SIZE", "10");
    world.enqueue_many("A", 1_000).await;
    let mut first = world.daemon();
    first.logged("\"leading\"").await;
    let mut second = world.daemon();
    second.logged("another instance leads").await;
    world.all_are(&["synced"]).await;
    assert!(first.stop().await.success());
    second.logged("\"leading\"").await;
    world.enqueue_many("B", 500).await;
    world.all_are(&["synced"]).await;
    assert!(second.stop().await.success());
    world.audit().await;
    assert!(world.sends().values().all(|times| *times == 1));
    for log in [first.log(), second.log()] {
        assert!(!log.contains("prepared statement"), "{log}");
    }
}
