//! The checks of the tables: what a catalogue may write, and that every table, column and index has a comment.

use course_sync::course::Doubt;
use course_sync::outbox::connect::migrate;
use secrecy::SecretString;
use sqlx::{AssertSqlSafe, Connection as _, PgConnection, PgPool};

use crate::support::postgres::{cluster, database};

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
async fn invalid_courses_are_refused_at_insert() {
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
async fn updates_are_checked_like_inserts_and_the_error_names_the_problem() {
    let database = database().await;
    insert(database.pool(), "it's", "{}", "[]").await.unwrap();
    for (set, constraint, message) in [
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
        assert_eq!((error.constraint(), error.message()), (Some(constraint), message));
        assert_eq!((error.code().as_deref(), error.table()), (Some("23514"), Some("course_outbox")));
    }
    sqlx::query(r#"update course_outbox set properties = '{"a": 1}'"#)
        .execute(database.pool())
        .await
        .unwrap();
}

/// The constraint, the message and the hint with which Postgres refuses.
async fn refusal(pool: &PgPool, statement: &str, key: &str) -> (String, String, String) {
    let error = sqlx::query(AssertSqlSafe(statement.to_owned())).bind(key).execute(pool).await.unwrap_err();
    let error = error.as_database_error().unwrap();
    assert_eq!((error.code().as_deref(), error.table()), (Some("23514"), Some("course_outbox")));
    let hint = error.downcast_ref::<sqlx::postgres::PgDatabaseError>().hint().unwrap_or_default();
    (error.constraint().unwrap_or_default().to_owned(), error.message().to_owned(), hint.to_owned())
}

const INSERT_KEY: &str = "insert into course_outbox (course_key, properties) values ($1, '{}')";
const ENQUEUE_KEY: &str = "insert into course_outbox (course_key, properties) values ($1, '{}') on conflict (course_key) do nothing";

#[tokio::test]
async fn a_repeated_association_is_refused() {
    let database = database().await;
    let kind =
        |number: &str| format!(r#"{{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":{number}}}"#);
    let link = |to: &str, kinds: &[&str]| {
        let kinds: Vec<_> = kinds.iter().map(|number| kind(number)).collect();
        format!(r#"{{"to":{{"id":"{to}"}},"types":[{}]}}"#, kinds.join(","))
    };
    let several = |links: &[String]| format!("[{}]", links.join(","));
    let user_defined = link("1", &["938"]).replace("HUBSPOT", "USER");
    for (key, associations) in [
        ("none", several(&[])),
        ("one", several(&[link("1", &["938"])])),
        ("two types", several(&[link("1", &["938", "860"])])),
        ("two links", several(&[link("1", &["938"]), link("1", &["860"])])),
        ("two targets", several(&[link("1", &["938"]), link("2", &["938"])])),
        ("two categories", several(&[link("1", &["938"]), user_defined])),
    ] {
        assert_eq!(insert(database.pool(), key, "{}", &associations).await, Ok(()), "{key} {associations}");
    }
    let constraint = "course_outbox_associations_not_repeated";
    for associations in [
        several(&[link("1", &["938", "938"])]),
        several(&[link("1", &["938"]), link("1", &["938"])]),
        several(&[link("1", &["938"]), link("2", &["938"]), link("1", &["860", "938"])]),
        several(&[link("1", &["938", "938.0"])]),
    ] {
        let refused = insert(database.pool(), "x", "{}", &associations).await;
        assert_eq!(refused, Err(constraint.to_owned()), "{associations}");
    }
    let twice = several(&[link("1", &["938", "938"])]);
    let update = format!("update course_outbox set associations = '{twice}' where course_key = $1");
    let (name, message, hint) = refusal(database.pool(), &update, "one").await;
    assert_eq!(name, constraint);
    assert_eq!(message, "course 'one' is refused: the association to 1 (HUBSPOT_DEFINED 938) is repeated");
    assert!(hint.contains("once"), "{hint}");
    // The shape is checked first.
    let shape = Err("course_outbox_associations_in_hubspots_shape".to_owned());
    for associations in ["[1,1]", "[{},{}]", r#"[{"types":[1,1]}]"#, r#"{"a":[1,1]}"#] {
        assert_eq!(insert(database.pool(), "x", "{}", associations).await, shape, "{associations}");
    }
}

#[tokio::test]
async fn a_key_that_hubspot_would_change_is_refused() {
    let database = database().await;
    let pool = database.pool();
    for good in [" a ", "a  b", "\u{e9}", "a\u{a0}b", "\u{200a}", "\u{2027}", "\u{202f}", "\u{1f600}", "it's"]
    {
        assert_eq!(insert(pool, good, "{}", "[]").await, Ok(()), "{good:?}");
    }
    let invisible = "\u{1} \t \n \r \u{1f} \u{7f} \u{80} \u{9f} \u{ad} \u{200b} \u{200f} \u{2028} \u{202e} \u{2060} \u{2064} \u{feff}";
    for character in invisible.split(' ') {
        for key in [format!("a{character}b"), format!("{character}a"), format!("a{character}")] {
            let refused = insert(pool, &key, "{}", "[]").await;
            assert_eq!(refused, Err("course_outbox_course_key_visible".to_owned()), "{key:?}");
        }
    }
    for key in ["e\u{301}", "\u{212b}", "\u{1100}\u{1161}", "x e\u{301} x"] {
        let refused = insert(pool, key, "{}", "[]").await;
        assert_eq!(refused, Err("course_outbox_course_key_composed".to_owned()), "{key:?}");
    }
    let (_, message, hint) = refusal(pool, ENQUEUE_KEY, "a\u{200b}b").await;
    assert_eq!(message, "course 'a\u{200b}b' is refused: course_key holds an invisible or control character");
    assert!(hint.starts_with("Leave the character out"), "{hint}");
    let (_, message, hint) = refusal(pool, INSERT_KEY, "e\u{301}").await;
    assert_eq!(message, "course 'e\u{301}' is refused: course_key is not in Unicode NFC");
    assert!(hint.contains("normalize(course_key, NFC)"), "{hint}");
    let rename = "update course_outbox set course_key = $1 where course_key = 'it''s'";
    assert_eq!(refusal(pool, rename, "a\tb").await.0, "course_outbox_course_key_visible");
}

#[tokio::test]
async fn a_row_older_than_the_check_keeps_its_key() {
    let database = database().await;
    let pool = database.pool();
    let old = ["a\u{200b}b", "e\u{301}"];
    let mut session = pool.acquire().await.unwrap();
    sqlx::raw_sql("set session_replication_role = replica").execute(&mut *session).await.unwrap();
    for key in old {
        sqlx::query(INSERT_KEY).bind(key).execute(&mut *session).await.unwrap();
    }
    sqlx::raw_sql("set session_replication_role = origin").execute(&mut *session).await.unwrap();
    for key in old {
        // Enqueueing it again changes nothing, and every other column may change.
        assert_eq!(sqlx::query(ENQUEUE_KEY).bind(key).execute(pool).await.unwrap().rows_affected(), 0);
        let change = "update course_outbox set properties = '{\"a\": 1}', attempts = 1 where course_key = $1";
        assert_eq!(sqlx::query(change).bind(key).execute(pool).await.unwrap().rows_affected(), 1);
    }
    let error = sqlx::query(INSERT_KEY).bind(old[0]).execute(pool).await.unwrap_err();
    let constraint = error.as_database_error().and_then(|error| error.constraint());
    assert_eq!(constraint, Some("course_outbox_course_key_unique"));
}

#[tokio::test]
async fn keys_are_accepted_in_a_database_without_unicode() {
    let name = format!("ascii_{}", uuid::Uuid::new_v4().simple());
    let mut admin = PgConnection::connect(&cluster().await.url("postgres")).await.unwrap();
    let create = format!("create database {name} encoding 'SQL_ASCII' locale 'C' template template0");
    sqlx::raw_sql(AssertSqlSafe(create)).execute(&mut admin).await.unwrap();
    let url = cluster().await.url(&name);
    migrate(&SecretString::from(url.clone())).await.unwrap();
    let pool = PgPool::connect(&url).await.unwrap();
    assert_eq!(insert(&pool, "e\u{301}", "{}", "[]").await, Ok(()));
    let visible = Err("course_outbox_course_key_visible".to_owned());
    assert_eq!(insert(&pool, "a\tb", "{}", "[]").await, visible);
    pool.close().await;
    sqlx::raw_sql(AssertSqlSafe(format!("drop database {name}"))).execute(&mut admin).await.unwrap();
}

#[tokio::test]
async fn each_status_requires_its_columns() {
    let database = database().await;
    for (set, constraint) in [
        ("status = 'synced'", "course_outbox_synced_has_id"),
        (
            "status = 'synced', hubspot_id = '1', synced_at = now(), synced_revision = 2",
            "course_outbox_synced_revision",
        ),
        ("status = 'archived'", "course_outbox_archived_is_archived"),
        ("status = 'in_flight'", "course_outbox_sent_has_batch"),
        ("status = 'unconfirmed'", "course_outbox_sent_has_batch"),
        ("status = 'failed'", "course_outbox_failed_has_error"),
        ("status = 'done'", "course_outbox_status_known"),
        ("attempts = -1", "course_outbox_attempts_not_negative"),
        ("batch_limit = 0", "course_outbox_batch_limit_in_range"),
        ("batch_limit = 101", "course_outbox_batch_limit_in_range"),
        ("doubt = 'perhaps'", "course_outbox_doubt_known"),
    ] {
        insert(database.pool(), "x", "{}", "[]").await.ok();
        let update = AssertSqlSafe(format!("update course_outbox set {set}"));
        let error = sqlx::query(update).execute(database.pool()).await.unwrap_err();
        assert_eq!(error.as_database_error().and_then(|error| error.constraint()), Some(constraint), "{set}");
    }
}

#[tokio::test]
async fn every_kind_of_doubt_is_allowed_by_the_table() {
    let database = database().await;
    insert(database.pool(), "x", "{}", "[]").await.unwrap();
    for doubt in Doubt::ALL {
        let update = "update course_outbox set doubt = $1";
        let done = sqlx::query(update).bind(doubt.as_str()).execute(database.pool()).await.unwrap();
        assert_eq!(done.rows_affected(), 1, "{doubt:?}");
    }
}

#[tokio::test]
async fn only_a_synced_course_with_a_warning_is_in_the_index_of_warnings() {
    let database = database().await;
    let condition: String = sqlx::query_scalar(
        "select pg_get_expr(indpred, indrelid) from pg_index where indexrelid = 'course_outbox_warnings'::regclass",
    )
    .fetch_one(database.pool())
    .await
    .unwrap();
    assert_eq!(condition, "((status = 'synced'::text) AND (error IS NOT NULL))");
    // A synced course may have an error.
    insert(database.pool(), "x", "{}", "[]").await.unwrap();
    let update =
        "update course_outbox set status = 'synced', hubspot_id = '1', synced_at = now(), error = '{}'";
    assert_eq!(sqlx::query(update).execute(database.pool()).await.unwrap().rows_affected(), 1);
}

#[tokio::test]
async fn every_table_column_and_index_has_a_comment() {
    let database = database().await;
    let undocumented: Vec<String> = sqlx::query_scalar(
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
    assert!(undocumented.is_empty(), "without a comment: {undocumented:?}");
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

#[tokio::test]
async fn a_row_that_is_too_large_is_refused_without_its_text() {
    let database = database().await;
    let pool = database.pool();
    let numbers = |count: usize, number: &str| {
        let members: Vec<_> = (0..count).map(|n| format!(r#""n{n}":{number}"#)).collect();
        format!("{{{}}}", members.join(","))
    };
    let text = |bytes: usize| format!(r#"{{"short":"x","long":"{}"}}"#, "x".repeat(bytes));
    let link =
        r#"{"to":{"id":"1"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":1}]}"#;
    let zeros = format!("1.{}", "0".repeat(16_000));
    for (key, properties) in [
        ("numbers", numbers(30, "1e131071")),
        ("small numbers", numbers(200, "12345.50")),
        ("zeros", numbers(200, &zeros)),
        ("text", text(4_000_000)),
    ] {
        assert_eq!(insert(pool, key, &properties, "[]").await, Ok(()), "{key}");
    }
    let refused = Err("course_outbox_not_too_large".to_owned());
    for properties in
        [numbers(33, "1e131071"), numbers(8_000, "-1e131071"), numbers(300, &zeros), text(4_300_000)]
    {
        assert_eq!(insert(pool, "x", &properties, "[]").await, refused);
    }
    let links: Vec<_> =
        (0..90).map(|n| link.replace("\"1\"", &format!("\"{n}{}\"", "0".repeat(50_000)))).collect();
    assert_eq!(insert(pool, "x", "{}", &format!("[{}]", links.join(","))).await, refused);
    let update = "update course_outbox set properties = properties || '{\"it''s\": \"a\"}' || jsonb_build_object('long',
                         repeat('x', 5000000)) where course_key = $1";
    let (_, message, hint) = refusal(pool, update, "numbers").await;
    assert_eq!(
        message,
        "course 'numbers' is refused: its properties and associations have more than 4 MiB as text; the largest property is \
         'long'"
    );
    assert!(hint.contains("65,536"), "{hint}");
}
