//! The switches: alternatives where HubSpot's behaviour is unknown, and differences between accounts.
//! Plain values, changed at run time through [`Handle`](super::Handle) or `PUT /_simulator/behaviour`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::AccountSwitches;
use super::lifecycle::LifecycleSwitches;

/// How the simulated HubSpot behaves. The default of each field is the most difficult behaviour that is known.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch with its own name")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// The quotas.
    pub limits: Limits,
    /// Another integration that continuously uses the same quota.
    pub neighbour: OtherIntegration,
    /// Response time.
    pub latency: Latency,
    /// Whether results contain the `objectWriteTraceId` of their input.
    pub echo_trace_ids: bool,
    /// Whether results are in random order.
    pub shuffle_results: bool,
    /// What a batch that is rejected as a whole (4xx) has written.
    pub refused_batches: RefusedBatches,
    /// How a batch with trace IDs reports a unique value that exists already.
    pub conflict: ConflictForm,
    /// The status of a create with both results and errors: 207, or 201 with the body of a 207.
    pub mixed_status: u16,
    /// Whether the unique values of an archived record stay reserved.
    pub archived_hold_unique: bool,
    /// How unique values are compared.
    pub unique_compare: UniqueCompare,
    /// Whether uniqueness is guaranteed for concurrent requests.
    pub uniqueness: Uniqueness,
    /// Whether the rejection of a whole batch names the invalid properties.
    pub name_properties: bool,
    /// Whether the errors in a 207 contain the trace ID of their input.
    pub name_inputs: bool,
    /// Whether courses are enabled in the account; if not, how requests fail.
    pub courses: CoursesState,
    /// The IDs of records that associations may refer to; `None`: any number.
    pub association_targets: Option<BTreeSet<String>>,
    /// Delay until a search finds a new record, in milliseconds.
    pub search_lag_ms: u64,
    /// Whether the pages of a list are full.
    pub list_pages: ListPages,
    /// Delay until `batch/read` and reads of single records find a new record, in milliseconds.
    pub read_lag_ms: u64,
    /// Maximum number of inputs of a `batch/read`; more are rejected with 400. Values above 100 have no effect.
    pub max_read_inputs: usize,
    /// Whether `batch/read` omits missing records without an error.
    pub read_omits_missing: bool,
    /// Whether archived records can be read by a unique value.
    pub archived_read: ArchivedRead,
    /// How property values are changed when they are stored.
    pub normalise: Normalise,
    /// How values of unique properties are changed when they are stored.
    pub keys: Keys,
    /// Whether lookups change unique values as `keys` does, and so find a record by the value
    /// that it was created with.
    pub lookups_respell: bool,
    /// Maximum number of records, not counting archived ones; `None`: no limit.
    pub record_limit: Option<u64>,
    /// How a create beyond `record_limit` is rejected.
    pub record_limit_form: RecordLimitForm,
    /// Required properties of a new record, in addition to its name.
    pub required_properties: BTreeSet<String>,
    /// Whether requests that get a 429 count towards the quota.
    pub refused_count: bool,
    /// The account's time zone (IANA name; unknown names mean UTC). The daily quota is reset at its midnight.
    pub time_zone: String,
    /// The account type: `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`, …
    pub account_type: String,
    /// Switches of the endpoints about the account: OAuth, record limits.
    pub account: AccountSwitches,
    /// Switches for the life of a record after its creation.
    pub lifecycle: LifecycleSwitches,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            neighbour: OtherIntegration::default(),
            latency: Latency::default(),
            echo_trace_ids: false,
            shuffle_results: true,
            refused_batches: RefusedBatches::WriteNothing,
            conflict: ConflictForm::Text,
            mixed_status: 207,
            archived_hold_unique: true,
            unique_compare: UniqueCompare::Exact,
            uniqueness: Uniqueness::Enforced,
            name_properties: true,
            name_inputs: true,
            courses: CoursesState::Active,
            association_targets: None,
            search_lag_ms: 2_000,
            list_pages: ListPages::Full,
            read_lag_ms: 0,
            max_read_inputs: 100,
            read_omits_missing: false,
            archived_read: ArchivedRead::Works,
            normalise: Normalise::Dates,
            keys: Keys::AsSent,
            lookups_respell: true,
            record_limit: None,
            record_limit_form: RecordLimitForm::PerInput,
            required_properties: BTreeSet::new(),
            refused_count: true,
            time_zone: "US/Eastern".to_owned(),
            account_type: "STANDARD".to_owned(),
            account: AccountSwitches::default(),
            lifecycle: LifecycleSwitches::default(),
        }
    }
}

