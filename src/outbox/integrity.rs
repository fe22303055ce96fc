//! Whether the outbox can be used: its tables have their keys, the leader's row is there, and this role sees the rows.
//! While a restore is under way, some of this is missing although the database works.

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};

/// The tables that the daemon writes.
const TABLES: [&str; 5] =
    ["course_outbox", "course_sync_batch", "course_sync_leader", "course_sync_pause", "course_sync_history"];

/// Why no courses can be claimed although the database works.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum OutboxDefect {
    /// Row-level security hides every row of these tables.
    #[error(
        "row-level security is enabled on {0}, and no policy lets this role read and update the rows; as the tables' owner \
         run `alter table … disable row level security` for each, or create a policy for this role"
    )]
    RowsHidden(String),
    /// These tables have no primary key.
    #[error(
        "{0} has no primary key: a restore may be under way. Nothing is sent until it is complete; if it failed, restore \
         again"
    )]
    KeysMissing(String),
    /// The leader's row is missing.
    #[error(
        "the row of course_sync_leader is missing: a restore may be under way. If it stays missing, `run` inserts it and \
         treats the database as one that may have lost commits"
    )]
    LeaderRowMissing,
}

/// What a look at the tables showed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Integrity {
    /// Why no courses can be claimed.
    pub defect: Option<OutboxDefect>,
    /// Tables of which row-level security may hide some rows from this role.
    pub restricted: Vec<String>,
}

/// Reads whether the outbox can be used.
///
/// Index: none; it reads the system catalogs and a table of one row.
pub async fn read_integrity(database: impl Into<DatabaseRef<'_>>) -> Result<Integrity, OutboxError> {
    const READ: &str = "-- integrity
        with needed as materialized (
            select name, name::regclass as id from unnest($1::text[]) name
        ), policy as materialized (
            -- The policies that apply to this role, and whether each permits every row.
            select polrelid as id, polcmd::text as command, polpermissive as is_permissive,
                   coalesce(pg_get_expr(polqual, polrelid) = 'true', false) as permits_all
              from pg_policy
             where polrelid in (select id from needed)
               and exists (select from unnest(polroles) role where role = 0 or pg_has_role(role, 'usage'))
        ), secured as materialized (
            -- Reading (r) and updating (w) need a policy each; '*' covers both.
            select name,
                   bool_and(exists (select from policy p where p.id = n.id and is_permissive and p.command in (c, '*')))
                       as is_visible,
                   bool_and(exists (select from policy p where p.id = n.id and is_permissive and p.command in (c, '*')
                                       and permits_all)
                            and not exists (select from policy p where p.id = n.id and not is_permissive
                                               and p.command in (c, '*') and not permits_all)) as is_complete
              from needed n, unnest('{r,w}'::text[]) c
             where row_security_active(n.id)
             group by name
        )
        select array(select name from secured where not is_visible order by name),
               array(select name from secured where is_visible and not is_complete order by name),
               array(select name from needed n
                      where not exists (select from pg_index i where i.indrelid = n.id and indisprimary and indisvalid)
                      order by name),
               exists (select from course_sync_leader)";
    let query = sqlx::query_as(READ).bind(TABLES.as_slice());
    let (hidden, restricted, keyless, has_leader): (Vec<String>, Vec<String>, Vec<String>, bool) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("check the tables of the outbox"))?;
    let defect = if !hidden.is_empty() {
        Some(OutboxDefect::RowsHidden(hidden.join(", ")))
    } else if !keyless.is_empty() {
        Some(OutboxDefect::KeysMissing(keyless.join(", ")))
    } else {
        (!has_leader).then_some(OutboxDefect::LeaderRowMissing)
    };
    Ok(Integrity { defect, restricted })
}
