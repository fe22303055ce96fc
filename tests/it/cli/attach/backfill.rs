//! `attach --backfill`: the rows that exist are enqueued once, whatever the catalogue does at the same time.

use sqlx::{Acquire, Connection, Executor};

use super::{apply, attach, execute, keys, world_with_catalogue};
use crate::support::postgres::wait_for_lock_waiters;

#[tokio::test]
async fn rows_are_enqueued_in_pages_and_only_once() {
    let world = world_with_catalogue().await;
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title, is_open) select 'K' || n, 'Course ' || n, n % 5 > 0 from generate_series(1, 2500) n",
    )
    .await;
    let output = attach(&world, &["--where", "is_open", "--backfill", "--apply"]).await;
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert!(
        output.out.contains("rows 2500, courses enqueued or changed 2000, already there 0"),
        "{}",
        output.out
    );
    execute(pool, "update catalogue.courses set title = 'new' where code = 'K1'").await;
    execute(pool, "update course_outbox set properties = '{}' where course_key = 'K2'").await;
    let output = attach(&world, &["--where", "is_open", "--backfill", "--apply"]).await;
    assert!(output.out.contains("enqueued or changed 1, already there 1999, refused 0"), "{}", output.out);
    let wrong: i64 = sqlx::query_scalar(
        "select count(*) from catalogue.courses full join course_outbox on course_key = code
          where is_open and title is distinct from properties ->> 'hs_course_name' or is_open is null
             or not is_open and course_key is not null",
    )
    .fetch_one(pool)
    .await
    .unwrap();
    assert_eq!(wrong, 0);
}

#[tokio::test]
async fn rows_without_a_usable_key_are_counted() {
    let world = world_with_catalogue().await;
    execute(
        world.pool(),
        "alter table catalogue.courses alter code drop not null;
         insert into catalogue.courses (code, title) values ('A', 'a'), (null, 'b'), (repeat('x', 300), 'c')",
    )
    .await;
    let output = attach(&world, &["--backfill", "--apply"]).await;
    assert_eq!(output.code, Some(1), "{}", output.err);
    assert!(
        output
            .out
            .contains("rows 2, courses enqueued or changed 1, already there 0, refused 1, without key 1"),
        "{}",
        output.out
    );
    assert_eq!(keys(world.pool()).await, ["A"]);
}

#[tokio::test]
async fn a_row_that_is_deleted_meanwhile_is_not_enqueued() {
    let world = world_with_catalogue().await;
    let pool = world.pool();
    execute(
        pool,
        "insert into catalogue.courses (code, title) select 'K' || n, 'old' from generate_series(1, 5) n",
    )
    .await;
    apply(&world, &[]).await;
    // A transaction of the catalogue holds two rows, and then takes another one that the backfill may hold.
    let mut connection = pool.acquire().await.unwrap();
    let mut catalogue = connection.begin().await.unwrap();
    catalogue.execute("delete from catalogue.courses where code = 'K3'").await.unwrap();
    catalogue.execute("update catalogue.courses set title = 'new' where code = 'K4'").await.unwrap();
    let backfill = attach(&world, &["--backfill", "--json"]);
    // Without --apply nothing waits.
    assert_eq!(backfill.await.code, Some(0));
    let url = world.settings.clone();
    let running = tokio::spawn(async move {
        let arguments =
            [&["attach", "catalogue.courses"], &super::OPTIONS[..], &["--backfill", "--apply"]].concat();
        super::run_command(&url, &arguments).await
    });
    wait_for_lock_waiters(pool, 1).await;
    catalogue.execute("update catalogue.courses set title = 'new' where code = 'K1'").await.unwrap();
    catalogue.commit().await.unwrap();
    let output = running.await.unwrap();
    assert_eq!(output.code, Some(0), "{}", output.err);
    assert_eq!(keys(pool).await, ["K1", "K2", "-K3", "K4", "K5"]);
    let titles: Vec<String> = sqlx::query_scalar("select title from catalogue.courses join course_outbox on course_key = code and title = properties ->> 'hs_course_name' order by code")
        .fetch_all(pool)
        .await
        .unwrap();
    assert_eq!(titles, ["new", "old", "new", "old"]);
}

#[tokio::test]
async fn a_deletion_with_an_older_snapshot_is_not_lost() {
    let world = world_with_catalogue().await;
    let pool = world.pool();
    execute(pool, "insert into catalogue.courses (code, title) values ('A', 'a'), ('B', 'b')").await;
    apply(&world, &[]).await;
    let mut connection = pool.acquire().await.unwrap();
    let mut catalogue = connection.begin_with("begin isolation level repeatable read").await.unwrap();
    catalogue.execute("select from catalogue.courses").await.unwrap();
    assert_eq!(attach(&world, &["--backfill", "--apply"]).await.code, Some(0));
    // The transaction does not see the rows that the backfill wrote.
    let refused = catalogue.execute("delete from catalogue.courses where code = 'A'").await.unwrap_err();
    let code = refused.into_database_error().and_then(|error| error.code().map(std::borrow::Cow::into_owned));
    assert_eq!(code.as_deref(), Some("40001"));
    catalogue.rollback().await.unwrap();
    drop(connection);
    // A course that is deleted before a backfill reaches it stays withdrawn.
    execute(pool, "delete from course_outbox; delete from catalogue.courses where code = 'A'").await;
    assert_eq!(attach(&world, &["--backfill", "--apply"]).await.code, Some(0));
    assert_eq!(keys(pool).await, ["-A", "B"]);
}
