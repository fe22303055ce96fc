//! Reads the rows that records of HubSpot may belong to, and gives rows the records that were matched to them (`adopt`).
//!
//! A row takes a record only if it certainly has none: it is pending, no open request lists it, and no request with it had
//! an unknown outcome. The leader's lease guarantees that no instance claims the row meanwhile.

use serde_json::Value;
use sqlx::types::Json;

use crate::course::{CourseKey, HeldProperties, HubSpotId, Properties, RowId, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lease::Lease;
use crate::outbox::lenient::Lenient;

/// What matters of a row for matching.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MatchableRow {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: String,
    /// The requested values, in the order of the request.
    pub values: Vec<Option<String>>,
    /// Its status.
    pub status: Status,
    /// Its record, if it has one.
    pub hubspot_id: Option<String>,
    /// Whether the course is withdrawn.
    pub is_archived: bool,
    /// Whether a request with it had an unknown outcome.
    pub has_doubts: bool,
}

struct MatchableRowColumns {
    id: RowId,
    course_key: String,
    match_values: Vec<Option<String>>,
    status: String,
    hubspot_id: Option<String>,
    archived: bool,
    has_doubts: bool,
}

impl_from_row!(MatchableRowColumns {
    id,
    course_key,
    match_values,
    status,
    hubspot_id,
    archived,
    has_doubts
});

/// The rows of one page. Bounds the memory of a page.
const PAGE_ROWS: i64 = 2_000;

