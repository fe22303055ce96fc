//! The daemon behind a pooler in transaction mode, which gives no session of its own to a client.

use sqlx::postgres::PgConnectOptions;
use sqlx::{Connection as _, PgConnection};

use crate::support::pgbouncer::PgBouncer;
use crate::support::postgres::cluster;
use crate::support::world::World;

#[tokio::test]
async fn the_daemon_works_behind_a_pooler_in_transaction_mode() {
    let Some((mut world, _pooler)) = World::behind_pooler().await else { return };
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

#[tokio::test]
async fn a_pooler_is_recognised_without_the_setting() {
    let Some((mut world, _pooler)) = World::behind_pooler().await else { return };
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    world.set("BATCH__MAX_SIZE", "10");
    // The number of the start decides which statements are in which session.
    for start in 1..=4 {
        world.enqueue_many(&format!("A{start}"), 200).await;
        let mut daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
        assert!(daemon.stop().await.success());
        assert_eq!(daemon.events("pooler_detected").len(), 1, "{}", daemon.log());
        assert!(daemon.events("database_unavailable").is_empty(), "{}", daemon.log());
        assert!(!daemon.log().contains("prepared statement"), "{}", daemon.log());
    }
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_pooler_with_a_single_session_is_recognised() {
    let Some(pooler) = PgBouncer::with_sessions(cluster().await, 1).await else { return };
    let mut world = World::new().await;
    world.settings.insert("DATABASE_URL".into(), pooler.url(world.database.name()));
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    world.enqueue_many("A", 20).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.events("pooler_detected").len(), 1, "{}", daemon.log());
    world.audit().await;
}

#[tokio::test]
async fn a_pooler_that_is_put_in_between_later_is_recognised_by_its_errors() {
    let Some(pooler) = PgBouncer::start(cluster().await).await else { return };
    let mut world = World::new().await;
    // A socket that leads to the server first, and to the pooler later.
    let folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join(".s.PGSQL.5432");
    let cluster = cluster().await;
    std::os::unix::fs::symlink(cluster.root().join(format!(".s.PGSQL.{}", cluster.port())), &socket).unwrap();
    let (host, name) = (folder.path().display(), world.database.name());
    let url = format!("postgres://course_sync@localhost:5432/{name}?host={host}&sslmode=disable");
    world.settings.insert("DATABASE_URL".into(), url);
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.warm_up().await;
    assert!(daemon.events("pooler_detected").is_empty(), "{}", daemon.log());
    std::fs::remove_file(&socket).unwrap();
    std::os::unix::fs::symlink(pooler.socket(), &socket).unwrap();
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name = 'course-sync'";
    sqlx::raw_sql(cut).execute(world.pool()).await.unwrap();
    world.enqueue_many("B", 500).await;
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(daemon.events("pooler_detected").len(), 1, "{}", daemon.log());
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn statements_that_other_clients_prepared_behind_the_pooler_survive() {
    let Some(pooler) = PgBouncer::start(cluster().await).await else { return };
    let mut world = World::new().await;
    let url = pooler.url(world.database.name());
    // One in each session of the pooler, under the names that this program's driver gives.
    let mut clients = Vec::new();
    for _ in 0..3 {
        // The pooler refuses this startup parameter.
        let options = url.parse::<PgConnectOptions>().unwrap().extra_float_digits(None);
        let mut client = PgConnection::connect_with(&options).await.unwrap();
        let prepare =
            "begin; prepare sqlx_s_1 as select 1; prepare sqlx_s_2 as select 2; prepare own as select 3";
        sqlx::raw_sql(prepare).execute(&mut client).await.unwrap();
        clients.push(client);
    }
    for client in &mut clients {
        sqlx::raw_sql("commit").execute(client).await.unwrap();
    }
    world.settings.insert("DATABASE_URL".into(), url);
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    world.enqueue_many("A", 300).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains("prepared statement"), "{}", daemon.log());
    for client in &mut clients {
        sqlx::raw_sql("begin; execute own").execute(client).await.unwrap();
    }
}
