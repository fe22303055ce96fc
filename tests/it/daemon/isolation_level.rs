//! The isolation level of the daemon's transactions.

use crate::support::world::World;

/// The catalogue's database has a stricter default. Under it, the daemon's statements would fail one another.
#[tokio::test]
async fn a_serializable_default_does_not_apply_to_the_daemon() {
    for listen in ["true", "false"] {
        let mut world = World::new().await;
        // Without notifications the daemon works as behind a pooler.
        world.set("OUTBOX__LISTEN", listen);
        sqlx::raw_sql(
            "do $$ begin
                 execute format('alter database %I set default_transaction_isolation = serializable', current_database());
             end $$;
             create table seen (level text);
             create function note_level() returns trigger language plpgsql as $$
             begin
                 insert into seen values (current_setting('transaction_isolation'));
                 return null;
             end $$;
             create trigger note_level after insert or update on course_sync_batch
                 for each statement execute function note_level();
             create trigger note_level after update on course_sync_leader
                 for each statement execute function note_level()",
        )
        .execute(world.pool())
        .await
        .unwrap();
        world.enqueue_many("A", 250).await;
        let _daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
        let levels: Vec<String> =
            sqlx::query_scalar("select distinct level from seen").fetch_all(world.pool()).await.unwrap();
        assert_eq!(levels, ["read committed"], "listen = {listen}");
        world.audit().await;
    }
}
