//! Who may do what: the triggers write with the rights of the table's owner, and give none to anyone.

use sqlx::{AssertSqlSafe, Executor, PgConnection};

use super::{CATALOGUE, attach, connect_as, execute, keys};
use crate::support::world::World;

async fn refusal(connection: &mut PgConnection, sql: &str) -> String {
    let error = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await.expect_err(sql);
    let error = error.into_database_error().expect(sql);
    format!("{} {}", error.code().unwrap_or_default(), error.message())
}

#[tokio::test]
async fn writers_of_the_table_need_no_rights_on_the_outbox() {
    let world = World::new().await;
    let pool = world.pool();
    let id = uuid::Uuid::new_v4().simple().to_string();
    let (owner, writer, stranger) = (format!("owner_{id}"), format!("writer_{id}"), format!("stranger_{id}"));
    execute(
        pool,
        &format!(
            "create role {owner}; create role {writer}; create role {stranger};
             {CATALOGUE}; alter table catalogue.courses owner to {owner}; grant usage, create on schema catalogue to {owner};
             grant usage on schema catalogue to {writer}, {stranger};
             grant usage, create on schema public to {stranger};
             grant select, insert, update, delete on catalogue.courses to {writer}"
        ),
    )
    .await;
    // The owner of the table lacks rights: refused at once, with the statements that give them.
    let output = attach(&world, &["--apply"]).await;
    assert_eq!(output.code, Some(1), "{}", output.err);
    let grants = output.err.split("run: ").nth(1).expect("the statements").trim();
    assert!(grants.starts_with("grant usage on schema public"), "{grants}");
    execute(pool, grants).await;
    let output = attach(&world, &["--apply"]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);

    let mut catalogue = connect_as(&world, &writer).await;
    for sql in [
        "insert into catalogue.courses (code, title) values ('A', 'a'), ('B', 'b')",
        "update catalogue.courses set title = 'c'",
        "update catalogue.courses set code = repeat('x', 300) where code = 'B'",
        "delete from catalogue.courses where code = 'A'",
    ] {
        catalogue.execute(sql).await.unwrap();
    }
    assert_eq!(keys(pool).await, ["-A", "-B"]);
    for sql in ["select course_key from course_outbox", "select from course_sync_refused_change"] {
        assert!(refusal(&mut catalogue, sql).await.starts_with("42501"), "{sql}");
    }

    // The function belongs to the owner of the table, and no other role can use it for a table of its own.
    let (function, function_owner): (String, String) = sqlx::query_as(
        "select oid::regprocedure::text, proowner::regrole::text from pg_proc where proname like 'course\\_sync\\_courses\\_%'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(function_owner, owner);
    let mut other = connect_as(&world, &stranger).await;
    other.execute("create table public.trap (code text, title text, seats int)").await.unwrap();
    for sql in [
        &format!("create trigger t after insert on public.trap for each row execute function {function}"),
        "select course_sync_refuse('x', 'y', '{}', false)",
        "select course_sync_forget_refused('x')",
    ] {
        assert!(refusal(&mut other, sql).await.starts_with("42501"), "{sql}");
    }
    // Objects that another role puts in the search path of a writer are not used.
    other
        .execute(
            "create function public.jsonb_build_object(variadic \"any\") returns jsonb language sql as $$ select '{\"x\": 1}'::jsonb $$",
        )
        .await
        .ok();
    catalogue.execute("set search_path = public, pg_catalog").await.unwrap();
    catalogue.execute("insert into catalogue.courses (code, title) values ('C', 'c')").await.unwrap();
    let name: Option<String> = sqlx::query_scalar(
        "select properties ->> 'hs_course_name' from course_outbox where course_key = 'C'",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(name.as_deref(), Some("c"));
    drop((catalogue, other));
    execute(
        pool,
        &format!("drop owned by {owner}, {writer}, {stranger}; drop role {owner}, {writer}, {stranger}"),
    )
    .await;
}

#[tokio::test]
async fn printing_needs_no_right_on_the_table() {
    let world = World::new().await;
    let role = format!("daemon_{}", uuid::Uuid::new_v4().simple());
    execute(
        world.pool(),
        &format!(
            "{CATALOGUE}; create role {role} login; grant usage on schema public to {role};
             grant select, insert, update, delete on all tables in schema public to {role}"
        ),
    )
    .await;
    let mut world = world;
    let url = world.settings["DATABASE_URL"].clone();
    let mut limited = url::Url::parse(&url).unwrap();
    limited.set_username(&role).unwrap();
    world.settings.insert("DATABASE_URL".into(), limited.to_string());
    let with_table = attach(&world, &[]).await;
    assert_eq!(with_table.code, Some(0), "{}", with_table.err);
    // Also of a table that is in another database.
    execute(world.pool(), "alter schema catalogue rename to elsewhere").await;
    let output = attach(&world, &[]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(output.err.contains("is not in this database"), "{}", output.err);
    assert_eq!(output.out, with_table.out);
    execute(world.pool(), &format!("drop owned by {role}; drop role {role}")).await;
}
