//! A database that accepts connections but does not respond, and one with a newer schema.

use simulator::Behaviour;

use crate::support::daemon::{output, program};
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
async fn a_database_at_an_ipv6_address_is_reached() {
    let mut world = World::new().await;
    let cluster = cluster().await;
    let socket = cluster.root().join(format!(".s.PGSQL.{}", cluster.port()));
    let relay = SilentRelay::start_at("[::1]:0", socket).await;
    let user: String = sqlx::query_scalar("select current_user").fetch_one(world.pool()).await.unwrap();
    let port = relay.port;
    let url = format!("postgres://{user}@[::1]:{port}/{}?sslmode=disable", world.database.name());
    world.settings.insert("DATABASE_URL".into(), url);
    let mut check = program(&world.settings);
    check.arg("check");
    let text = String::from_utf8(output(check).await.stdout).unwrap();
    assert!(text.contains(&format!("connected to [::1]:{port}/")), "{text}");
    let mut daemon = world.start_daemon();
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
}

#[tokio::test]
async fn nothing_of_an_unusable_database_url_is_shown() {
    let mut world = World::new().await;
    world.set("LOG__FILTER", "trace");
    let url = world.settings["DATABASE_URL"].clone();
    for addition in ["&canary=canary", "&sslpassword=canary", "&target_session_attrs=canary"] {
        world.settings.insert("DATABASE_URL".into(), format!("{url}{addition}"));
        for command in ["run", "check", "status", "migrate"] {
            let mut program = program(&world.settings);
            program.arg(command);
            let output = output(program).await;
            let text = String::from_utf8([output.stdout, output.stderr].concat()).unwrap();
            assert_eq!(output.status.code(), Some(2), "{command}: {text}");
            assert!(text.contains("database.url (DATABASE_URL)"), "{command}: {text}");
            assert!(!text.replace("unknown parameter canary;", "").contains("canary"), "{command}: {text}");
        }
    }
}

#[tokio::test]
async fn an_unusable_url_in_a_changed_file_is_not_shown_and_not_used() {
    let mut world = World::new().await;
    let url = world.settings.remove("DATABASE_URL").unwrap();
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), &url).unwrap();
    world.settings.insert("DATABASE_URL_FILE".into(), file.path().display().to_string());
    world.set("LOG__FILTER", "trace");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    std::fs::write(file.path(), format!("{url}&sslpassword=canary")).unwrap();
    let cut = "select pg_terminate_backend(pid) from pg_stat_activity
                where datname = current_database() and application_name = 'course-sync'";
    sqlx::query(cut).execute(world.pool()).await.unwrap();
    world.enqueue_many("A", 5).await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains("canary"), "{}", daemon.log());
}

#[tokio::test]
async fn a_malformed_line_of_the_password_file_is_not_logged() {
    let mut world = World::new().await;
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "canary\n").unwrap();
    world.settings.insert("PGPASSFILE".into(), file.path().display().to_string());
    world.set("LOG__FILTER", "trace");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains("canary"), "{}", daemon.log());
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
