//! Finds the schema that holds the outbox. Touches the database.
//!
//! Names in statements are not qualified: the search path leads to the tables. But a search path names several schemas,
//! and its first one may appear later, such as one with the name of the role (`"$user", public` is the default). New
//! tables would be created there. So the schema that holds the tables is put first.

use sqlx::{AssertSqlSafe, PgConnection, Row};

use crate::outbox::OutboxError;

/// A schema that holds the outbox.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct OutboxSchema {
    /// As it is written in SQL, quoted if necessary.
    name: String,
    /// The same as a string literal of SQL.
    literal: String,
}

impl OutboxSchema {
    pub(super) fn name(&self) -> &str {
        &self.name
    }

    /// The statement that puts the schema first in the search path, of the transaction or of the session. The rest of
    /// the path stays: a trigger that was added to the outbox may need it.
    pub(super) fn select_first(&self, is_local: bool) -> String {
        format!(
            "select set_config('search_path', {} || ', ' || current_setting('search_path'), {is_local})",
            self.literal
        )
    }
}

/// The only schema of the search path that holds tables of the outbox, if one does. Several are an error: which one the
/// catalogue uses is unknown.
pub(super) async fn find_schema(connection: &mut PgConnection) -> Result<Option<OutboxSchema>, OutboxError> {
    const FIND: &str = "
        select quote_ident(namespace.nspname) as name, quote_literal(quote_ident(namespace.nspname)) as literal
          from unnest(current_schemas(false)) with ordinality as path (name, place)
          join pg_namespace as namespace on namespace.nspname = path.name
         where exists (select from pg_class
                        where relnamespace = namespace.oid and relkind in ('r', 'p')
                          and relname in ('course_outbox', 'course_sync_batch', 'course_sync_leader',
                                          'course_sync_migrations'))
         order by path.place";
    let rows = sqlx::raw_sql(FIND).fetch_all(&mut *connection).await;
    let schemas = rows.and_then(|rows| {
        let read = |row: &sqlx::postgres::PgRow| {
            Ok(OutboxSchema { name: row.try_get("name")?, literal: row.try_get("literal")? })
        };
        rows.iter().map(read).collect::<Result<Vec<_>, sqlx::Error>>()
    });
    let mut schemas = schemas.map_err(OutboxError::failed_to("find the tables of the outbox"))?;
    if schemas.len() > 1 {
        let names: Vec<_> = schemas.into_iter().map(|schema| schema.name).collect();
        return Err(OutboxError::SeveralSchemas(names.join(" and ")));
    }
    Ok(schemas.pop())
}

/// Puts the schema first in the search path of this transaction.
pub(super) async fn use_schema(
    transaction: &mut PgConnection,
    schema: &OutboxSchema,
) -> Result<(), sqlx::Error> {
    // Safe: the server itself has quoted the name.
    sqlx::raw_sql(AssertSqlSafe(schema.select_first(true))).execute(transaction).await.map(drop)
}
