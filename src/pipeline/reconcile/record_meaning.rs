//! Records of known ids: what a read shows, and what happens to a course of which it is not known what its record holds. Pure.
//!
//! After an unknown outcome the record is read and compared. If it has the values of the row, the change is there.
//! Otherwise the change is sent again. In both cases the record is read once more later, because the first request may be executed
//! late.

use std::collections::BTreeMap;
use std::time::Duration;

use jiff::Timestamp;

use super::meaning::{ReadMeaning, conclusive_reply, is_listed_as_missing};
use super::record_errors::{already_deleted, record_gone, record_merged};
use crate::course::{Category, CourseError, HeldProperties, HubSpotId, Patch, Properties, Write, patch};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{BatchReply, Exchange};
use crate::outbox::changes::{Cause, ChangeSettlement, LateWrites, UncertainRecord};
use crate::pipeline::interpret::values::is_same_value;
use crate::pipeline::settings::RECHECK_FACTOR;
use crate::policy::backoff::RetryPolicy;
use crate::policy::signal::Signal;

/// The property that names the records that were merged into one.
pub(crate) const MERGED_IDS: &str = "hs_merged_object_ids";
/// The shortest time between two reads of a record.
const MIN_READ_INTERVAL: Duration = Duration::from_secs(2);

/// The properties of a record: name → value. Empty: HubSpot holds no value.
pub(crate) type RecordValues = BTreeMap<String, String>;

/// What one read shows about one record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum RecordFinding {
    /// HubSpot shows it, with these properties.
    Present(RecordValues),
    /// It was merged into this one.
    Merged(HubSpotId),
    /// HubSpot lists it as not found, in the set that was read.
    Absent,
    /// The response shows nothing about it.
    Inconclusive,
}

/// Where a record is, as the reads of the live records and of the recycle bin show.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Whereabouts {
    /// It is live, with these properties.
    Live(RecordValues),
    /// It was merged into this one.
    Merged(HubSpotId),
    /// It is in the recycle bin.
    InRecycleBin,
    /// It is neither live nor in the recycle bin.
    Gone,
    /// Nothing is known, for this reason if there is one.
    Unknown(Option<String>),
}

/// Combines the two reads; `archived` only where the first one shows the record as absent.
pub(crate) fn whereabouts(live: RecordFinding, archived: Option<RecordFinding>) -> Whereabouts {
    match (live, archived) {
        (RecordFinding::Present(values), _) => Whereabouts::Live(values),
        (RecordFinding::Merged(survivor), _)
        | (RecordFinding::Absent, Some(RecordFinding::Merged(survivor))) => Whereabouts::Merged(survivor),
        (RecordFinding::Absent, Some(RecordFinding::Present(_))) => Whereabouts::InRecycleBin,
        (RecordFinding::Absent, Some(RecordFinding::Absent)) => Whereabouts::Gone,
        (RecordFinding::Inconclusive, _)
        | (RecordFinding::Absent, Some(RecordFinding::Inconclusive) | None) => Whereabouts::Unknown(None),
    }
}

/// Interprets the end of a read of these records.
pub(crate) fn interpret_records(ids: &[&HubSpotId], exchange: &Exchange) -> ReadMeaning<RecordFinding> {
    match conclusive_reply(exchange) {
        Ok(reply) => {
            let findings = ids.iter().map(|id| finding_of(id, ids, reply)).collect();
            ReadMeaning { findings, signal: Signal::Passed, outcome: RequestOutcome::Ok }
        }
        Err((outcome, signal)) => {
            ReadMeaning { findings: vec![RecordFinding::Inconclusive; ids.len()], signal, outcome }
        }
    }
}

fn finding_of(id: &HubSpotId, asked: &[&HubSpotId], reply: &BatchReply) -> RecordFinding {
    let shown =
        || reply.results.iter().flatten().filter_map(|record| Some((record.consistent_id()?, record)));
    if let Some((_, record)) = shown().find(|(shown, _)| shown == id) {
        let value =
            |(name, value): (&String, &Option<String>)| (name.clone(), value.clone().unwrap_or_default());
        return RecordFinding::Present(record.properties.iter().map(value).collect());
    }
    // A read by the id of a merged record shows the record into which it was merged.
    let names_it = |merged: &str| merged.split(';').any(|merged| merged.trim() == id.as_str());
    let survivor = shown().find(|(_, record)| {
        record.properties.get(MERGED_IDS).and_then(Option::as_deref).is_some_and(names_it)
    });
    if let Some((survivor, _)) = survivor {
        return RecordFinding::Merged(survivor);
    }
    if is_listed_as_missing(id.as_str(), reply) {
        return RecordFinding::Absent;
    }
    match (asked, shown().next()) {
        ([_], Some((other, _))) => RecordFinding::Merged(other),
        _ => RecordFinding::Inconclusive,
    }
}

