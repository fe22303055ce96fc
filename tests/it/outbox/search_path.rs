//! What a catalogue writes is checked, and announced, whatever its own search path is.

use sqlx::{Connection as _, PgConnection};

use crate::support::postgres::database;

/// Functions with the names of those that the outbox's own functions use. Each fails.
const SHADOWS: &str = "
    create schema shadow;
    create function shadow.jsonb_typeof(jsonb) returns text language sql as 'select (1 / 0)::text';
    create function shadow.jsonb_array_length(jsonb) returns integer language sql as 'select 1 / 0';
    create function shadow.quote_ident(name) returns text language sql as 'select (1 / 0)::text';
    create function shadow.pg_try_advisory_xact_lock(bigint) returns boolean language sql as 'select 1 / 0 = 1';
    create function shadow.pg_notify(text, text) returns void language sql as 'select 1 / 0';
    create function shadow.format(text, text, text) returns text language sql as 'select (1 / 0)::text';
    create function shadow.current_database() returns name language sql as 'select (1 / 0)::text::name'";

#[tokio::test]
async fn a_catalogue_may_have_any_search_path() {
    let database = database().await;
    let mut writer = PgConnection::connect(&database.url().await).await.unwrap();
    sqlx::raw_sql(SHADOWS).execute(&mut writer).await.unwrap();
    for (number, path) in ["''", "shadow, pg_catalog", "pg_temp, shadow, pg_catalog"].into_iter().enumerate()
    {
        let set = format!("set search_path = {path}");
        sqlx::raw_sql(sqlx::AssertSqlSafe(set)).execute(&mut writer).await.unwrap();
        let insert =
            "insert into public.course_outbox (course_key, properties, associations) values ($1, '{}', $2)";
        let link = r#"[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]"#;
        let link: serde_json::Value = serde_json::from_str(link).unwrap();
        sqlx::query(insert).bind(format!("key {number}")).bind(&link).execute(&mut writer).await.unwrap();
        for (key, link) in [
            ("bad\u{7}", &link),
            ("x", &serde_json::json!([{}])),
            ("x", &serde_json::json!([link[0], link[0]])),
        ] {
            let error = sqlx::query(insert).bind(key).bind(link).execute(&mut writer).await.unwrap_err();
            let code = error.as_database_error().and_then(sqlx::error::DatabaseError::code);
            assert_eq!(code.as_deref(), Some("23514"), "{path}: {key:?}: {error}");
        }
    }
}
