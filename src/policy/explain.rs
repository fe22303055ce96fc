//! A course's life, explained: what happened, what happens next and when, what a person can do. Pure.
//!
//! It retells the decisions of this room, so it lives among them: below whoever prints it (`cli`) or shows
//! it (`admin`), and above the edge that reads a [`Life`] (`outbox/history.rs`), as it does a `Claimed`.

use jiff::Timestamp;
use serde::Serialize;

use super::batch::MAX_COURSES;
use crate::course::{Category, Status};

pub mod life;
mod mend;
mod story;
#[cfg(test)]
mod tests;

pub use life::Life;
use life::{Course, Happening};
pub use mend::mend;
pub use story::Step;

/// What holds around the course.
#[derive(Debug, Clone)]
pub struct Situation {
    /// The time.
    pub now: Timestamp,
    /// Whether some instance sends.
    pub is_led: bool,
    /// Why nothing is sent.
    pub pauses: Vec<Standstill>,
    /// What becomes of a course whose outcome is unknown.
    pub doubts: Doubts,
}

/// A pause of the whole account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Standstill {
    /// Why, in the words of the metric `paused`.
    pub reason: String,
    /// What was said.
    pub message: String,
}

/// What becomes of a course whose outcome is unknown, by the configuration.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Doubts {
    /// HubSpot is asked by the unique property, where the course was sent with its key in it; else it is held.
    LookedUp {
        /// That property.
        by: String,
    },
    /// It is held for a person.
    Held,
    /// It is sent again, and may be created twice; held once it was in doubt so often.
    SentAgain {
        /// So often.
        up_to: u32,
    },
}

/// Where a course stands, more closely than its status says.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// Pending, and goes with one of the next requests.
    Waiting,
    /// Pending, not before its time.
    BackingOff,
    /// Pending, and goes in smaller company, because it or one of its company was refused.
    Isolating,
    /// Pending, while nothing is sent.
    Paused,
    /// Claimed, perhaps sent.
    InFlight,
    /// In doubt, to be looked up.
    LookedUp,
    /// In doubt, held for a person.
    Held,
    /// In doubt, to be sent again all the same.
    SentAgain,
    /// In HubSpot.
    Synced,
    /// Refused for good.
    Failed,
}

/// A course's life, explained.
#[derive(Debug, Clone, Serialize)]
pub struct Explanation {
    /// Where it stands.
    pub state: State,
    /// The same in a sentence.
    pub summary: String,
    /// What happened, oldest first.
    pub happened: Vec<Step>,
    /// What happens next.
    pub next: String,
    /// When, where that can be told.
    pub next_at: Option<Timestamp>,
    /// What a person can do; nothing where nothing is needed.
    pub you_can: Vec<String>,
    /// What it is told from.
    #[serde(flatten)]
    pub life: Life,
}

/// Explains a life.
#[must_use]
pub fn explain(life: Life, around: &Situation) -> Explanation {
    let state = state(&life.course, around);
    let (next, next_at) = next(state, &life.course, around);
    Explanation {
        state,
        summary: summary(state, &life),
        happened: story::tell(&life),
        next,
        next_at,
        you_can: you_can(state, &life.course, around),
        life,
    }
}

fn state(course: &Course, around: &Situation) -> State {
    match course.status {
        Status::Pending if !around.pauses.is_empty() => State::Paused,
        Status::Pending if course.next_attempt_at > around.now => State::BackingOff,
        Status::Pending if course.is_suspect || course.batch_limit < MAX_COURSES => State::Isolating,
        Status::Pending => State::Waiting,
        Status::InFlight => State::InFlight,
        Status::Unconfirmed if course.carried_key => State::LookedUp,
        Status::Unconfirmed => match around.doubts {
            Doubts::LookedUp { .. } | Doubts::Held => State::Held,
            Doubts::SentAgain { up_to } if course.doubts >= up_to => State::Held,
            Doubts::SentAgain { .. } => State::SentAgain,
        },
        Status::Synced => State::Synced,
        Status::Failed => State::Failed,
    }
}

fn summary(state: State, life: &Life) -> String {
    let course = &life.course;
    let sent = match course.attempts {
        0 => "not sent yet".to_owned(),
        1 => "sent once".to_owned(),
        times => format!("sent {times} times"),
    };
    let said = course.error.as_ref().map(|error| error.message.as_str()).unwrap_or_default();
    match state {
        State::Waiting => format!("pending, {sent}: it waits for its turn"),
        State::BackingOff if course.is_suspect => {
            format!("pending, {sent}: it was set aside, and waits: {said}")
        }
        State::BackingOff => format!("pending, {sent}: it waits before it is sent again"),
        State::Isolating => format!(
            "pending, {sent}: it was set aside: its request failed without naming a course ({said}), so it goes behind the \
             others, in a batch of {} at most",
            course.batch_limit
        ),
        State::Paused => format!("pending, {sent}: nothing is sent at present"),
        State::InFlight => "in flight: it was handed to HubSpot and no answer is recorded yet".to_owned(),
        State::LookedUp => format!("unconfirmed, {sent}: {said}; it is looked up in HubSpot by its key"),
        State::Held => format!("unconfirmed, {sent}: {said}; it is held for a person"),
        State::SentAgain => format!("unconfirmed, {sent}: {said}"),
        State::Synced => {
            let id = course.hubspot_id.as_deref().unwrap_or_default();
            let warning = if said.is_empty() {
                String::new()
            } else {
                format!("; with a warning from HubSpot: {said}")
            };
            format!("synced as HubSpot's record {id}{}{warning}", provenance(life))
        }
        State::Failed => format!("failed, {sent}: {said}"),
    }
}

