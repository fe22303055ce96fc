//! The meaning of a response: for each course of the batch, and for the account. Pure.

use super::gate::Incident;
use crate::course::Verdict;
use crate::hubspot::api::outcome::RequestOutcome;

/// What a response shows about the account, before it is compared with other requests.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Signal {
    /// HubSpot did what was requested: created a course, or answered a look-up.
    Passed,
    /// HubSpot judged the courses and created none of them.
    Judged,
    /// Sending must pause, for a reason that no course can cause.
    Pause(Incident),
    /// The request failed without naming a course. The cause may be a course, the account or HubSpot.
    Failed(Incident),
}

/// The meaning of the end of one create request.
#[derive(Debug, Clone)]
pub struct Interpretation {
    /// One verdict per course, in the order of the batch.
    pub verdicts: Vec<Verdict>,
    /// What it shows about the account.
    pub signal: Signal,
    /// The outcome for the metrics.
    pub outcome: RequestOutcome,
    /// The number of records and errors that belong to no course of the batch, or to one that already had a result. Any
    /// number but 0 is an alarm.
    pub surplus: usize,
    /// The request may have failed because it was too large.
    pub may_be_size: bool,
}
