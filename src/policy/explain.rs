//! Explains a course: its state, its timeline, what happens next and when, and what an operator can do. Pure.
//!
//! It explains decisions of `policy`, so it belongs here. `outbox/history.rs` reads the history, `report/explain.rs`
//! puts both together, `cli` and `admin` show the result.

use jiff::Timestamp;
use serde::Serialize;

use crate::course::{Category, CourseError, MAX_COURSES, Status};
use crate::policy::gate::Reason;
use crate::policy::leader_report::{PauseReport, ReportedReason};

use history::{CourseHistory, CourseRow, EventKind};
use remedy::remedy;
use timeline::{TimelineEntry, build_timeline};

pub mod history;
pub mod remedy;
#[cfg(test)]
mod tests;
pub mod timeline;

/// The circumstances that decide what happens to a course next.
#[derive(Debug, Clone)]
pub struct ExplainContext {
    /// The current time.
    pub now: Timestamp,
    /// Whether an instance holds the lease.
    pub has_leader: bool,
    /// The pauses that concern the course.
    pub pauses: Vec<PauseReport>,
    /// What happens to a course whose outcome is unknown.
    pub unconfirmed: UnconfirmedPolicy,
}

/// What happens to a course whose outcome is unknown, by configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UnconfirmedPolicy {
    /// It is looked up by the unique property if it was sent with its key in that property; else it is held.
    LookUp {
        /// The unique property.
        by: String,
    },
    /// It is held for an operator.
    Hold,
    /// It is sent again, which may create a duplicate. It is held after so many unknown outcomes.
    Resend {
        /// The number of unknown outcomes after which it is held.
        max_attempts: u32,
    },
}

/// The state of a course, in more detail than its status.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum DetailedStatus {
    /// Pending; sent with one of the next requests.
    Waiting,
    /// Pending; not sent before `next_attempt_at`.
    BackingOff,
    /// Pending; sent in a smaller batch, because a request that carried it failed.
    Isolating,
    /// Pending, while sending is paused.
    Paused,
    /// Claimed, possibly sent.
    InFlight,
    /// Unconfirmed; will be looked up.
    LookedUp,
    /// Unconfirmed; its record is read, because it is not known whether it has the last change.
    ReadBack,
    /// Unconfirmed; held for an operator.
    Held,
    /// Unconfirmed; will be sent again without a look-up.
    SentAgain,
    /// In HubSpot.
    Synced,
    /// Refused for good.
    Failed,
    /// Withdrawn.
    Archived,
    /// Pending, while archives are held.
    ArchiveHeld,
}

/// A course, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Its state.
    pub state: DetailedStatus,
    /// Its state in one sentence.
    pub summary: String,
    /// What happened, oldest first.
    pub happened: Vec<TimelineEntry>,
    /// What happens next.
    pub next: String,
    /// When that happens, if it is known.
    pub next_at: Option<Timestamp>,
    /// What an operator can do; empty if nothing is needed.
    pub you_can: Vec<String>,
    /// The data behind the explanation.
    #[serde(flatten)]
    pub history: CourseHistory,
}

/// Explains a course.
#[must_use]
pub fn explain(history: CourseHistory, context: &ExplainContext) -> Explanation {
    let state = classify(&history.course, context);
    let (next, next_at) = describe_next(state, &history.course, context);
    Explanation {
        state,
        summary: summarize(state, &history),
        happened: build_timeline(&history),
        next,
        next_at,
        you_can: list_actions(state, &history.course, context),
        history,
    }
}

