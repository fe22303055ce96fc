//! Converts rows into the pipeline's plain types. A row that violates its table's checks becomes an error that names
//! it, never a panic.

use jiff_sqlx::Timestamp;
use serde_json::Value;
use sqlx::types::Json;

use crate::course::{
    Associations, BatchId, ClaimedCourse, CourseError, CourseKey, Doubt, InvalidValue, Properties, RowId,
    UnconfirmedCourse,
};
use crate::outbox::OutboxError;
use crate::outbox::from_row::impl_from_row;
use crate::policy::attribution::Evidence;

pub(super) struct ClaimedRow {
    pub id: RowId,
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

impl_from_row!(ClaimedRow {
    id,
    course_key,
    properties,
    associations,
    attempts,
    faults,
    doubts,
    doubt_property,
    is_blamed,
    created_at,
    due,
    candidates,
});

impl TryFrom<ClaimedRow> for ClaimedCourse {
    type Error = OutboxError;

    fn try_from(row: ClaimedRow) -> Result<Self, OutboxError> {
        let id = row.id;
        Ok(Self {
            id,
            key: CourseKey::parse(row.course_key).map_err(invalid_column(id, "course_key"))?,
            properties: Properties::parse(row.properties.0).map_err(invalid_column(id, "properties"))?,
            associations: Associations::parse(row.associations.0)
                .map_err(invalid_column(id, "associations"))?,
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            doubt_property: row.doubt_property,
            is_blamed: row.is_blamed,
            created_at: row.created_at.to_jiff(),
        })
    }
}

pub(super) struct UnconfirmedRow {
    id: RowId,
    batch_id: BatchId,
    course_key: String,
    doubt: Option<String>,
    property: Option<String>,
    doubted_since: Timestamp,
    sent_at: Timestamp,
    attempts: i32,
    faults: i32,
    doubts: i32,
    batch_size: i32,
    is_suspect: bool,
    error: Option<Json<Value>>,
    created_at: Timestamp,
}

impl_from_row!(UnconfirmedRow {
    id,
    batch_id,
    course_key,
    doubt,
    property,
    doubted_since,
    sent_at,
    attempts,
    faults,
    doubts,
    batch_size,
    is_suspect,
    error,
    created_at,
});

impl TryFrom<UnconfirmedRow> for UnconfirmedCourse {
    type Error = OutboxError;

    fn try_from(row: UnconfirmedRow) -> Result<Self, OutboxError> {
        let id = row.id;
        Ok(Self {
            id,
            batch: row.batch_id,
            key: CourseKey::parse(row.course_key).map_err(invalid_column(id, "course_key"))?,
            doubt: Doubt::parse(row.doubt.as_deref()),
            property: row.property,
            doubted_since: row.doubted_since.to_jiff(),
            sent_at: row.sent_at.to_jiff(),
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            batch_size: usize::try_from(row.batch_size).unwrap_or(usize::MAX),
            is_suspect: row.is_suspect,
            error: row.error.and_then(|error| serde_json::from_value::<CourseError>(error.0).ok()),
            created_at: row.created_at.to_jiff(),
        })
    }
}

pub(super) struct EvidenceRow {
    batch_id: BatchId,
    is_judged: bool,
    before: Option<bool>,
    after: Option<bool>,
    batch_size: i64,
}

impl_from_row!(EvidenceRow { batch_id, is_judged, before, after, batch_size });

impl EvidenceRow {
    pub(super) fn into_entry(self) -> (BatchId, Evidence) {
        let evidence = Evidence {
            is_judged: self.is_judged,
            before: self.before,
            after: self.after,
            batch_size: u32::try_from(self.batch_size).unwrap_or_default(),
        };
        (self.batch_id, evidence)
    }
}

fn invalid_column(row: RowId, column: &'static str) -> impl FnOnce(InvalidValue) -> OutboxError {
    move |why| OutboxError::Row { row, column, why: why.to_string() }
}