/// Reads the rows after this one, in order of arrival, and the last of them; `None`: there is none. `properties`: the members of `properties` to
/// read; `None`: the course key.
///
/// Index: the primary key of `course_outbox`, and `course_sync_batch_open`.
pub async fn read_matchable_rows(
    database: impl Into<DatabaseRef<'_>>,
    after: RowId,
    properties: &[Option<&str>],
) -> Result<(Vec<MatchableRow>, Option<RowId>), OutboxError> {
    const ROWS: &str = "-- rows to match
        select id, course_key, hubspot_id, archived, doubts > 0 as has_doubts,
               case when status = 'pending' and id in (select id from course_sync_in_flight()) then 'in_flight'
                    else status end as status,
               array(select case when name is null then course_key else properties ->> name end
                       from unnest($3::text[]) with ordinality as p (name, place) order by place) as match_values
          from course_outbox where id > $1 order by id limit $2";
    let query = sqlx::query_as(ROWS).bind(after).bind(PAGE_ROWS).bind(properties);
    let rows: Vec<MatchableRowColumns> =
        run_statement(database, async |session| query.fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read the rows to match"))?;
    let matchable = |row: MatchableRowColumns| {
        Some(MatchableRow {
            id: row.id,
            key: row.course_key,
            values: row.match_values,
            status: Status::parse(&row.status)?,
            hubspot_id: row.hubspot_id,
            is_archived: row.archived,
            has_doubts: row.has_doubts,
        })
    };
    let last = rows.last().map(|row| row.id);
    Ok((rows.into_iter().filter_map(matchable).collect(), last))
}

/// Whether a course is pending of which no record is known.
///
/// Index: `course_outbox_pending`.
pub async fn has_courses_to_create(database: impl Into<DatabaseRef<'_>>) -> Result<bool, OutboxError> {
    const EXISTS: &str = "-- courses to create
        select exists (select from course_outbox where status = 'pending' and hubspot_id is null and not archived)";
    run_statement(database, async |session| sqlx::query_scalar(EXISTS).fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("find courses to create"))
}

/// The keys of these rows.
///
/// Index: the primary key of `course_outbox`.
pub async fn read_keys(
    database: impl Into<DatabaseRef<'_>>,
    rows: &[RowId],
) -> Result<Vec<(RowId, String)>, OutboxError> {
    const KEYS: &str = "-- keys of rows
        select id, course_key from course_outbox where id = any($1) order by id";
    run_statement(database, async |session| sqlx::query_as(KEYS).bind(rows).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read the keys of rows"))
}

/// A row that can take a record.
#[derive(Debug, Clone, PartialEq)]
pub struct AdoptableRow {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// Its revision.
    pub revision: i64,
    /// What the record should hold.
    pub properties: Properties,
}

struct AdoptableColumns {
    id: RowId,
    course_key: String,
    revision: i64,
    properties: Lenient<Json<Value>>,
}

impl_from_row!(AdoptableColumns { id, course_key, revision, properties });

/// Those of these rows that can take a record. Rows that cannot be parsed are left out.
///
/// Index: the primary key of `course_outbox`, and `course_sync_batch_open`.
pub async fn read_adoptable_rows(
    database: impl Into<DatabaseRef<'_>>,
    rows: &[RowId],
) -> Result<Vec<AdoptableRow>, OutboxError> {
    const ADOPTABLE: &str = "-- adoptable rows
        select id, course_key, revision, properties from course_outbox
         where id = any($1) and hubspot_id is null and not archived and doubts = 0
           -- An expression, so that rows are read by their primary keys, not by an index of the pending ones.
           and case status when 'pending' then true else false end
           and id not in (select id from course_sync_in_flight())";
    let rows: Vec<AdoptableColumns> = run_statement(database, async |session| {
        sqlx::query_as(ADOPTABLE).bind(rows).fetch_all(session).await
    })
    .await
    .map_err(OutboxError::failed_to("read adoptable rows"))?;
    let adoptable = |row: AdoptableColumns| {
        Some(AdoptableRow {
            id: row.id,
            key: CourseKey::parse(row.course_key).ok()?,
            revision: row.revision,
            properties: Properties::parse(row.properties.ok()?.0).ok()?,
        })
    };
    Ok(rows.into_iter().filter_map(adoptable).collect())
}

/// A row and the record that it takes.
#[derive(Debug, Clone, PartialEq)]
pub struct Adoption {
    /// The row.
    pub id: RowId,
    /// The revision that was compared with the record.
    pub revision: i64,
    /// The record.
    pub hubspot_id: HubSpotId,
    /// What the record holds; `None`: what the row says.
    pub held: Option<HeldProperties>,
}

/// Gives rows their records: they are synced, or pending where the record holds something else. Returns the rows that were
/// changed. A row that has changed meanwhile, or that can take no record now, stays as it is.
///
/// Index: the primary key of `course_outbox`, and `course_sync_batch_open`.
pub async fn record_adoptions(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    adoptions: &[&Adoption],
) -> Result<Vec<RowId>, OutboxError> {
    const ADOPT: &str = "-- adopt records
        with lead as materialized (
            -- The lock makes a takeover wait for this statement; under the lease no other instance claims.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), record as (
            select * from unnest($3::bigint[], $4::bigint[], $5::text[], $6::jsonb[])
                as r (id, revision, hubspot_id, held)
        ), adopted as (
            update course_outbox o
               set hubspot_id = r.hubspot_id,
                   status = case when r.held is null then 'synced' else 'pending' end,
                   -- The next update sends what differs.
                   hubspot_properties = r.held,
                   synced_revision = case when r.held is null then o.revision end,
                   synced_at = case when r.held is null then now() end,
                   error = null, faults = 0, batch_limit = 100, suspected_at = null,
                   next_attempt_at = now(), updated_at = now()
              from record r
             where o.id = r.id and o.revision = r.revision and exists (select from lead)
               and o.hubspot_id is null and not o.archived and o.doubts = 0
               -- An expression, as above.
               and case o.status when 'pending' then true else false end
               and o.id not in (select id from course_sync_in_flight())
            returning o.id, o.course_key, o.hubspot_id
        ), history as (
            insert into course_sync_history (course_id, course_key, event, hubspot_id)
            select id, course_key, 'adopted', hubspot_id from adopted
        )
        select id from adopted";
    let (mut ids, mut revisions, mut records, mut held) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
    for adoption in adoptions {
        ids.push(adoption.id);
        revisions.push(adoption.revision);
        records.push(adoption.hubspot_id.as_str());
        held.push(adoption.held.as_ref().map(HeldProperties::to_json));
    }
    run_statement(database, async |session| {
        sqlx::query_scalar(ADOPT)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(ids)
            .bind(revisions)
            .bind(records)
            .bind(held)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("record adopted courses"))
}
