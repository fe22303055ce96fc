//! Changes of courses whose record is known: finds records that must be read because it is not known what HubSpot holds, and
//! records what was read.

use std::time::Duration;

use serde_json::{Value, json};
use sqlx::types::Json;

use crate::course::{BatchId, CourseError, CourseKey, HeldProperties, HubSpotId, Properties, RowId, Write};
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lease::Lease;

/// A course whose record must be read.
#[derive(Debug, Clone)]
pub struct UncertainRecord {
    /// The row.
    pub id: RowId,
    /// The catalogue's identifier.
    pub key: CourseKey,
    /// The revision of the row.
    pub revision: i64,
    /// The record.
    pub hubspot_id: HubSpotId,
    /// What the record should hold.
    pub properties: Properties,
    /// Whether the course is withdrawn.
    pub is_archived: bool,
    /// What HubSpot is known to hold; `None`: as in `properties`, or nothing is known.
    pub held: Option<HeldProperties>,
    /// What requests whose outcome was unknown may still do.
    pub late: LateWrites,
    /// Why it must be read.
    pub cause: Cause,
    /// How many of its attempts failed because of the course itself.
    pub faults: u32,
    /// The error in its row.
    pub error: Option<CourseError>,
}

impl UncertainRecord {
    /// The request whose outcome is unknown, if that is the cause.
    #[must_use]
    pub fn request(&self) -> Option<BatchId> {
        match &self.cause {
            Cause::Unconfirmed { batch, .. } => Some(*batch),
            Cause::Recheck => None,
        }
    }
}

/// Why a record must be read.
#[derive(Debug, Clone, PartialEq)]
pub enum Cause {
    /// The outcome of the last change is unknown.
    Unconfirmed {
        /// The request.
        batch: BatchId,
        /// What it does.
        write: Write,
        /// How long ago it was claimed.
        since: Duration,
        /// It sent the revision that the row has now.
        is_current: bool,
    },
    /// A request whose outcome was unknown may have been executed late.
    Recheck,
}

/// What requests whose outcome was unknown may still do.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct LateWrites {
    /// Set these properties.
    pub properties: HeldProperties,
    /// Archive the record.
    pub archives: bool,
}

impl LateWrites {
    fn parse(mut value: Value) -> Self {
        let archives = value.get("archives").and_then(Value::as_bool).unwrap_or_default();
        let properties = value.get_mut("properties").map(Value::take).unwrap_or_default();
        Self { properties: HeldProperties::parse(properties), archives }
    }

    /// As the outbox stores them.
    #[must_use]
    pub fn to_json(&self) -> Value {
        json!({ "properties": self.properties.to_json(), "archives": self.archives })
    }

    /// What either of both may do.
    #[must_use]
    pub fn or(self, other: Self) -> Self {
        Self { properties: self.properties.or(other.properties), archives: self.archives || other.archives }
    }
}

struct UncertainRow {
    id: RowId,
    course_key: String,
    revision: i64,
    hubspot_id: String,
    properties: Json<Value>,
    archived: bool,
    hubspot_properties: Option<Json<Value>>,
    late_values: Option<Json<Value>>,
    faults: i32,
    error: Option<Json<Value>>,
    batch_id: Option<BatchId>,
    operation: Option<String>,
    since: Option<f64>,
    sent_revision: Option<i64>,
}

impl_from_row!(UncertainRow {
    id,
    course_key,
    revision,
    hubspot_id,
    properties,
    archived,
    hubspot_properties,
    late_values,
    faults,
    error,
    batch_id,
    operation,
    since,
    sent_revision,
});