fn classify(course: &CourseRow, context: &ExplainContext) -> DetailedStatus {
    match course.status {
        Status::Pending if holds_archives(course, context) => DetailedStatus::ArchiveHeld,
        Status::Pending if context.pauses.iter().any(PauseReport::stops_creates) => DetailedStatus::Paused,
        Status::Pending if course.next_attempt_at > context.now => DetailedStatus::BackingOff,
        Status::Pending if course.is_suspect || course.batch_limit < MAX_COURSES => DetailedStatus::Isolating,
        Status::Pending => DetailedStatus::Waiting,
        Status::InFlight => DetailedStatus::InFlight,
        Status::Unconfirmed if course.is_change_unknown => DetailedStatus::ReadBack,
        Status::Unconfirmed if course.carried_key => DetailedStatus::LookedUp,
        Status::Unconfirmed => match context.unconfirmed {
            UnconfirmedPolicy::LookUp { .. } | UnconfirmedPolicy::Hold => DetailedStatus::Held,
            UnconfirmedPolicy::Resend { max_attempts } if course.doubts >= max_attempts => {
                DetailedStatus::Held
            }
            UnconfirmedPolicy::Resend { .. } => DetailedStatus::SentAgain,
        },
        Status::Synced => DetailedStatus::Synced,
        Status::Failed => DetailedStatus::Failed,
        Status::Archived => DetailedStatus::Archived,
    }
}

/// Whether the course waits for a person to release archives.
fn holds_archives(course: &CourseRow, context: &ExplainContext) -> bool {
    let limit = ReportedReason::Known(Reason::ArchiveLimit);
    course.archived
        && !course.archive_released
        && course.hubspot_id.is_some()
        && context.pauses.iter().any(|pause| pause.reason == limit)
}

fn summarize(state: DetailedStatus, history: &CourseHistory) -> String {
    let course = &history.course;
    let sent = match course.attempts {
        0 => "not sent yet".to_owned(),
        1 => "sent once".to_owned(),
        times => format!("sent {times} times"),
    };
    let message = course.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    match state {
        DetailedStatus::Waiting => match (&course.hubspot_id, course.archived) {
            (None, false) => format!("pending, {sent}: waiting to be sent"),
            (None, true) => "pending: withdrawn, and HubSpot has no record of it".to_owned(),
            (Some(id), false) => format!(
                "pending: HubSpot record {id} will be updated to revision {}{}",
                course.revision,
                describe_held(course)
            ),
            (Some(id), true) => format!("pending: HubSpot record {id} will be archived"),
        },
        DetailedStatus::ArchiveHeld => {
            "pending: withdrawn, and archives are held, because too many courses are withdrawn at once"
                .to_owned()
        }
        DetailedStatus::ReadBack => format!(
            "unconfirmed, {sent}: {message}; HubSpot record {} is read and compared with the row",
            course.hubspot_id.as_deref().unwrap_or_default()
        ),
        DetailedStatus::Archived => match &course.hubspot_id {
            Some(id) => format!("archived: HubSpot record {id} is in the recycle bin"),
            None => "archived: withdrawn, and HubSpot has no record of it".to_owned(),
        },
        DetailedStatus::BackingOff if course.is_suspect => {
            format!(
                "pending, {sent}: a request that contained it failed; it waits for the next attempt: {message}"
            )
        }
        DetailedStatus::BackingOff => format!("pending, {sent}: it waits before it is sent again"),
        DetailedStatus::Isolating => format!(
            "pending, {sent}: a request that contained it failed, and the response named no course ({message}), so it is sent after \
             the other courses, in a batch of at most {}",
            course.batch_limit
        ),
        DetailedStatus::Paused => format!("pending, {sent}: sending is paused"),
        DetailedStatus::InFlight => match &course.blocked {
            Some(reason) => {
                format!("in flight: the response has arrived, and the row cannot be written: {reason}")
            }
            None => "in flight: claimed for a request, and no response is recorded yet".to_owned(),
        },
        DetailedStatus::LookedUp => {
            format!("unconfirmed, {sent}: {message}; it will be looked up in HubSpot by its key")
        }
        DetailedStatus::Held => format!("unconfirmed, {sent}: {message}; it is held for an operator"),
        DetailedStatus::SentAgain => format!("unconfirmed, {sent}: {message}"),
        DetailedStatus::Synced => {
            let id = course.hubspot_id.as_deref().unwrap_or_default();
            let warning = if message.is_empty() {
                String::new()
            } else {
                format!("; HubSpot reported a warning: {message}")
            };
            format!("synced as HubSpot record {id}{}{warning}", describe_origin(history))
        }
        DetailedStatus::Failed => format!("failed, {sent}: {message}"),
    }
}

