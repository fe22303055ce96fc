//! Switches for the life of a record after its creation: update, archive, merge, and reads of merged records.
//! Plain values; a part of [`Behaviour`](super::Behaviour). Its members `echo_trace_ids`, `archived_hold_unique` and
//! `archived_read` belong to the same subject.

use serde::{Deserialize, Serialize};

/// How HubSpot treats records after their creation, where this is unknown. The default of each field is the more likely
/// behaviour.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct LifecycleSwitches {
    /// How an update with trace IDs reports invalid values.
    pub update_errors: UpdateErrors,
    /// How an update reports IDs that do not exist.
    pub missing_on_update: MissingOnUpdate,
    /// What names the inputs in the error for IDs that do not exist.
    pub missing_named_by: MissingNamedBy,
    /// Whether an update that changes nothing moves the modification date.
    pub no_op_moves_date: bool,
    /// The status of a `batch/update` without errors: 200, 201 or 207. The body is the same.
    pub update_status: u16,
    /// What an update does whose inputs name the same record in two ways: by its ID and by a unique value, or by two
    /// merged IDs.
    pub same_record_twice: SameRecordTwice,
    /// Whether an update may clear a required property.
    pub clear_required: ClearRequired,
    /// What happens to stored values when their option is removed from a property.
    pub removed_options: RemovedOptions,
    /// How `batch/archive` treats IDs that are missing, repeated or not a number.
    pub bad_archive: BadArchive,
    /// The record that remains after a merge.
    pub merge_survivor: MergeSurvivor,
    /// What an update by the ID of a merged record does.
    pub merged_update: MergedUpdate,
    /// What archiving by the ID of a merged record does.
    pub merged_archive: MergedArchive,
    /// What happens to the unique values of the record that was merged into another.
    pub loser_key: LoserKey,
    /// Whether a `batch/read` by several IDs of one merged record has a result for each; otherwise it has one.
    pub merged_reads_repeat: bool,
    /// HubSpot moves the modification date of a record without changing a value, this many milliseconds after each
    /// write; `None`: never.
    pub background_touch_ms: Option<u64>,
}

impl Default for LifecycleSwitches {
    fn default() -> Self {
        Self {
            update_errors: UpdateErrors::PerInput,
            missing_on_update: MissingOnUpdate::Reported,
            missing_named_by: MissingNamedBy::Ids,
            no_op_moves_date: false,
            update_status: 200,
            same_record_twice: SameRecordTwice::Refused,
            clear_required: ClearRequired::Refused,
            removed_options: RemovedOptions::Kept,
            bad_archive: BadArchive::Accepted,
            merge_survivor: MergeSurvivor::NewId,
            merged_update: MergedUpdate::Dropped,
            merged_archive: MergedArchive::Nothing,
            loser_key: LoserKey::Freed,
            merged_reads_repeat: false,
            background_touch_ms: None,
        }
    }
}

/// How an update with trace IDs reports invalid values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UpdateErrors {
    /// A 207 with an error for each invalid input.
    PerInput,
    /// A 400 for the whole batch.
    WholeBatch,
}

/// How an update reports IDs that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingOnUpdate {
    /// A 207 with one error for all of them.
    Reported,
    /// A 207 without errors.
    #[serde(rename = "unreported_207")]
    Unreported207,
    /// A 200 without errors.
    #[serde(rename = "unreported_200")]
    Unreported200,
}

/// What names the inputs in the error for IDs that do not exist.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MissingNamedBy {
    /// `context.ids`.
    Ids,
    /// `context.objectWriteTraceId`; `context.ids` if an input has no trace ID.
    TraceIds,
    /// Both.
    Both,
}

/// What an update does whose inputs name the same record in two ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SameRecordTwice {
    /// It is refused with 400.
    Refused,
    /// The inputs are applied in their order.
    LastWins,
}

/// Whether an update may clear a required property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClearRequired {
    /// No: `MISSING_REQUIRED_PROPERTY`.
    Refused,
    /// Yes.
    Accepted,
}

/// What happens to stored values when their option is removed from a property.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RemovedOptions {
    /// They stay, but cannot be written again.
    Kept,
    /// They are cleared.
    Cleared,
}

/// How `batch/archive` treats IDs that are missing, repeated or not a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BadArchive {
    /// 204, as if they were good.
    Accepted,
    /// 400, and nothing is archived.
    Refused,
}

/// The record that remains after a merge.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergeSurvivor {
    /// A new record with a new ID.
    NewId,
    /// The primary record.
    Primary,
}

/// What an update by the ID of a merged record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergedUpdate {
    /// Nothing; the response contains neither a result nor an error for it.
    Dropped,
    /// It updates the surviving record, whose ID the result has.
    Survivor,
}

/// What archiving by the ID of a merged record does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MergedArchive {
    /// Nothing.
    Nothing,
    /// It archives the surviving record.
    Survivor,
}

/// What happens to the unique values of the record that was merged into another.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LoserKey {
    /// They can be used again.
    Freed,
    /// They find the surviving record, and cannot be used again.
    Survivor,
    /// They find nothing, and cannot be used again.
    Blocked,
}
