//! Reads what the outbox says of the records in HubSpot, and puts rows back whose records differ (`audit`).
//!
//! A row is compared only at rest: synced or archived. Its `xmin` shows whether it was written between the comparison and the
//! decision.

use serde_json::Value;
use sqlx::types::Json;

use crate::course::{CourseError, HeldProperties, HubSpotId, Properties, RowId, Status};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lenient::Lenient;

/// A version of a row: another one as soon as the row is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RowVersion(String);

#[cfg(test)]
impl RowVersion {
    /// A version that no row has.
    pub(crate) fn for_test(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// A row at rest whose record is known.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledRow {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: String,
    /// The version that was read.
    pub version: RowVersion,
    /// The record.
    pub hubspot_id: HubSpotId,
    /// What the record should hold; `None` if it cannot be read.
    pub properties: Option<Properties>,
    /// The course is withdrawn, and its record was archived.
    pub is_withdrawn: bool,
    /// It was written so recently that HubSpot may not show it yet, or an earlier request may still change its record.
    pub is_settling: bool,
}

struct SettledColumns {
    id: RowId,
    course_key: String,
    version: String,
    hubspot_id: String,
    properties: Lenient<Json<Value>>,
    is_withdrawn: bool,
    is_settling: bool,
}

impl_from_row!(SettledColumns { id, course_key, version, hubspot_id, properties, is_withdrawn, is_settling });

/// One page of rows at rest.
#[derive(Debug, Clone, PartialEq)]
pub struct SettledPage {
    /// The rows. Those that name no possible record are left out.
    pub rows: Vec<SettledRow>,
    /// The last row of the page; `None`: there is none after the one before.
    pub last: Option<RowId>,
}

/// The rows at rest after this one, in order of arrival. `settle_seconds`: how long a row counts as recently written.
///
/// Index: the primary key of `course_outbox`.
pub async fn read_settled_rows(
    database: impl Into<DatabaseRef<'_>>,
    after: RowId,
    limit: u16,
    settle_seconds: f64,
) -> Result<SettledPage, OutboxError> {
    const ROWS: &str = "-- rows to audit
        select id, course_key, xmin::text as version, hubspot_id, properties, status = 'archived' as is_withdrawn,
               recheck_at is not null or updated_at > now() - make_interval(secs => $3) as is_settling
          from course_outbox
         where id > $1 and status in ('synced', 'archived') and hubspot_id is not null
         order by id limit $2";
    let query = sqlx::query_as(ROWS).bind(after).bind(i64::from(limit)).bind(settle_seconds);
    let rows: Vec<SettledColumns> = run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("read the rows to audit"))?;
    let settled = |row: SettledColumns| {
        Some(SettledRow {
            id: row.id,
            key: row.course_key,
            version: RowVersion(row.version),
            hubspot_id: HubSpotId::parse(&row.hubspot_id)?,
            properties: row.properties.ok().and_then(|json| Properties::parse(json.0).ok()),
            is_withdrawn: row.is_withdrawn,
            is_settling: row.is_settling,
        })
    };
    let last = rows.last().map(|row| row.id);
    Ok(SettledPage { rows: rows.into_iter().filter_map(settled).collect(), last })
}

/// The rows of these that were not written since they were read.
///
/// Index: the primary key of `course_outbox`.
pub async fn read_unchanged_rows(
    database: impl Into<DatabaseRef<'_>>,
    rows: &[&SettledRow],
) -> Result<Vec<RowId>, OutboxError> {
    const UNCHANGED: &str = "-- unchanged rows
        select o.id from course_outbox o join unnest($1::bigint[], $2::text[]) as r (id, version) using (id)
         where o.xmin::text = r.version";
    let (ids, versions) = versions(rows);
    run_statement(database, async |session| {
        sqlx::query_scalar(UNCHANGED).bind(ids).bind(versions).fetch_all(session).await
    })
    .await
    .map_err(OutboxError::failed_to("read the rows again"))
}

fn versions<'a>(rows: &[&'a SettledRow]) -> (Vec<RowId>, Vec<&'a str>) {
    rows.iter().map(|row| (row.id, row.version.0.as_str())).unzip()
}