/// The account's quotas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Requests in any rolling interval of `per_ms`.
    pub requests: u64,
    /// Length of the rolling interval, in milliseconds.
    pub per_ms: u64,
    /// Requests per day, from midnight to midnight in the account's time zone.
    pub daily: u64,
    /// Searches in any rolling second.
    pub searches_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 190, per_ms: 10_000, daily: 1_000_000, searches_per_second: 5 }
    }
}

/// Another integration that continuously uses the same quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct OtherIntegration {
    /// Its requests per rolling interval; 0: no other integration.
    pub requests: u64,
    /// Requests sent at the same time; 1: evenly distributed.
    pub burst: u64,
}

impl Default for OtherIntegration {
    fn default() -> Self {
        Self { requests: 0, burst: 1 }
    }
}

/// Response time in milliseconds: a random value of this range for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// The minimum.
    pub min_ms: u64,
    /// The maximum; if lower than `min_ms`, `min_ms` is used.
    pub max_ms: u64,
}

/// What a batch that is rejected as a whole has written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBatches {
    /// Nothing, as always observed.
    WriteNothing,
    /// The valid inputs.
    WriteTheGood,
}

/// How a batch with trace IDs reports a unique value that exists already.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictForm {
    /// The whole batch is rejected with 400.
    WholeBatch,
    /// A 207 whose message names first the rejected record, then the existing one.
    Text,
    /// A 207 with the existing record in `context.existingId`.
    ExistingId,
}

/// How unique values are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueCompare {
    /// By bytes.
    Exact,
    /// Ignoring surrounding white space.
    Trimmed,
    /// Ignoring surrounding white space and letter case.
    Folded,
}

/// Whether uniqueness is guaranteed for concurrent requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uniqueness {
    /// Guaranteed: check and insert are atomic.
    Enforced,
    /// Not guaranteed: the record is inserted `gap_ms` after the check, without checking again.
    CheckedFirst {
        /// Milliseconds between the check and the insert.
        gap_ms: u64,
    },
}

/// Whether courses are enabled in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoursesState {
    /// Enabled.
    Active,
    /// Disabled: requests fail as if a scope were missing (403).
    Forbidden,
    /// Disabled: requests fail as if the object type did not exist (400).
    Unknown,
}

/// How property values are changed when they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Not at all.
    Off,
    /// Date-times are stored as ISO 8601 with milliseconds, dates as days.
    Dates,
    /// As `Dates`, and surrounding white space of texts is removed.
    DatesAndText,
    /// Date-times and dates are stored as milliseconds since 1970.
    EpochMs,
    /// As `Dates`, and HTML in texts is sanitised: formatting is kept without attributes, scripts are removed.
    Html,
}

/// Whether the pages of a list are full.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ListPages {
    /// Every page but the last one has as many records as requested.
    Full,
    /// Records that are not listed, such as archived ones, count towards the size of a page: a page may be short or empty
    /// although more pages follow.
    Thin,
}

/// Whether archived records can be read by a unique value (`archived=true` with `idProperty`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchivedRead {
    /// Yes.
    Works,
    /// No, only by record ID.
    Misses,
}

/// How values of unique text properties are changed when they are stored.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// Unchanged.
    AsSent,
    /// Zero-width spaces (U+200B) are removed, and the text is normalised to NFC.
    Composed,
    /// Converted to lower case.
    LowerCase,
    /// Surrounding white space is removed, and each run of white space becomes one space.
    Collapsed,
}

/// How a create beyond the record limit is rejected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordLimitForm {
    /// A 207 with an error for each input beyond the limit.
    PerInput,
    /// A 400 for the whole batch.
    WholeBatch,
}
