//! The switches: both behaviours wherever HubSpot's own is not known, and what an account may differ in.
//! Plain values, changed at run time through [`Handle`](super::Handle) or `PUT /_simulator/behaviour`.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::account::AccountSwitches;

/// How this HubSpot behaves. Every field has a default: the unkindest that is known to happen.
#[expect(clippy::struct_excessive_bools, reason = "each is an independent switch with its own name")]
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Behaviour {
    /// What the account may ask.
    pub limits: Limits,
    /// Another integration that uses the same quota all the time.
    pub neighbour: Neighbour,
    /// How long an answer takes.
    pub latency: Latency,
    /// Whether results repeat the `objectWriteTraceId` they were sent with.
    pub echo_trace_ids: bool,
    /// Whether results come in an order of their own.
    pub shuffle_results: bool,
    /// Whether a batch refused as a whole (4xx) wrote nothing.
    pub refused_batches: RefusedBatches,
    /// How a batch with trace ids reports a unique value that is taken.
    pub conflict: ConflictForm,
    /// The status of a create with results and errors: 207, or 201 with a 207's body.
    pub mixed_status: u16,
    /// Whether a record in the recycle bin still holds its unique values.
    pub archived_hold_unique: bool,
    /// When two unique values are the same.
    pub unique_compare: UniqueCompare,
    /// Whether uniqueness withstands two simultaneous requests.
    pub uniqueness: Uniqueness,
    /// Whether the refusal of a whole batch names the properties at fault.
    pub name_properties: bool,
    /// Whether the errors inside a 207 name their inputs by trace id.
    pub name_inputs: bool,
    /// Whether courses are switched on in the account, and if not, how that shows.
    pub courses: CoursesState,
    /// The ids that may be associated with; `None`: any number will do.
    pub association_targets: Option<BTreeSet<String>>,
    /// How long a new record stays invisible to the search, in milliseconds.
    pub search_lag_ms: u64,
    /// How long a new record stays invisible to `batch/read` and to reads of one record, in milliseconds.
    pub read_lag_ms: u64,
    /// The most inputs that a `batch/read` may have; more are refused with 400. Above 100 has no effect.
    pub max_read_inputs: usize,
    /// Whether `batch/read` leaves out the records that it does not find, without an error.
    pub read_omits_missing: bool,
    /// Whether archived records are found by a unique value.
    pub archived_read: ArchivedRead,
    /// What happens to values on their way in.
    pub normalise: Normalise,
    /// How the values of unique properties are stored and shown.
    pub keys: Keys,
    /// Whether look-ups change the spelling of unique values as `keys` does, and so find a record by the value
    /// that it was created with.
    pub lookups_respell: bool,
    /// The most records that the account takes, the recycle bin not counted; `None`: any number.
    pub record_limit: Option<u64>,
    /// How a create beyond `record_limit` is refused.
    pub record_limit_form: RecordLimitForm,
    /// Properties that a new record must have besides its name.
    pub required_properties: BTreeSet<String>,
    /// Whether requests answered 429 count towards the quota as well.
    pub refused_count: bool,
    /// The account's time zone (IANA name; an unknown one is UTC); its midnight resets the daily quota.
    pub time_zone: String,
    /// What HubSpot calls the account: `STANDARD`, `SANDBOX`, `DEVELOPER_TEST`, …
    pub account_type: String,
    /// What differs in the account's own endpoints: OAuth, record limits.
    pub account: AccountSwitches,
}

impl Default for Behaviour {
    fn default() -> Self {
        Self {
            limits: Limits::default(),
            neighbour: Neighbour::default(),
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
    /// Requests from one midnight of the account to the next.
    pub daily: u64,
    /// Searches in any rolling second.
    pub searches_per_second: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self { requests: 190, per_ms: 10_000, daily: 1_000_000, searches_per_second: 5 }
    }
}

/// Another integration that uses the same quota all the time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Neighbour {
    /// Its requests in each rolling interval; 0: there is none.
    pub requests: u64,
    /// How many of them come at once; 1: evenly.
    pub burst: u64,
}

impl Default for Neighbour {
    fn default() -> Self {
        Self { requests: 0, burst: 1 }
    }
}

/// How long an answer takes, in milliseconds; drawn evenly from the range for each request.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Latency {
    /// The least.
    pub min_ms: u64,
    /// The most; below `min_ms` it counts as `min_ms`.
    pub max_ms: u64,
}

/// What the refusal of a whole batch leaves behind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RefusedBatches {
    /// Nothing, as in everything known.
    WriteNothing,
    /// The good inputs were written all the same.
    WriteTheGood,
}

/// How a batch with trace ids reports that a unique value is taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ConflictForm {
    /// The whole batch is refused with 400.
    WholeBatch,
    /// A 207 whose message names the half-made record first and the holder second.
    Text,
    /// A 207 with the holder in `context.existingId`.
    ExistingId,
}

/// When two unique values are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum UniqueCompare {
    /// Byte for byte.
    Exact,
    /// Apart from white space around them.
    Trimmed,
    /// Apart from white space around them and letter case.
    Folded,
}

/// Whether uniqueness withstands two simultaneous requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Uniqueness {
    /// Check and insert are one step.
    Enforced,
    /// Checked first, inserted `gap_ms` later without another look.
    CheckedFirst {
        /// Milliseconds between the check and the insert.
        gap_ms: u64,
    },
}

/// Whether courses are switched on in the account.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CoursesState {
    /// They are.
    Active,
    /// They are not, and requests are answered as if a scope were missing (403).
    Forbidden,
    /// They are not, and requests are answered as if the type did not exist (400).
    Unknown,
}

/// What happens to values on their way in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Normalise {
    /// Nothing.
    Off,
    /// Date-times become ISO 8601 with milliseconds, dates become days.
    Dates,
    /// Dates as above, and white space around texts goes.
    DatesAndText,
    /// Date-times and dates become milliseconds since 1970.
    EpochMs,
    /// Dates as in `Dates`, and HTML in texts is sanitised: formatting stays without its attributes, scripts go.
    Html,
}

/// Whether archived records are found by a unique value (`archived=true` with `idProperty`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ArchivedRead {
    /// They are.
    Works,
    /// They count as missing; by record id they are found.
    Misses,
}

/// How the values of unique text properties are stored and shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Keys {
    /// As they were sent.
    AsSent,
    /// Without zero-width spaces (U+200B), and composed (NFC; Latin letters).
    Composed,
    /// In lower case.
    LowerCase,
    /// Without white space around them, and with one space for white space within.
    Collapsed,
}

/// How a create beyond the record limit is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordLimitForm {
    /// Each input beyond it by an error in a 207.
    PerInput,
    /// The whole batch, with 400.
    WholeBatch,
}