/// The row of a key that a record carries.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyedRow {
    /// The catalogue's identifier.
    pub key: String,
    /// Its status; in flight counts as pending.
    pub status: Status,
    /// Its record, if one is known.
    pub hubspot_id: Option<String>,
}

/// The rows with these keys.
///
/// Index: `course_outbox_course_key_unique`.
pub async fn read_keyed_rows(
    database: impl Into<DatabaseRef<'_>>,
    keys: &[&str],
) -> Result<Vec<KeyedRow>, OutboxError> {
    const KEYED: &str = "-- rows of keys
        select course_key, status, hubspot_id from course_outbox where course_key = any($1)";
    let rows: Vec<(String, String, Option<String>)> =
        run_statement(database, async |session| sqlx::query_as(KEYED).bind(keys).fetch_all(session).await)
            .await
            .map_err(OutboxError::failed_to("read the rows of keys"))?;
    let keyed = |(key, status, hubspot_id): (String, String, Option<String>)| {
        Some(KeyedRow { key, status: Status::parse(&status)?, hubspot_id })
    };
    Ok(rows.into_iter().filter_map(keyed).collect())
}

/// Those of these records that rows name.
///
/// Index: none; it scans the table. The caller collects many records for one call.
pub async fn read_named_records(
    database: impl Into<DatabaseRef<'_>>,
    records: &[&str],
) -> Result<Vec<String>, OutboxError> {
    const NAMED: &str = "-- records that rows name
        select hubspot_id from course_outbox where hubspot_id = any($1)";
    run_statement(database, async |session| sqlx::query_scalar(NAMED).bind(records).fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("find the rows of records"))
}

/// What happens to a row whose record differs.
#[derive(Debug, Clone, PartialEq)]
pub enum Repair {
    /// It is pending, and the record is updated. `HeldProperties`: what the record holds.
    Update(HeldProperties),
    /// It is pending, and the record is archived.
    Archive,
    /// It is failed, because its record is lost. An operator decides.
    Fail(CourseError),
}

/// Repairs these rows, if they were not written since they were read. Returns those that were repaired.
///
/// Index: the primary key of `course_outbox`.
pub async fn record_repairs(
    database: impl Into<DatabaseRef<'_>>,
    repairs: &[(&SettledRow, Repair)],
) -> Result<Vec<RowId>, OutboxError> {
    const REPAIR: &str = "-- repair rows
        with repair as (
            select * from unnest($1::bigint[], $2::text[], $3::text[], $4::jsonb[], $5::jsonb[])
                as r (id, version, status, held, error)
        ), repaired as (
            update course_outbox o
               set status = r.status, hubspot_properties = coalesce(r.held, o.hubspot_properties), error = r.error,
                   faults = 0, batch_limit = 100, suspected_at = null, next_attempt_at = now(), updated_at = now()
              from repair r
             where o.id = r.id and o.xmin::text = r.version and o.status in ('synced', 'archived')
            returning o.id, o.course_key, o.status, o.error, o.hubspot_id
        ), history as (
            insert into course_sync_history (course_id, course_key, event, error, hubspot_id)
            select id, course_key, case when status = 'failed' then 'failed' else 'repaired' end, error, hubspot_id
              from repaired
        )
        select id, pg_notify('course_outbox', '')::text from repaired";
    let rows: Vec<&SettledRow> = repairs.iter().map(|(row, _)| *row).collect();
    let (ids, versions) = versions(&rows);
    let (mut statuses, mut held, mut errors) = (Vec::new(), Vec::new(), Vec::new());
    for (_, repair) in repairs {
        let (status, values, error) = match repair {
            Repair::Update(values) => ("pending", Some(values.to_json()), None),
            Repair::Archive => ("pending", None, None),
            Repair::Fail(error) => ("failed", None, serde_json::to_value(error).ok()),
        };
        statuses.push(status);
        held.push(values);
        errors.push(error);
    }
    let repaired: Vec<(RowId, Option<String>)> = run_statement(database, async |session| {
        sqlx::query_as(REPAIR)
            .bind(ids)
            .bind(versions)
            .bind(statuses)
            .bind(held)
            .bind(errors)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("repair rows"))?;
    Ok(repaired.into_iter().map(|(id, _woken)| id).collect())
}