/// Which revision HubSpot holds, if it is known.
fn describe_held(course: &CourseRow) -> String {
    match course.synced_revision {
        None => String::new(),
        Some(0) => "; it is not known which revision HubSpot holds".to_owned(),
        Some(held) => format!("; HubSpot holds revision {held}"),
    }
}

/// How course-sync learned which record a synced course is, if it was not from the response of a create.
fn describe_origin(history: &CourseHistory) -> &'static str {
    let last = history.events.last();
    match last.map(|event| event.event) {
        Some(EventKind::Adopted) if last.is_some_and(|event| event.hubspot_id.is_some()) => {
            ", which an operator adopted (`course-sync adopt`)"
        }
        Some(EventKind::Adopted) => ", which already had its key",
        Some(EventKind::Confirmed) => ", which was found in HubSpot after an unknown outcome",
        Some(EventKind::Resolved) if last.is_some_and(|event| history.was_resolved_as_created(event)) => {
            ", as an operator decided"
        }
        Some(
            EventKind::Resolved
            | EventKind::Failed
            | EventKind::Deferred
            | EventKind::Unconfirmed
            | EventKind::Retried
            | EventKind::Updated
            | EventKind::Archived
            | EventKind::Repaired,
        )
        | None => "",
    }
}

fn describe_next(
    state: DetailedStatus,
    course: &CourseRow,
    context: &ExplainContext,
) -> (String, Option<Timestamp>) {
    let due = Some(course.next_attempt_at);
    match state {
        DetailedStatus::Failed if is_record_lost(course.error.as_ref()) => {
            ("nothing, until an operator decides about its record".to_owned(), None)
        }
        DetailedStatus::Failed => {
            ("nothing, until the catalogue corrects it or an operator retries it".to_owned(), None)
        }
        DetailedStatus::Archived => ("nothing, until the catalogue offers the course again".to_owned(), None),
        DetailedStatus::ArchiveHeld => ("nothing, until an operator releases the archives".to_owned(), None),
        DetailedStatus::Synced => ("nothing: the course is synced".to_owned(), None),
        DetailedStatus::Held => ("nothing, until an operator settles its outcome".to_owned(), None),
        DetailedStatus::InFlight if context.has_leader && course.blocked.is_some() => {
            ("recording is tried again every few seconds; the course is not sent again".to_owned(), None)
        }
        DetailedStatus::InFlight if context.has_leader => (
            "the response is recorded within seconds; if the sending instance stopped, the course becomes unconfirmed"
                .to_owned(),
            None,
        ),
        DetailedStatus::InFlight => {
            ("no instance is sending: the course becomes unconfirmed when `course-sync run` starts".to_owned(), None)
        }
        DetailedStatus::Paused => {
            (format!("it is sent when the pause ends: {}", describe_pauses(&context.pauses)), None)
        }
        DetailedStatus::LookedUp | DetailedStatus::ReadBack | DetailedStatus::SentAgain
            if !context.pauses.is_empty() =>
        {
            (format!("it continues when the pause ends: {}", describe_pauses(&context.pauses)), None)
        }
        DetailedStatus::Waiting
        | DetailedStatus::BackingOff
        | DetailedStatus::Isolating
        | DetailedStatus::LookedUp
        | DetailedStatus::ReadBack
        | DetailedStatus::SentAgain
            if !context.has_leader =>
        {
            ("no instance is sending: it continues when `course-sync run` starts".to_owned(), None)
        }
        DetailedStatus::Waiting if course.archived && course.hubspot_id.is_none() => {
            ("it becomes archived without a request".to_owned(), due)
        }
        DetailedStatus::Waiting => ("it is sent with one of the next requests".to_owned(), due),
        DetailedStatus::BackingOff => ("it is sent again".to_owned(), due),
        DetailedStatus::Isolating => {
            (format!("it is sent with one of the next requests, in a batch of at most {}", course.batch_limit), due)
        }
        DetailedStatus::LookedUp if course.archived => (
            "it is looked up in HubSpot: if found, its record is archived; if not found, the course becomes archived".to_owned(),
            due,
        ),
        DetailedStatus::LookedUp => (
            "it is looked up in HubSpot: if found, it becomes synced; if not found, it is sent again".to_owned(),
            due,
        ),
        DetailedStatus::ReadBack => (
            "its record is read: if it matches the row, the course is settled; otherwise the change is sent again".to_owned(),
            due,
        ),
        DetailedStatus::SentAgain => ("it is sent again, which may create a duplicate".to_owned(), due),
    }
}

