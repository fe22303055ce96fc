//! Every write is durable when it is acknowledged, also where the database or the role has `synchronous_commit` off.

use course_sync::outbox::connect::migrate;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection, PgConnection};

use crate::support::daemon::{output, program};
use crate::support::postgres::cluster;
use crate::support::world::World;

/// Records the setting at every write to the tables that decide whether a course is sent.
const RECORD_SETTING: &str = "
    create table seen_setting (source text, setting text, primary key (source, setting));
    create function record_setting() returns trigger language plpgsql security definer as $$
    begin
        insert into seen_setting values (tg_table_name, current_setting('synchronous_commit'))
            on conflict do nothing;
        return null;
    end $$;
    create trigger record_setting after insert or update on course_sync_batch
        for each statement execute function record_setting();
    create trigger record_setting after update on course_outbox
        for each statement execute function record_setting();
    create trigger record_setting after update on course_sync_leader
        for each statement execute function record_setting();";

async fn turn_off(name: &str) {
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    let statement = format!(
        "alter database {name} set synchronous_commit = off;
         do $$ begin
             execute format('alter role %I in database {name} set synchronous_commit = off', current_user);
         end $$"
    );
    sqlx::raw_sql(AssertSqlSafe(statement)).execute(&mut admin).await.unwrap();
}

async fn writes_of_a_daemon(world: &mut World) -> Vec<(String, String)> {
    turn_off(world.database.name()).await;
    world.database.reconnect().await;
    sqlx::raw_sql(RECORD_SETTING).execute(world.pool()).await.unwrap();
    let own: String = sqlx::query_scalar("select current_setting('synchronous_commit')")
        .fetch_one(world.pool())
        .await
        .unwrap();
    assert_eq!(own, "off", "the setting of the database has no effect");
    world.enqueue_many("A", 20).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    let mut pause = program(&world.settings);
    pause.args(["pause", "--reason", "test"]);
    assert!(output(pause).await.status.success());
    sqlx::query_as("select source, setting from seen_setting order by 1, 2")
        .fetch_all(world.pool())
        .await
        .unwrap()
}

fn all_on() -> Vec<(String, String)> {
    ["course_outbox", "course_sync_batch", "course_sync_leader"]
        .map(|table| (table.into(), "on".into()))
        .into()
}

#[tokio::test]
async fn every_write_waits_for_the_disk_although_the_database_does_not() {
    let mut world = World::new().await;
    assert_eq!(writes_of_a_daemon(&mut world).await, all_on());
}

#[tokio::test]
async fn every_write_waits_for_the_disk_behind_a_pooler() {
    let Some((mut world, _pooler)) = World::behind_pooler().await else { return };
    world.set("OUTBOX__LISTEN", "false");
    world.set("OUTBOX__POLL_INTERVAL", "50ms");
    assert_eq!(writes_of_a_daemon(&mut world).await, all_on());
}

#[tokio::test]
async fn migrations_wait_for_the_disk_although_the_database_does_not() {
    let name = format!("durable_{}", uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("create database {name}"))).execute(&mut admin).await.unwrap();
    turn_off(&name).await;
    let url = cluster().await.url(&name);
    let mut session = PgConnection::connect(&url).await.unwrap();
    sqlx::raw_sql(
        "create table seen_setting (setting text primary key);
         create function record_setting() returns event_trigger language plpgsql as $$
         begin
             insert into seen_setting values (current_setting('synchronous_commit')) on conflict do nothing;
         end $$;
         create event trigger record_setting on ddl_command_end execute function record_setting()",
    )
    .execute(&mut session)
    .await
    .unwrap();
    assert!(migrate(&SecretString::from(url)).await.unwrap() > 0);
    let seen: Vec<String> =
        sqlx::query_scalar("select setting from seen_setting").fetch_all(&mut session).await.unwrap();
    session.close().await.unwrap();
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name} with (force)")))
        .execute(&mut admin)
        .await
        .unwrap();
    assert_eq!(seen, ["on"]);
}
