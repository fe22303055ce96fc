//! Rows that Postgres can store and the program cannot represent.

use sqlx::PgPool;

/// Inserts one pending row for each kind of value. Their keys begin with `bad-`. Like replication, it runs no triggers.
pub async fn insert_unreadable(pool: &PgPool) {
    let mut writer = pool.begin().await.expect("a transaction");
    sqlx::raw_sql(
        "set local session_replication_role = replica;
         insert into course_outbox (course_key, properties, associations, created_at)
         select 'bad-' || n, properties::jsonb, associations::jsonb, created_at::timestamptz
           from (values
               (1, '{}', '[]', 'infinity'),
               (2, '{}', '[]', '-infinity'),
               (3, '{}', '[]', '12026-01-01'),
               (4, '{\"x\": ' || repeat('[', 200) || repeat(']', 200) || '}', '[]', 'now'),
               (5, '{\"$serde_json::private::Number\": \"abc\"}', '[]', 'now'),
               (6, '{}', '[{\"$serde_json::private::Number\": \"abc\"}]', 'now')
           ) as row (n, properties, associations, created_at)
          order by n",
    )
    .execute(&mut *writer)
    .await
    .expect("the rows are inserted");
    writer.commit().await.expect("the rows are inserted");
}