fn describe_pauses(pauses: &[PauseReport]) -> String {
    let pauses: Vec<_> =
        pauses.iter().map(|pause| format!("{} ({})", pause.reason.as_str(), pause.message)).collect();
    pauses.join("; ")
}

fn list_actions(state: DetailedStatus, course: &CourseRow, context: &ExplainContext) -> Vec<String> {
    let key = shell_quote(&course.key);
    let by_operator = ReportedReason::Known(Reason::Operator);
    let error = course.error.as_ref();
    match state {
        DetailedStatus::Failed if is_record_lost(error) => vec![
            format!("for a new record, run `course-sync resolve {key} --recreate`"),
            format!("if the course has another record, run `course-sync resolve {key} --hubspot-id ID`"),
        ],
        DetailedStatus::ArchiveHeld => vec![
            "find out whether the catalogue withdrew the courses on purpose".to_owned(),
            "then run `course-sync resume --archives`, or correct the rows".to_owned(),
        ],
        DetailedStatus::Failed => {
            let code = error.and_then(|error| error.code.as_deref());
            let property = error.and_then(|error| error.property.as_deref());
            vec![
                remedy(error.map(|error| error.category), code, property),
                format!("if you fixed it in HubSpot and not in the row, run `course-sync retry --key {key}`"),
            ]
        }
        DetailedStatus::Held => vec![
            "look for the course in HubSpot".to_owned(),
            format!("if the course exists, run `course-sync resolve {key} --hubspot-id ID`"),
            format!(
                "if it certainly does not exist, run `course-sync resolve {key} --not-created` to send it again"
            ),
        ],
        DetailedStatus::LookedUp if error.is_some_and(|error| error.category == Category::Conflict) => {
            vec!["if HubSpot has several records with its key, merge or archive all but one".to_owned()]
        }
        DetailedStatus::Paused if context.pauses.iter().any(|pause| pause.reason == by_operator) => {
            vec!["run `course-sync resume` to end the pause".to_owned()]
        }
        DetailedStatus::InFlight if course.blocked.is_some() => {
            vec![
                "end the session that holds the row, or repair the trigger that refuses the write".to_owned(),
            ]
        }
        DetailedStatus::Paused => vec!["see `course-sync status` for the reason of the pause".to_owned()],
        DetailedStatus::Waiting
        | DetailedStatus::BackingOff
        | DetailedStatus::Isolating
        | DetailedStatus::InFlight
        | DetailedStatus::LookedUp
        | DetailedStatus::ReadBack
            if !context.has_leader =>
        {
            vec!["start `course-sync run`".to_owned()]
        }
        DetailedStatus::Waiting
        | DetailedStatus::BackingOff
        | DetailedStatus::Isolating
        | DetailedStatus::InFlight
        | DetailedStatus::LookedUp
        | DetailedStatus::ReadBack
        | DetailedStatus::SentAgain
        | DetailedStatus::Synced
        | DetailedStatus::Archived => Vec::new(),
    }
}

/// Whether the course's record was deleted or merged in HubSpot.
fn is_record_lost(error: Option<&CourseError>) -> bool {
    error.is_some_and(|error| matches!(error.category, Category::RecordGone | Category::RecordMerged))
}

/// A key, quoted for a shell if necessary.
fn shell_quote(key: &str) -> String {
    if !key.is_empty() && key.chars().all(is_plain_in_shell) {
        key.to_owned()
    } else {
        format!("'{}'", key.replace('\'', r"'\''"))
    }
}

fn is_plain_in_shell(c: char) -> bool {
    c.is_ascii_alphanumeric() || "_./:@%+=-".contains(c)
}
