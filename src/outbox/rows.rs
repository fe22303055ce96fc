//! From rows to the flow's plain values. A row that breaks what its table's checks promise is an
//! error that names it, never a panic.

use jiff_sqlx::Timestamp;
use serde_json::Value;
use sqlx::FromRow;
use sqlx::types::Json;
use uuid::Uuid;

use super::OutboxError;
use crate::course::{Associations, CourseError, CourseKey, Doubt, Invalid, Properties};
use crate::policy::attribution::Evidence;
use crate::policy::batch::{Claimed, RowId};
use crate::policy::reconcile::Doubted;

#[derive(FromRow)]
pub(super) struct ClaimedRow {
    pub id: i64,
    course_key: String,
    properties: Json<Value>,
    associations: Json<Value>,
    attempts: i32,
    faults: i32,
    doubts: i32,
    doubt_property: Option<String>,
    is_blamed: bool,
    created_at: Timestamp,
    pub due: Timestamp,
    pub candidates: i64,
}

impl TryFrom<ClaimedRow> for Claimed {
    type Error = OutboxError;

    fn try_from(row: ClaimedRow) -> Result<Self, OutboxError> {
        let id = RowId(row.id);
        Ok(Self {
            id,
            key: CourseKey::parse(row.course_key).map_err(unusable(id, "course_key"))?,
            properties: Properties::parse(row.properties.0).map_err(unusable(id, "properties"))?,
            associations: Associations::parse(row.associations.0).map_err(unusable(id, "associations"))?,
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            doubt_property: row.doubt_property,
            is_blamed: row.is_blamed,
            created_at: row.created_at.to_jiff(),
        })
    }
}

#[derive(FromRow)]
pub(super) struct DoubtedRow {
    id: i64,
    batch_id: Uuid,
    course_key: String,
    doubt: Option<String>,
    property: Option<String>,
    doubted_since: Timestamp,
    sent_at: Timestamp,
    attempts: i32,
    faults: i32,
    doubts: i32,
    company: i32,
    is_suspect: bool,
    error: Option<Json<Value>>,
    created_at: Timestamp,
}

impl TryFrom<DoubtedRow> for Doubted {
    type Error = OutboxError;

    fn try_from(row: DoubtedRow) -> Result<Self, OutboxError> {
        let id = RowId(row.id);
        Ok(Self {
            id,
            batch: row.batch_id,
            key: CourseKey::parse(row.course_key).map_err(unusable(id, "course_key"))?,
            doubt: Doubt::parse(row.doubt.as_deref()),
            property: row.property,
            doubted_since: row.doubted_since.to_jiff(),
            sent_at: row.sent_at.to_jiff(),
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            company: usize::try_from(row.company).unwrap_or(usize::MAX),
            is_suspect: row.is_suspect,
            error: row.error.and_then(|error| serde_json::from_value::<CourseError>(error.0).ok()),
            created_at: row.created_at.to_jiff(),
        })
    }
}

#[derive(FromRow)]
pub(super) struct EvidenceRow {
    batch_id: Uuid,
    is_judged: bool,
    before: Option<bool>,
    after: Option<bool>,
    company: i64,
}

impl EvidenceRow {
    pub(super) fn into_parts(self) -> (Uuid, Evidence) {
        let evidence = Evidence {
            is_judged: self.is_judged,
            before: self.before,
            after: self.after,
            company: u32::try_from(self.company).unwrap_or_default(),
        };
        (self.batch_id, evidence)
    }
}

fn unusable(row: RowId, column: &'static str) -> impl FnOnce(Invalid) -> OutboxError {
    move |why| OutboxError::Row { row, column, why: why.to_string() }
}
