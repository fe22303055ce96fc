//! Reads what is known of a table: the system catalogs, which every role may read. Touches the database.

use sqlx::Row;
use sqlx::postgres::PgRow;

use super::plan::{Column, TableName, TableShape, TriggerMode};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// A table, as far as the system catalogs describe it.
#[derive(Debug, Clone)]
pub struct KnownTable {
    /// Its name, as it is stored.
    pub name: TableName,
    /// Its columns, and the triggers that it needs.
    pub shape: TableShape,
    /// Postgres's letter for its kind.
    pub kind: String,
    /// The parent of this partition, as it is written in SQL.
    pub partition_of: Option<String>,
    /// Tables inherit from it, or it inherits from another one.
    pub has_relatives: bool,
    /// Whether a unique index guarantees that no two rows have the same key.
    pub has_unique_key: bool,
    /// An estimate of the number of its rows.
    pub estimated_rows: u64,
    /// Its triggers whose names begin with `course_sync_`.
    pub triggers: Vec<AttachedTrigger>,
}

/// A trigger of an attachment, by the names as they are stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AttachedTrigger {
    /// The name of the trigger.
    pub name: String,
    /// The function that it calls.
    pub function: TableName,
}

/// Finds the table by name: in this schema, or in the search path. `None` if there is none.
///
/// Index: `pg_class_relname_nsp_index`.
pub async fn read_table(
    database: impl Into<DatabaseRef<'_>>,
    schema: Option<&str>,
    name: &str,
    key: &[String],
) -> Result<Option<KnownTable>, OutboxError> {
    const TABLE: &str = "-- find a table
        select namespace.nspname::text as schema, class.relname::text as name, class.relkind::text as kind,
               case when class.relispartition then
                   (select inhparent::regclass::text from pg_inherits where inhrelid = class.oid) end as partition_of,
               not class.relispartition
                   and exists (select from pg_inherits where inhrelid = class.oid)
                   or class.relkind = 'r' and exists (select from pg_inherits where inhparent = class.oid) as has_relatives,
               greatest(class.reltuples, 0)::float8 as rows,
               -- A unique index on some of the columns makes all of them unique.
               exists (select from pg_index as i
                        where i.indrelid = class.oid and i.indisunique and i.indisvalid
                          and i.indpred is null and i.indexprs is null
                          and (select array_agg(attname::text) from pg_attribute
                                where attrelid = class.oid
                                  and attnum = any((i.indkey::smallint[])[0:i.indnkeyatts - 1])) <@ $3) as has_unique_key,
               array(select to_json(array[tgname, proname, nspname])::text
                       from pg_trigger join pg_proc on pg_proc.oid = tgfoid
                       join pg_namespace on pg_namespace.oid = pronamespace
                      where tgrelid = class.oid and not tgisinternal and starts_with(tgname, 'course_sync_')
                      order by tgname) as triggers,
               array(select attname::text from pg_attribute
                      where attrelid = class.oid and attnum > 0 and not attisdropped order by attnum) as columns,
               array(select format_type(atttypid, atttypmod) from pg_attribute
                      where attrelid = class.oid and attnum > 0 and not attisdropped order by attnum) as types,
               array(select attgenerated::text from pg_attribute
                      where attrelid = class.oid and attnum > 0 and not attisdropped order by attnum) as generated,
               array(select attnotnull from pg_attribute
                      where attrelid = class.oid and attnum > 0 and not attisdropped order by attnum) as not_null
          from pg_class as class
          join pg_namespace as namespace on namespace.oid = class.relnamespace
         where class.relname = $2 and class.relkind in ('r', 'p', 'v', 'm', 'f')
           and case when $1::text is null then pg_table_is_visible(class.oid) else namespace.nspname = $1 end
         limit 1";
    let query = sqlx::query(TABLE).bind(schema).bind(name).bind(key);
    run_statement(database, async |session| {
        query.fetch_optional(session).await?.as_ref().map(read_row).transpose()
    })
    .await
    .map_err(OutboxError::failed_to("read the definition of the table"))
}

fn read_row(row: &PgRow) -> Result<KnownTable, sqlx::Error> {
    let columns: Vec<String> = row.try_get("columns")?;
    let types: Vec<String> = row.try_get("types")?;
    let generated: Vec<String> = row.try_get("generated")?;
    let not_null: Vec<bool> = row.try_get("not_null")?;
    let columns = columns.into_iter().zip(types).zip(generated).zip(not_null);
    let columns = columns.map(|(((name, type_name), generated), is_not_null)| Column {
        is_json: type_name == "json",
        is_virtual: generated == "v",
        name,
        type_name,
        is_not_null,
    });
    let (kind, has_relatives): (String, bool) = (row.try_get("kind")?, row.try_get("has_relatives")?);
    let is_partitioned = kind == "p";
    let mode = if is_partitioned || has_relatives { TriggerMode::PerRow } else { TriggerMode::PerStatement };
    let rows: f64 = row.try_get("rows")?;
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "an estimate, not negative")]
    let estimated_rows = rows as u64;
    Ok(KnownTable {
        name: TableName { schema: row.try_get("schema")?, name: row.try_get("name")? },
        shape: TableShape { columns: columns.collect(), mode, is_partitioned },
        kind,
        partition_of: row.try_get("partition_of")?,
        has_relatives,
        has_unique_key: row.try_get("has_unique_key")?,
        estimated_rows,
        triggers: read_triggers(row)?,
    })
}

fn read_triggers(row: &PgRow) -> Result<Vec<AttachedTrigger>, sqlx::Error> {
    let triggers: Vec<String> = row.try_get("triggers")?;
    let read = |json: &String| {
        let (name, function, schema) =
            serde_json::from_str(json).map_err(|error| sqlx::Error::Decode(error.into()))?;
        Ok(AttachedTrigger { name, function: TableName { schema, name: function } })
    };
    triggers.iter().map(read).collect()
}