/// What the decision depends on, besides the course and the finding.
pub(super) struct Facts<'a> {
    /// How long an unknown outcome is left alone.
    pub settle: Duration,
    /// The retry policy.
    pub retry: &'a RetryPolicy,
    /// A random number from 0 to 1.
    pub jitter: f64,
    /// The time.
    pub now: Timestamp,
}

/// The properties that must be read to decide about a record.
pub(super) fn names(record: &UncertainRecord) -> impl Iterator<Item = &str> {
    let late = (record.cause == Cause::Recheck).then_some(&record.late.properties);
    let held = record.held.iter().chain(late).flat_map(HeldProperties::names);
    held.chain(record.properties.names())
}

/// Decides what happens to a course by what the read showed.
pub(super) fn settle(record: &UncertainRecord, finding: &Whereabouts, facts: &Facts<'_>) -> ChangeSettlement {
    match &record.cause {
        Cause::Unconfirmed { write, since, is_current, .. } => {
            let request = Request { write: *write, since: *since, is_current: *is_current };
            settle_unconfirmed(record, &request, finding, facts)
        }
        Cause::Recheck => recheck(record, finding, facts),
    }
}

/// The request whose outcome is unknown.
struct Request {
    write: Write,
    since: Duration,
    is_current: bool,
}

fn settle_unconfirmed(
    record: &UncertainRecord,
    request: &Request,
    finding: &Whereabouts,
    facts: &Facts<'_>,
) -> ChangeSettlement {
    // This request, or an earlier one that was executed late.
    let is_archived_by_us = request.write == Write::Archive || record.late.archives;
    let wait = (request.since / 2).clamp(MIN_READ_INTERVAL, facts.retry.max_interval.max(MIN_READ_INTERVAL));
    let id = record.hubspot_id.as_str();
    match finding {
        Whereabouts::Live(_) if request.write == Write::Archive => {
            resend(record, record.held.clone(), LateWrites { archives: true, ..LateWrites::default() }, facts)
        }
        Whereabouts::Live(values) => compare(record, request, values, facts),
        Whereabouts::Merged(survivor) => ChangeSettlement::Failed(record_merged(id, survivor, facts.now)),
        Whereabouts::InRecycleBin if record.is_archived => ChangeSettlement::Archived(None),
        Whereabouts::Gone if record.is_archived => {
            ChangeSettlement::Archived(Some(already_deleted(id, facts.now)))
        }
        // The course was withdrawn, and is offered again: it gets a new record.
        Whereabouts::InRecycleBin | Whereabouts::Gone if is_archived_by_us => {
            ChangeSettlement::ArchivedBefore
        }
        Whereabouts::InRecycleBin | Whereabouts::Gone => ChangeSettlement::Failed(record_gone(id, facts.now)),
        Whereabouts::Unknown(None) => ChangeSettlement::Postponed(wait, None),
        Whereabouts::Unknown(Some(why)) => {
            let message = format!(
                "it is not known what HubSpot holds of this course, and reading its record failed: {why}"
            );
            let error = CourseError::new(Category::UnknownOutcome, &message, facts.now);
            ChangeSettlement::Postponed(wait, Some(error))
        }
    }
}

