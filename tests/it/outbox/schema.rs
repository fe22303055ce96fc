//! What a catalogue may write, and what the table says of itself.

use sqlx::{AssertSqlSafe, PgPool};

use crate::support::postgres::database;

async fn insert(pool: &PgPool, key: &str, properties: &str, associations: &str) -> Result<(), String> {
    sqlx::query(
        "insert into course_outbox (course_key, properties, associations) values ($1, $2::jsonb, $3::jsonb)",
    )
    .bind(key)
    .bind(properties)
    .bind(associations)
    .execute(pool)
    .await
    .map(drop)
    .map_err(|error| error.as_database_error().and_then(|error| error.constraint()).unwrap_or("?").to_owned())
}

#[tokio::test]
async fn what_cannot_be_sent_is_refused_at_insert() {
    let database = database().await;
    let pool = database.pool();
    let link = |to: &str, types: &str| format!(r#"[{{"to":{to},"types":{types}}}]"#);
    let kind = r#"{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}"#;
    let good = [
        ("a", r#"{"hs_course_name":"x","n":1.5,"b":true,"z":null}"#, "[]".to_owned()),
        ("b", "{}", link(r#"{"id":"42"}"#, &format!("[{kind}]"))),
        (
            &"ü".repeat(255),
            "{}",
            link(r#"{"id":"42"}"#, &format!("[{kind},{}]", kind.replace("HUBSPOT", "USER"))),
        ),
    ];
    for (key, properties, associations) in good {
        assert_eq!(
            insert(pool, key, properties, &associations).await,
            Ok(()),
            "{key} {properties} {associations}"
        );
    }
    let (flat, shape) =
        ("course_outbox_properties_flat_object", "course_outbox_associations_in_hubspots_shape");
    let key = "course_outbox_course_key_usable";
    for (course, properties, associations, constraint) in [
        ("a", "{}", "[]".to_owned(), "course_outbox_course_key_unique"),
        ("", "{}", "[]".to_owned(), key),
        ("  ", "{}", "[]".to_owned(), key),
        (&"x".repeat(256), "{}", "[]".to_owned(), key),
        ("x", "[]", "[]".to_owned(), flat),
        ("x", "null", "[]".to_owned(), flat),
        ("x", r#"{"a":["x"]}"#, "[]".to_owned(), flat),
        ("x", r#"{"a":[]}"#, "[]".to_owned(), flat),
        ("x", r#"{"a":{}}"#, "[]".to_owned(), flat),
        ("x", "{}", "{}".to_owned(), shape),
        ("x", "{}", "null".to_owned(), shape),
        ("x", "{}", "[1]".to_owned(), shape),
        ("x", "{}", "[{}]".to_owned(), shape),
        ("x", "{}", link("7", &format!("[{kind}]")), shape),
        ("x", "{}", link(r#"{"id":42}"#, &format!("[{kind}]")), shape),
        ("x", "{}", link(r#"{"id":""}"#, &format!("[{kind}]")), shape),
        ("x", "{}", link(r#"{"id":"42","more":1}"#, &format!("[{kind}]")), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, "[]"), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, "{}"), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, r#"["x"]"#), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, &format!("[{kind},{{}}]")), shape),
        (
            "x",
            "{}",
            link(r#"{"id":"42"}"#, &format!("[{}]", kind.replace("HUBSPOT_DEFINED", "OTHER"))),
            shape,
        ),
        ("x", "{}", link(r#"{"id":"42"}"#, &format!("[{}]", kind.replace("938", "\"938\""))), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, &format!("[{}]", kind.replace("938", "9.5"))), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, &format!("[{}]", kind.replace("938", "-1"))), shape),
        ("x", "{}", link(r#"{"id":"42"}"#, &format!("[{}]", kind.replace("938", "3000000000"))), shape),
    ] {
        let refused = insert(pool, course, properties, &associations).await;
        assert_eq!(refused, Err(constraint.to_owned()), "{course:?} {properties} {associations}");
    }
}

#[tokio::test]
async fn a_mend_is_looked_at_as_the_insert_was_and_a_refusal_says_what_is_wrong() {
    let database = database().await;
    insert(database.pool(), "it's", "{}", "[]").await.unwrap();
    for (set, constraint, says) in [
        (
            r#"properties = '{"a": {}}'"#,
            "course_outbox_properties_flat_object",
            "course 'it''s' is refused: properties must be a JSON object without nested values",
        ),
        (
            "associations = '[{}]'",
            "course_outbox_associations_in_hubspots_shape",
            "course 'it''s' is refused: associations are not in HubSpot's shape",
        ),
    ] {
        let update = AssertSqlSafe(format!("update course_outbox set {set}"));
        let error = sqlx::query(update).execute(database.pool()).await.unwrap_err();
        let error = error.as_database_error().unwrap();
        assert_eq!((error.constraint(), error.message()), (Some(constraint), says));
        assert_eq!((error.code().as_deref(), error.table()), (Some("23514"), Some("course_outbox")));
    }
    sqlx::query(r#"update course_outbox set properties = '{"a": 1}'"#)
        .execute(database.pool())
        .await
        .unwrap();
}

#[tokio::test]
async fn no_status_exists_without_its_columns() {
    let database = database().await;
    for (set, constraint) in [
        ("status = 'synced'", "course_outbox_synced_has_id"),
        ("hubspot_id = '1', synced_at = now()", "course_outbox_synced_has_id"),
        ("status = 'in_flight'", "course_outbox_sent_has_batch"),
        ("status = 'unconfirmed'", "course_outbox_sent_has_batch"),
        ("status = 'failed'", "course_outbox_failed_has_error"),
        ("status = 'done'", "course_outbox_status_known"),
        ("attempts = -1", "course_outbox_attempts_not_negative"),
        ("batch_limit = 0", "course_outbox_batch_limit_in_range"),
    ] {
        insert(database.pool(), "x", "{}", "[]").await.ok();
        let update = AssertSqlSafe(format!("update course_outbox set {set}"));
        let error = sqlx::query(update).execute(database.pool()).await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(|error| error.constraint()), Some(constraint), "{set}");
    }
}

#[tokio::test]
async fn every_table_column_and_index_explains_itself() {
    let database = database().await;
    let silent: Vec<String> = sqlx::query_scalar(
        "select c.relname || coalesce('.' || a.attname, '') from pg_class c
           left join pg_attribute a on a.attrelid = c.oid and a.attnum > 0 and c.relkind = 'r'
          where c.relnamespace = 'public'::regnamespace and c.relkind = 'r' and c.relname like 'course%'
            and (col_description(c.oid, a.attnum) is null or obj_description(c.oid) is null)
         union all
         select c.relname from pg_class c join pg_index i on i.indexrelid = c.oid
          where c.relnamespace = 'public'::regnamespace and c.relname like 'course%' and obj_description(c.oid) is null
            and not exists (select from pg_constraint where conindid = c.oid)",
    )
    .fetch_all(database.pool())
    .await
    .unwrap();
    assert!(silent.is_empty(), "without a comment: {silent:?}");
}

#[tokio::test]
async fn a_catalogue_may_enqueue_and_nothing_else() {
    let database = database().await;
    let role = format!("catalogue_{}", uuid::Uuid::new_v4().simple());
    let mut session = database.pool().acquire().await.unwrap();
    let grants = format!(
        "create role {role}; grant insert (course_key, properties, associations), select (course_key) on course_outbox to {role};
         set role {role}"
    );
    sqlx::raw_sql(AssertSqlSafe(grants)).execute(&mut *session).await.unwrap();
    let enqueue = "insert into course_outbox (course_key, properties) values ('a', '{}') on conflict (course_key) do nothing";
    assert_eq!(sqlx::query(enqueue).execute(&mut *session).await.unwrap().rows_affected(), 1);
    assert_eq!(sqlx::query(enqueue).execute(&mut *session).await.unwrap().rows_affected(), 0);
    for forbidden in [
        "insert into course_outbox (course_key, properties, status) values ('b', '{}', 'synced')",
        "insert into course_outbox (course_key, properties, hubspot_id) values ('b', '{}', '1')",
        "update course_outbox set status = 'pending'",
        "delete from course_outbox",
        "select status from course_outbox",
        "select from course_sync_leader",
        "update course_sync_leader set term = 0",
    ] {
        let error = sqlx::query(forbidden).execute(&mut *session).await.unwrap_err();
        assert_eq!(
            error.as_database_error().and_then(sqlx::error::DatabaseError::code).as_deref(),
            Some("42501"),
            "{forbidden}"
        );
    }
    sqlx::raw_sql(AssertSqlSafe(format!("reset role; drop owned by {role}; drop role {role}")))
        .execute(&mut *session)
        .await
        .unwrap();
}