impl UncertainRow {
    /// `None`: the row is not valid. It stays as it is.
    fn parse(self) -> Option<UncertainRecord> {
        let cause = match self.batch_id {
            Some(batch) => Cause::Unconfirmed {
                batch,
                write: Write::ALL
                    .into_iter()
                    .find(|write| self.operation.as_deref() == Some(write.as_str()))
                    .unwrap_or(Write::Update),
                since: Duration::try_from_secs_f64(self.since.unwrap_or_default()).unwrap_or_default(),
                is_current: self.sent_revision == Some(self.revision),
            },
            None => Cause::Recheck,
        };
        Some(UncertainRecord {
            id: self.id,
            key: CourseKey::parse(self.course_key).ok()?,
            revision: self.revision,
            hubspot_id: HubSpotId::parse(&self.hubspot_id)?,
            properties: Properties::parse(self.properties.0).ok()?,
            is_archived: self.archived,
            held: self.hubspot_properties.map(|json| HeldProperties::parse(json.0)),
            late: self.late_values.map(|json| LateWrites::parse(json.0)).unwrap_or_default(),
            cause,
            faults: u32::try_from(self.faults).unwrap_or_default(),
            error: self.error.and_then(|json| serde_json::from_value(json.0).ok()),
        })
    }
}

/// The records to be read now, oldest first: of courses whose last change has an unknown outcome, and of synced courses that a
/// late request may have changed. Rows that another session holds are left out. Rows that cannot be parsed come second.
///
/// Index: `course_outbox_changes_in_doubt`, `course_outbox_rechecks` and the primary key of `course_sync_batch`.
pub async fn due_records(
    database: impl Into<DatabaseRef<'_>>,
    limit: u16,
) -> Result<(Vec<UncertainRecord>, Vec<RowId>), OutboxError> {
    const DUE: &str = "-- due records
        with due as materialized (
            (select id, next_attempt_at as at, batch_id from course_outbox
              where status = 'unconfirmed' and doubt = 'change' and next_attempt_at <= now() and hubspot_id is not null
              order by next_attempt_at, id limit $1)
            union all
            (select id, recheck_at, null from course_outbox
              where recheck_at <= now() and status = 'synced'
              order by recheck_at limit $1)
        )
        select o.id, o.course_key, o.revision, o.hubspot_id, o.properties, o.archived, o.hubspot_properties, o.late_values,
               o.faults, o.error, d.batch_id, b.operation, extract(epoch from now() - b.claimed_at)::float8 as since,
               course_sync_sent_revision(d.batch_id, o.id) as sent_revision
          from due d join course_outbox o using (id) left join course_sync_batch b on b.batch_id = d.batch_id
         order by d.at, o.id
         limit $1
           for no key update of o skip locked";
    let query = sqlx::query_as(DUE).bind(i64::from(limit));
    let rows: Vec<UncertainRow> = run_statement(database, async |session| query.fetch_all(session).await)
        .await
        .map_err(OutboxError::failed_to("find records that must be read"))?;
    let (mut records, mut invalid) = (Vec::with_capacity(rows.len()), Vec::new());
    for row in rows {
        let id = row.id;
        match row.parse() {
            Some(record) => records.push(record),
            None => invalid.push(id),
        }
    }
    Ok((records, invalid))
}

/// What was found out about a record, and what happens to its course.
#[derive(Debug, Clone, PartialEq)]
pub enum ChangeSettlement {
    /// HubSpot holds the row's revision.
    Synced {
        /// What requests with an unknown outcome may still do, if there are any.
        late: Option<LateWrites>,
        /// When the record is read once more because of that.
        recheck_after: Duration,
    },
    /// The course is withdrawn, and HubSpot shows no live record of it.
    Archived(Option<CourseError>),
    /// The record was archived for an earlier revision. The course gets a new one.
    ArchivedBefore,
    /// HubSpot holds something else. The course is sent again.
    Resend {
        /// What HubSpot holds.
        held: HeldProperties,
        /// What requests with an unknown outcome may still do, if there are any.
        late: Option<LateWrites>,
        /// When the record is read once more because of that.
        recheck_after: Duration,
        /// How long the course waits.
        wait: Duration,
        /// Whether the course itself caused the failure.
        is_fault: bool,
    },
    /// A late request changed the record. The course is sent again.
    Repair(HeldProperties),
    /// No late request changed the record.
    Checked,
    /// An operator decides.
    Failed(CourseError),
    /// Nothing is known. The record is read again after this time.
    Postponed(Duration, Option<CourseError>),
}