/// The record is live: compares it with what was sent.
fn compare(
    record: &UncertainRecord,
    request: &Request,
    values: &RecordValues,
    facts: &Facts<'_>,
) -> ChangeSettlement {
    let held = record.held.clone().unwrap_or_default();
    let actual = |name: &str| values.get(name).cloned().unwrap_or_default();
    if !request.is_current {
        // What was sent is not known any more, so everything is compared when the newer revision is sent.
        let names: Vec<String> = names(record).map(str::to_owned).collect();
        let late = HeldProperties::unknown(names.iter().cloned());
        let held = held.with(names.into_iter().map(|name| {
            let value = actual(&name);
            (name, value)
        }));
        return resend(record, Some(held), LateWrites { properties: late, archives: false }, facts);
    }
    let sent = patch(record.held.as_ref(), &record.properties);
    let differs = |(name, value): &(&String, &String)| !is_same_value(&actual(name), value);
    let late = LateWrites { properties: HeldProperties::default().with_all(&sent), archives: false };
    if record.is_archived || sent.iter().any(|entry| differs(&entry)) {
        let held = held.with(sent.keys().map(|name| (name.clone(), actual(name))));
        return resend(record, Some(held), late, facts);
    }
    // Equal values do not prove that this request was executed: the record may have had them before.
    ChangeSettlement::Synced {
        late: (!is_answered(record)).then(|| record.late.clone().or(late)),
        recheck_after: facts.settle * RECHECK_FACTOR,
    }
}

/// Whether HubSpot answered the request. Then nothing of it can come late.
fn is_answered(record: &UncertainRecord) -> bool {
    record.error.as_ref().is_some_and(|error| error.category != Category::UnknownOutcome)
}

/// Sends the change again. If HubSpot answered the request, the course itself is the cause, and nothing can come late.
fn resend(
    record: &UncertainRecord,
    held: Option<HeldProperties>,
    late: LateWrites,
    facts: &Facts<'_>,
) -> ChangeSettlement {
    let answered = record.error.as_ref().filter(|_| is_answered(record));
    let held = held.unwrap_or_default();
    let Some(error) = answered else {
        return ChangeSettlement::Resend {
            held,
            late: Some(record.late.clone().or(late)),
            recheck_after: facts.settle * RECHECK_FACTOR,
            wait: Duration::ZERO,
            is_fault: false,
        };
    };
    let faults = record.faults.saturating_add(1);
    if faults >= facts.retry.max_attempts {
        return ChangeSettlement::Failed(CourseError { at: facts.now, ..error.clone() });
    }
    ChangeSettlement::Resend {
        held,
        late: None,
        recheck_after: Duration::ZERO,
        wait: facts.retry.backoff(faults, facts.jitter),
        is_fault: true,
    }
}

/// Decides whether a request with an unknown outcome was executed late.
fn recheck(record: &UncertainRecord, finding: &Whereabouts, facts: &Facts<'_>) -> ChangeSettlement {
    match finding {
        Whereabouts::Live(values) => {
            let changed = late_changes(&record.properties, &record.late.properties, values);
            if changed.is_empty() {
                return ChangeSettlement::Checked;
            }
            ChangeSettlement::Repair(HeldProperties::of(&record.properties).with(changed))
        }
        // Our own request archived it, after the course was offered again: it gets a new record.
        Whereabouts::InRecycleBin | Whereabouts::Gone if record.late.archives => {
            ChangeSettlement::ArchivedBefore
        }
        Whereabouts::Unknown(_) => ChangeSettlement::Postponed(facts.settle.max(MIN_READ_INTERVAL), None),
        // Changes that users made to the record are left alone.
        Whereabouts::Merged(_) | Whereabouts::InRecycleBin | Whereabouts::Gone => ChangeSettlement::Checked,
    }
}

/// The properties that hold what the late request wrote, and not what the row says.
fn late_changes(wanted: &Properties, late: &HeldProperties, values: &RecordValues) -> Patch {
    let mut changes = Patch::new();
    for (name, written) in late.values() {
        let actual = values.get(name).map(String::as_str).unwrap_or_default();
        let is_late = written.is_none_or(|written| is_same_value(actual, &written));
        if is_late && !is_same_value(actual, &wanted.get(name).unwrap_or_default()) {
            changes.insert(name.to_owned(), actual.to_owned());
        }
    }
    changes
}

/// The properties of which the record does not hold the row's value, each with the value that it holds. `unique` is left out:
/// the key is not one of the values.
pub(crate) fn changed_values(wanted: &Properties, unique: Option<&str>, values: &RecordValues) -> Patch {
    let actual = |name: &str| values.get(name).cloned().unwrap_or_default();
    let changed = wanted
        .sent_values()
        .filter(|(name, wanted)| Some(*name) != unique && !is_same_value(&actual(name), wanted));
    changed.map(|(name, _)| (name.to_owned(), actual(name))).collect()
}

#[cfg(test)]
mod tests;
