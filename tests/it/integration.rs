//! `docs/integration.md` is correct: its SQL runs unchanged, and each role has the documented privileges and no others.

use course_sync::outbox;
use sqlx::postgres::PgPoolOptions;
use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, PgPool};

use crate::support::postgres::cluster;

/// The document's SQL blocks, in order.
fn blocks() -> Vec<String> {
    let text = std::fs::read_to_string(concat!(env!("CARGO_MANIFEST_DIR"), "/docs/integration.md")).unwrap();
    let fenced = text.split("```").skip(1).step_by(2);
    fenced.filter_map(|block| block.strip_prefix("sql\n")).map(str::to_owned).collect()
}

async fn run(connection: &mut PgConnection, sql: &str) -> Result<u64, sqlx::Error> {
    let done = connection.execute(sqlx::raw_sql(AssertSqlSafe(sql.to_owned()))).await?;
    Ok(done.rows_affected())
}

/// A connection with the privileges of `role`.
async fn connect_as(role: &str, url: &str) -> PgConnection {
    let mut connection = PgConnection::connect(url).await.unwrap();
    run(&mut connection, &format!("set role {role}")).await.unwrap();
    connection
}

async fn pool_as(role: &'static str, url: &str) -> PgPool {
    let options = PgPoolOptions::new().max_connections(2).after_connect(move |connection, _| {
        Box::pin(async move { run(connection, &format!("set role {role}")).await.map(drop) })
    });
    options.connect(url).await.unwrap()
}

/// The SQLSTATE and the constraint with which Postgres refuses.
async fn refusal(connection: &mut PgConnection, sql: &str) -> (String, Option<String>) {
    let error = run(connection, sql).await.expect_err(sql);
    let error = error.as_database_error().expect(sql);
    (error.code().expect(sql).into_owned(), error.constraint().map(str::to_owned))
}

async fn assert_forbidden(connection: &mut PgConnection, statements: &[&str]) {
    for sql in statements {
        assert_eq!(refusal(connection, sql).await.0, "42501", "{sql}");
    }
}

#[tokio::test]
async fn the_documented_sql_runs_and_each_role_has_only_its_privileges() {
    let cluster = cluster().await;
    let mut server = PgConnection::connect(&cluster.url("postgres")).await.unwrap();
    run(&mut server, "create database integration").await.unwrap();
    let url = cluster.url("integration");
    let mut superuser = PgConnection::connect(&url).await.unwrap();
    let sql = blocks();
    let [
        attach_grants,
        put,
        put_many,
        withdraw,
        offer,
        change_many,
        read,
        fix,
        roles,
        grants,
        functions,
        reader,
        editor,
    ] = sql.as_slice()
    else {
        panic!("docs/integration.md has {} SQL blocks; this test expects thirteen", sql.len());
    };

    run(&mut superuser, roles).await.unwrap();
    let mut owner = connect_as("course_sync_owner", &url).await;
    outbox::migrations::MIGRATOR.run(&mut owner).await.unwrap();
    for statements in [grants, functions, attach_grants] {
        run(&mut owner, statements).await.unwrap();
    }
    for statements in [reader, editor] {
        run(&mut superuser, statements).await.unwrap();
    }

    let mut catalogue = connect_as("catalogue", &url).await;
    for (sql, name, courses) in [
        (put, "put", 1),
        (put_many, "put_many", 2),
        (withdraw, "withdraw", 1),
        (offer, "offer", 1),
        (change_many, "change_many", 2),
    ] {
        assert_eq!(run(&mut catalogue, sql).await.unwrap(), courses, "{name}");
        assert_eq!(run(&mut catalogue, sql).await.unwrap(), 0, "{name} again");
    }
    run(&mut catalogue, fix).await.unwrap();
    assert_forbidden(&mut catalogue, FORBIDDEN_TO_THE_CATALOGUE).await;
    assert_forbidden(&mut catalogue, &[read]).await;
    for (values, code, constraint) in REFUSED {
        let sql =
            format!("insert into course_outbox (course_key, properties, associations) values ({values})");
        let (found, named) = refusal(&mut catalogue, &sql).await;
        assert_eq!((found.as_str(), named.as_deref()), (*code, *constraint), "{values}");
    }
    run(&mut superuser, SENT).await.unwrap();
    for (sql, code) in REFUSED_CHANGES {
        assert_eq!(refusal(&mut catalogue, sql).await.0, *code, "{sql}");
    }

    let mut reader = connect_as("course_reader", &url).await;
    run(&mut reader, read).await.unwrap();
    assert_forbidden(&mut reader, &["select properties from course_outbox", put]).await;

    let mut editor = connect_as("course_editor", &url).await;
    run(&mut editor, fix).await.unwrap();
    assert_forbidden(&mut editor, &["update course_outbox set status = 'pending'", put]).await;

    let pool = pool_as("course_sync_run", &url).await;
    outbox::connect::verify_schema(&pool)
        .await
        .expect("a daemon without the privilege to migrate can verify the schema");
    assert_eq!(
        outbox::overview::count_courses(&pool).await.unwrap().iter().map(|count| count.courses).sum::<i64>(),
        3
    );
    let mut daemon = connect_as("course_sync_run", &url).await;
    assert_forbidden(&mut daemon, FORBIDDEN_TO_THE_DAEMON).await;
}