/// Settlements as columns, one element per course, for `unnest`.
#[derive(Default)]
struct Columns {
    ids: Vec<RowId>,
    revisions: Vec<i64>,
    batches: Vec<Option<BatchId>>,
    statuses: Vec<&'static str>,
    held: Vec<Option<Value>>,
    late: Vec<Option<Value>>,
    recheck: Vec<Option<f64>>,
    waits: Vec<Option<f64>>,
    faults: Vec<i32>,
    errors: Vec<Option<Value>>,
    events: Vec<Option<&'static str>>,
    hubspot_ids: Vec<String>,
}

impl Columns {
    fn push(&mut self, record: &UncertainRecord, settlement: &ChangeSettlement) {
        let batch = record.request();
        let error_json = |error: &CourseError| serde_json::to_value(error).ok();
        let (mut held, mut late, mut recheck, mut wait, mut fault) = (None, None, None, None, 0);
        let (status, error, event) = match settlement {
            ChangeSettlement::Synced { late: after, recheck_after } => {
                late = after.as_ref().map(LateWrites::to_json);
                recheck = after.as_ref().map(|_| recheck_after.as_secs_f64());
                ("synced", None, Some("confirmed"))
            }
            ChangeSettlement::Archived(remark) => {
                ("archived", remark.as_ref().and_then(error_json), Some("archived"))
            }
            ChangeSettlement::ArchivedBefore => ("archived", None, Some("archived")),
            ChangeSettlement::Resend { held: now, late: after, recheck_after, wait: for_time, is_fault } => {
                held = Some(now.to_json());
                late = after.as_ref().map(LateWrites::to_json);
                recheck = after.as_ref().map(|_| recheck_after.as_secs_f64());
                wait = Some(for_time.as_secs_f64());
                fault = i32::from(*is_fault);
                (
                    "pending",
                    record.error.as_ref().filter(|_| *is_fault).and_then(error_json),
                    Some("deferred"),
                )
            }
            ChangeSettlement::Repair(now) => {
                held = Some(now.to_json());
                ("pending", None, Some("repaired"))
            }
            ChangeSettlement::Checked => ("synced", record.error.as_ref().and_then(error_json), None),
            ChangeSettlement::Failed(error) => ("failed", error_json(error), Some("failed")),
            ChangeSettlement::Postponed(for_time, error) => {
                wait = Some(for_time.as_secs_f64());
                let status = if batch.is_some() { "unconfirmed" } else { "synced" };
                (status, error.as_ref().or(record.error.as_ref()).and_then(error_json), None)
            }
        };
        self.ids.push(record.id);
        self.revisions.push(record.revision);
        self.batches.push(batch);
        self.statuses.push(status);
        self.held.push(held);
        self.late.push(late);
        self.recheck.push(recheck);
        self.waits.push(wait);
        self.faults.push(fault);
        self.errors.push(error);
        self.events.push(event);
        self.hubspot_ids.push(record.hubspot_id.as_str().to_owned());
    }
}