/// How a synced course's record came to be known.
fn provenance(life: &Life) -> &'static str {
    let last = life.events.last();
    match last.map(|event| event.event) {
        Some(Happening::Adopted) => ", which carried its key already",
        Some(Happening::Confirmed) => ", which was found by its key after its outcome had been in doubt",
        Some(Happening::Resolved) if last.is_some_and(|event| life.is_settled_by(event)) => {
            ", as a person said"
        }
        Some(
            Happening::Resolved
            | Happening::Failed
            | Happening::Deferred
            | Happening::Unconfirmed
            | Happening::Retried,
        )
        | None => "",
    }
}

fn next(state: State, course: &Course, around: &Situation) -> (String, Option<Timestamp>) {
    let nobody = "nobody sends at present: it goes once `course-sync run` runs";
    let later = Some(course.next_attempt_at);
    match state {
        State::Failed => ("nothing, until a person puts it back".to_owned(), None),
        State::Synced => ("nothing: it is done".to_owned(), None),
        State::Held => ("nothing, until a person says what became of it".to_owned(), None),
        State::InFlight if around.is_led => {
            ("its answer is recorded within seconds; if its sender died, it is put in doubt".to_owned(), None)
        }
        State::InFlight => {
            ("nobody sends at present: it is put in doubt once `course-sync run` runs".to_owned(), None)
        }
        State::Paused => (format!("it goes when the pause is over: {}", told(around)), None),
        State::LookedUp | State::SentAgain if !around.pauses.is_empty() => {
            (format!("nothing is asked or sent before the pause is over: {}", told(around)), None)
        }
        State::Waiting | State::BackingOff | State::Isolating | State::LookedUp | State::SentAgain
            if !around.is_led =>
        {
            (nobody.to_owned(), None)
        }
        State::Waiting => ("it goes with one of the next requests".to_owned(), later),
        State::BackingOff => ("it is sent again".to_owned(), later),
        State::Isolating => {
            (format!("it goes with one of the next requests of {} at most", course.batch_limit), later)
        }
        State::LookedUp => {
            ("HubSpot is asked: found, it is synced; not there, it is sent again".to_owned(), later)
        }
        State::SentAgain => ("it is sent again, and may then be there twice".to_owned(), later),
    }
}

fn told(around: &Situation) -> String {
    let pauses: Vec<_> = around.pauses.iter().map(|it| format!("{} ({})", it.reason, it.message)).collect();
    pauses.join("; ")
}

fn you_can(state: State, course: &Course, around: &Situation) -> Vec<String> {
    let key = quoted(&course.key);
    let is_by_operator = around.pauses.iter().any(|pause| pause.reason == "operator");
    let error = course.error.as_ref();
    match state {
        State::Failed => {
            let code = error.and_then(|error| error.code.as_deref());
            let property = error.and_then(|error| error.property.as_deref());
            vec![
                mend(error.map(|error| error.category), code, property),
                format!("then `course-sync retry --key {key}`"),
            ]
        }
        State::Held => vec![
            "look for it in HubSpot".to_owned(),
            format!("if it is there, `course-sync resolve {key} --hubspot-id ID`"),
            format!(
                "if it is certainly not there, `course-sync resolve {key} --not-created`, and it is sent again"
            ),
        ],
        State::LookedUp if error.is_some_and(|error| error.category == Category::Conflict) => {
            vec!["if HubSpot holds several records with its key, merge or archive all but one".to_owned()]
        }
        State::Paused if is_by_operator => vec!["`course-sync resume`, if the pause is over".to_owned()],
        State::Paused => vec!["see `course-sync status` for what stops the account".to_owned()],
        State::Waiting | State::BackingOff | State::Isolating | State::InFlight | State::LookedUp
            if !around.is_led =>
        {
            vec!["start `course-sync run`".to_owned()]
        }
        State::Waiting
        | State::BackingOff
        | State::Isolating
        | State::InFlight
        | State::LookedUp
        | State::SentAgain
        | State::Synced => Vec::new(),
    }
}

/// A key as a shell takes it.
fn quoted(key: &str) -> String {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || "_./:@%+=-".contains(c);
    if !key.is_empty() && key.chars().all(is_plain) {
        key.to_owned()
    } else {
        format!("'{}'", key.replace('\'', r"'\''"))
    }
}
