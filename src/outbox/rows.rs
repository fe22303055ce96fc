//! Converts rows into the pipeline's plain types. A row that violates its table's checks becomes an error that names
//! it, never a panic.

use jiff_sqlx::Timestamp;
use serde_json::Value;
use sqlx::types::Json;

use crate::course::{
    Associations, BatchId, ClaimedCourse, CourseError, CourseKey, Doubt, HeldProperties, HeldRecord,
    HubSpotId, InvalidValue, Properties, RowId, UnconfirmedCourse, patch,
};
use crate::outbox::OutboxError;
use crate::outbox::from_row::impl_from_row;
use crate::outbox::lenient::{ClampedTimestamp, JsonText, Lenient};
use crate::policy::attribution::Evidence;

/// The largest course that is read, in bytes of `properties` and `associations` as text. `migrations/0015_bounded_rows.sql`
/// refuses a larger one when it is written.
pub(super) const MAX_ROW_BYTES: i64 = 4 << 20;

/// The expression for a JSON column as text; null if it is larger than the parameter allows, because then the text is not made.
/// 2,000 bytes have at most 17 MB as text.
macro_rules! bounded_text {
    ($column:literal, $limit:literal) => {
        concat!(
            "case when pg_column_size(",
            $column,
            " #> '{}') <= 2000 or course_sync_measure(",
            $column,
            ") <= ",
            $limit,
            " then ",
            $column,
            "::text end"
        )
    };
}
pub(super) use bounded_text;

pub(super) struct ClaimedRow {
    pub batch: BatchId,
    pub id: RowId,
    course_key: Lenient<String>,
    /// `None`: too large.
    properties: Option<Lenient<JsonText>>,
    /// `None`: too large.
    associations: Option<Lenient<JsonText>>,
    attempts: i32,
    faults: i32,
    doubts: i32,
    doubt_property: Option<String>,
    is_blamed: bool,
    requested_at: Lenient<Timestamp>,
    is_doubt_recent: bool,
    hubspot_id: Option<String>,
    hubspot_properties: Option<Lenient<Json<Value>>>,
    pub due: Lenient<Timestamp>,
    pub candidates: i64,
}

impl_from_row!(ClaimedRow {
    batch,
    id,
    course_key,
    properties,
    associations,
    attempts,
    faults,
    doubts,
    doubt_property,
    is_blamed,
    requested_at,
    is_doubt_recent,
    hubspot_id,
    hubspot_properties,
    due,
    candidates,
});

impl TryFrom<ClaimedRow> for ClaimedCourse {
    type Error = OutboxError;

    fn try_from(row: ClaimedRow) -> Result<Self, OutboxError> {
        let id = row.id;
        let (Some(properties), Some(associations)) = (row.properties, row.associations) else {
            return Err(OutboxError::TooLarge { row: id });
        };
        let properties = parse_column(id, "properties", properties, |json| Properties::parse(json.0))?;
        let record = match row.hubspot_id.as_deref().map(HubSpotId::parse) {
            None => None,
            Some(Some(hubspot_id)) => {
                let held =
                    row.hubspot_properties.and_then(Lenient::ok).map(|json| HeldProperties::parse(json.0));
                Some(HeldRecord { id: hubspot_id, patch: patch(held.as_ref(), &properties) })
            }
            Some(None) => {
                let why = "it is no id of a HubSpot record".to_owned();
                return Err(OutboxError::Row { row: id, column: "hubspot_id", why });
            }
        };
        Ok(Self {
            id,
            key: parse_column(id, "course_key", row.course_key, CourseKey::parse)?,
            properties,
            associations: parse_column(id, "associations", associations, |json| Associations::parse(json.0))?,
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            doubt_property: row.doubt_property,
            is_blamed: row.is_blamed,
            requested_at: read_time(id, "created_at", row.requested_at)?,
            is_doubt_recent: row.is_doubt_recent,
            record,
        })
    }
}

pub(super) struct UnconfirmedRow {
    pub id: RowId,
    batch_id: BatchId,
    course_key: Lenient<String>,
    is_archived: bool,
    doubt: Option<String>,
    property: Option<String>,
    doubted_since: Lenient<Timestamp>,
    sent_at: Lenient<Timestamp>,
    attempts: i32,
    faults: i32,
    doubts: i32,
    batch_size: i32,
    is_suspect: bool,
    error: Option<Lenient<Json<CourseError>>>,
    created_at: ClampedTimestamp,
}

impl_from_row!(UnconfirmedRow {
    id,
    batch_id,
    course_key,
    is_archived,
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
            key: parse_column(id, "course_key", row.course_key, CourseKey::parse)?,
            is_archived: row.is_archived,
            doubt: Doubt::parse(row.doubt.as_deref()),
            property: row.property,
            doubted_since: read_time(id, "doubted_since", row.doubted_since)?,
            sent_at: read_time(id, "updated_at", row.sent_at)?,
            attempts: u32::try_from(row.attempts).unwrap_or_default(),
            faults: u32::try_from(row.faults).unwrap_or_default(),
            doubts: u32::try_from(row.doubts).unwrap_or_default(),
            batch_size: usize::try_from(row.batch_size).unwrap_or(usize::MAX),
            is_suspect: row.is_suspect,
            error: row.error.and_then(Lenient::ok).map(|error| error.0),
            created_at: row.created_at.0,
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

/// Parses the value of a column. The error names the row and the column.
fn parse_column<V, T>(
    row: RowId,
    column: &'static str,
    value: Lenient<V>,
    parse: impl FnOnce(V) -> Result<T, InvalidValue>,
) -> Result<T, OutboxError> {
    let parsed = value.0.and_then(|value| parse(value).map_err(|why| why.to_string()));
    parsed.map_err(|why| OutboxError::Row { row, column, why })
}

fn read_time(
    row: RowId,
    column: &'static str,
    time: Lenient<Timestamp>,
) -> Result<jiff::Timestamp, OutboxError> {
    parse_column(row, column, time, |time| Ok(time.to_jiff()))
}