const FORBIDDEN_TO_THE_CATALOGUE: &[&str] = &[
    "insert into course_outbox (course_key, properties, status) values ('forged', '{}', 'pending')",
    "insert into course_outbox (course_key, properties, hubspot_id) values ('forged', '{}', '1')",
    "insert into course_outbox (course_key, properties, error) values ('forged', '{}', '{}')",
    "insert into course_outbox (course_key, properties) values ('forged', '{}') returning id",
    "insert into course_outbox (course_key, properties) values ('course-101', '{}')
     on conflict (course_key) do update set status = 'synced'",
    "update course_outbox set status = 'pending'",
    "update course_outbox set hubspot_id = '1'",
    "update course_outbox set revision = 1",
    "update course_outbox set course_key = 'other' where course_key = 'course-101'",
    "delete from course_outbox",
    "truncate course_outbox",
    "select status from course_outbox",
    "select from course_sync_leader",
    "create table own_table ()",
];

const FORBIDDEN_TO_THE_DAEMON: &[&str] = &[
    "alter table course_outbox disable trigger all",
    "truncate course_outbox",
    "delete from course_sync_migrations",
    "create table own_table ()",
];

const SENT: &str = "
    update course_outbox
       set status = 'synced', hubspot_id = '1', synced_at = now(), synced_revision = revision,
           batch_id = gen_random_uuid()
     where course_key = 'course-101'";

/// Changes that are refused: the statement, the SQLSTATE.
const REFUSED_CHANGES: &[(&str, &str)] = &[
    ("update course_outbox set associations = '[]' where course_key = 'course-101'", "0A000"),
    ("update course_outbox set archived = null where course_key = 'course-101'", "23502"),
    (r#"update course_outbox set properties = '{"a": [1]}' where course_key = 'course-101'"#, "23514"),
    (
        "insert into course_outbox (course_key, properties) values ('k', '{}'), ('k', '{}')
         on conflict (course_key) do update set properties = excluded.properties",
        "21000",
    ),
];

const KEY: Option<&str> = Some("course_outbox_course_key_usable");
const PROPERTIES: Option<&str> = Some("course_outbox_properties_flat_object");
const ASSOCIATIONS: Option<&str> = Some("course_outbox_associations_in_hubspots_shape");

/// Inserts that are refused: the values, the SQLSTATE, the constraint.
const REFUSED: &[(&str, &str, Option<&str>)] = &[
    ("' ', '{}', '[]'", "23514", KEY),
    ("repeat('x', 256), '{}', '[]'", "23514", KEY),
    ("'k', '[]', '[]'", "23514", PROPERTIES),
    (r#"'k', '{"a": {"b": 1}}', '[]'"#, "23514", PROPERTIES),
    (r#"'k', '{"a": [1]}', '[]'"#, "23514", PROPERTIES),
    ("'k', '{}', '{}'", "23514", ASSOCIATIONS),
    (r#"'k', '{}', '[{"to": {"id": 7}, "types": []}]'"#, "23514", ASSOCIATIONS),
    ("null, '{}', '[]'", "23502", None),
    ("'k', null, '[]'", "23502", None),
    ("'k', '{}', null", "23502", None),
    ("'k', '{', '[]'", "22P02", None),
    (r#"'k', '{"a": "\u0000"}', '[]'"#, "22P05", None),
];