/// Records what was read. Guarded by the lease, because it is a decision, by the request, and by the revision on which the
/// decision is based. Returns the rows that were changed.
///
/// Index: the primary key of `course_outbox`.
pub async fn settle_changes(
    database: impl Into<DatabaseRef<'_>>,
    lease: Lease,
    settled: &[(&UncertainRecord, ChangeSettlement)],
) -> Result<Vec<RowId>, OutboxError> {
    const SETTLE: &str = "-- settle changes
        with lead as materialized (
            -- Only the leader decides; the lock makes a takeover wait for this decision.
            select from course_sync_leader
             where holder = $1 and term = $2 and expires_at > clock_timestamp() for key share
        ), finding as (
            select * from unnest($3::bigint[], $4::bigint[], $5::uuid[], $6::text[], $7::jsonb[], $8::jsonb[], $9::float8[],
                                 $10::float8[], $11::int[], $12::jsonb[], $13::text[], $14::text[])
                as f (id, revision, batch_id, status, held, late, recheck, wait, fault, error, event, hubspot_id)
        ), free as materialized (
            -- Rows that another session holds are left out.
            select id from course_outbox where id = any($3) for no key update skip locked
        ), settled as (
            update course_outbox o
               set status = f.status,
                   hubspot_properties = case when f.status in ('synced', 'archived') then null
                                             else coalesce(f.held, o.hubspot_properties) end,
                   synced_at = case when f.status = 'synced' and o.status <> 'synced' then now() else o.synced_at end,
                   synced_revision = case when f.status = 'archived' and not o.archived
                                          then least(coalesce(o.synced_revision, 0), o.revision - 1)
                                          when f.status in ('synced', 'archived') then o.revision
                                          else o.synced_revision end,
                   late_values = case when f.batch_id is not null or f.wait is not null
                                      then coalesce(f.late, o.late_values) end,
                   recheck_at = case when f.batch_id is not null
                                     then coalesce(now() + make_interval(secs => f.recheck), o.recheck_at)
                                     when f.wait is not null then now() + make_interval(secs => f.wait) end,
                   next_attempt_at = case when f.batch_id is null then now()
                                          else coalesce(now() + make_interval(secs => f.wait), o.next_attempt_at) end,
                   faults = o.faults + f.fault,
                   batch_limit = case when f.fault > 0 then 1 else o.batch_limit end,
                   error = f.error,
                   doubt = case when f.status = 'unconfirmed' then o.doubt end,
                   updated_at = now()
              from finding f join free using (id)
             where o.id = f.id and o.revision = f.revision and exists (select from lead)
               -- Another result may have been recorded meanwhile. An expression: see `settle_unconfirmed`.
               and case when f.batch_id is null then o.status = 'synced' and o.recheck_at is not null
                        else o.status = 'unconfirmed' and o.batch_id = f.batch_id and o.doubt = 'change' end
            returning o.id, o.course_key, o.batch_id, o.error, f.event, f.hubspot_id
        ), history as (
            insert into course_sync_history (course_id, course_key, batch_id, event, error, hubspot_id)
            select id, course_key, batch_id, event, error, case when event = 'archived' then hubspot_id end
              from settled where event is not null on conflict do nothing
        )
        select id from settled";
    let mut columns = Columns::default();
    for (record, settlement) in settled {
        columns.push(record, settlement);
    }
    run_statement(database, async |session| {
        sqlx::query_scalar(SETTLE)
            .bind(lease.holder)
            .bind(lease.term)
            .bind(&columns.ids)
            .bind(&columns.revisions)
            .bind(&columns.batches)
            .bind(&columns.statuses)
            .bind(&columns.held)
            .bind(&columns.late)
            .bind(&columns.recheck)
            .bind(&columns.waits)
            .bind(&columns.faults)
            .bind(&columns.errors)
            .bind(&columns.events)
            .bind(&columns.hubspot_ids)
            .fetch_all(session)
            .await
    })
    .await
    .map_err(OutboxError::failed_to("settle changes"))
}

/// Archives that are requested and not released, counted up to `limit` + 1: if there are more than `limit`, they are held.
///
/// Index: `course_outbox_archives`.
pub async fn count_held_archives(
    database: impl Into<DatabaseRef<'_>>,
    limit: u32,
) -> Result<u64, OutboxError> {
    const COUNT: &str = "-- count archives
        select count(*) from (
            select from course_outbox
             where status = 'pending' and archived and hubspot_id is not null and not archive_released
             limit $1) held";
    let query = sqlx::query_scalar(COUNT).bind(i64::from(limit) + 1);
    let count: i64 = run_statement(database, async |session| query.fetch_one(session).await)
        .await
        .map_err(OutboxError::failed_to("count the archives that are pending"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}

/// Releases the archives that are pending now. Returns their number.
///
/// Index: `course_outbox_archives`.
pub async fn release_archives(database: impl Into<DatabaseRef<'_>>) -> Result<u64, OutboxError> {
    const RELEASE: &str = "-- release archives
        with released as (
            update course_outbox set archive_released = true
             where status = 'pending' and archived and hubspot_id is not null and not archive_released
            returning id
        )
        select count(*), pg_notify('course_outbox', '')::text from released";
    let query = sqlx::query_as(RELEASE);
    let (count, _woken): (i64, Option<String>) =
        run_statement(database, async |session| query.fetch_one(session).await)
            .await
            .map_err(OutboxError::failed_to("release the archives"))?;
    Ok(u64::try_from(count).unwrap_or_default())
}
