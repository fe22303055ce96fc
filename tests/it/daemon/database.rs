//! A database that is there and does not answer.

use course_sync::simulator::Behaviour;

use crate::support::line::Line;
use crate::support::postgres::cluster;
use crate::support::world::World;

#[tokio::test]
async fn a_line_that_died_in_the_middle_of_a_statement_is_given_up() {
    // Without a unique property a doubt would be held: what was claimed and not sent is none.
    let mut world = World::with(false, Behaviour::default()).await;
    let cluster = cluster().await;
    let line = Line::to(cluster.root().join(format!(".s.PGSQL.{}", cluster.port()))).await;
    let database: String =
        sqlx::query_scalar("select current_database()").fetch_one(world.pool()).await.unwrap();
    let user: String = sqlx::query_scalar("select current_user").fetch_one(world.pool()).await.unwrap();
    let url = format!("postgres://{user}@127.0.0.1:{}/{database}?sslmode=disable", line.port);
    world.settings.insert("DATABASE_URL".into(), url);
    world.set("DATABASE__MAX_CONNECTIONS", "2");
    let daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.warm_up().await;
    // The claim and the renewal both wait for this lock, so that both are asked and not yet answered.
    let mut lock = world.pool().begin().await.unwrap();
    sqlx::query("lock table course_sync_leader in access exclusive mode").execute(&mut *lock).await.unwrap();
    world.enqueue_many("A", 5).await;
    world.waits_for_locks(2).await;
    line.dies();
    lock.rollback().await.unwrap();
    daemon.logged("the server does not answer").await;
    world.all_are(&["synced"]).await;
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.attempts == 1));
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_schema_of_a_newer_program_is_left_alone() {
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
        let mut daemon = world.daemon();
        assert_eq!(daemon.ended().await.code(), Some(2));
        assert!(daemon.log().contains("newer than this program"), "{}", daemon.log());
    }
}
