//! The results of audits: recorded by `audit`, read for the metrics and `status`. Touches the database.

use jiff::Timestamp;
use jiff_sqlx::ToSqlx as _;
use serde_json::Value;
use sqlx::types::Json;

use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::policy::drift::{AuditResult, DriftClass, DriftCounts};

/// More results than this are not kept, unless they are newer than the last complete audit.
const KEPT: i64 = 100;

/// Records the result of an audit, which ends now.
///
/// Index: none; the table is small.
pub async fn record_audit(
    database: impl Into<DatabaseRef<'_>>,
    result: &AuditResult,
) -> Result<(), OutboxError> {
    const RECORD: &str = "-- record audit
        with old as (
            -- Only the last complete audit and those since are read again.
            delete from course_sync_audit
             where ended_at < (select max(ended_at) from course_sync_audit where complete)
               and id not in (select id from course_sync_audit order by ended_at desc limit $1)
        )
        insert into course_sync_audit
               (id, started_at, complete, stopped_at, courses, records, differences, repaired)
        values ($2, $3, $4, $5, $6, $7, $8, $9)";
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let query = sqlx::query(RECORD)
        .bind(KEPT - 1)
        .bind(uuid::Uuid::now_v7())
        .bind(result.started_at.to_sqlx())
        .bind(result.is_complete)
        .bind(&result.stopped_at)
        .bind(number(result.courses))
        .bind(number(result.records))
        .bind(Json(to_json(&result.differences)))
        .bind(Json(to_json(&result.repaired)));
    run_statement(database, async |session| query.execute(session).await)
        .await
        .map_err(OutboxError::failed_to("record the result of the audit"))?;
    Ok(())
}

/// The last audit, if it stopped before its end.
///
/// Index: none; the table is small.
pub async fn read_stopped_audit(
    database: impl Into<DatabaseRef<'_>>,
) -> Result<Option<AuditResult>, OutboxError> {
    const LAST: &str = "-- last audit
        select to_jsonb(audit) from course_sync_audit audit order by ended_at desc limit 1";
    let row: Option<Json<Value>> =
        run_statement(database, async |session| sqlx::query_scalar(LAST).fetch_optional(session).await)
            .await
            .map_err(OutboxError::failed_to("read the last audit"))?;
    Ok(row.and_then(|row| read_result(&row.0)).map(|(_, result)| result).filter(|it| it.stopped_at.is_some()))
}

/// A row of the table, as JSON, with its end. `None` if it cannot be read.
pub(super) fn read_result(row: &Value) -> Option<(Timestamp, AuditResult)> {
    let time = |name: &str| row.get(name)?.as_str()?.parse::<Timestamp>().ok();
    let number = |name: &str| row.get(name).and_then(Value::as_u64).unwrap_or_default();
    let counts = |name: &str| row.get(name).map(from_json).unwrap_or_default();
    let result = AuditResult {
        started_at: time("started_at")?,
        stopped_at: row.get("stopped_at").and_then(Value::as_str).map(str::to_owned),
        is_complete: row.get("complete").and_then(Value::as_bool).unwrap_or_default(),
        courses: number("courses"),
        records: number("records"),
        differences: counts("differences"),
        repaired: counts("repaired"),
    };
    Some((time("ended_at")?, result))
}

fn to_json(counts: &DriftCounts) -> Value {
    counts.iter().map(|(class, count)| (class.as_str().to_owned(), Value::from(*count))).collect()
}

/// A class of a newer version is left out.
fn from_json(counts: &Value) -> DriftCounts {
    let counts = counts.as_object().into_iter().flatten();
    counts.filter_map(|(class, count)| Some((DriftClass::parse(class)?, count.as_u64()?))).collect()
}
