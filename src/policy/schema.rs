//! What the account's properties say of a course before HubSpot is asked: only what HubSpot certainly
//! refuses is refused here, in its own words as far as they are known.
//!
//! Wherever HubSpot's rules are not known for certain a value is passed on: HubSpot itself decides then.
//! A refusal from here carries no HTTP status and no correlation id, because HubSpot was not asked.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;

use super::address::wrong_address;
use super::answer::{Body, Exchange, Meta, NoAnswer, NotSent};
use super::interpret::RequestOutcome;
use super::pause::{Reason, Trouble};
use super::reconcile::refused_read;
use crate::course::{Category, CourseError, Properties, clip};

mod listing;
mod values;

pub use listing::{Kind, Listing, Property, Sensitivity};

/// The property that every course has.
const NAME: &str = "hs_course_name";
/// HubSpot's code for a property that is not there.
const DOES_NOT_EXIST: &str = CourseError::PROPERTY_MISSING;
/// HubSpot's code for a value that is missing.
const REQUIRED: &str = "MISSING_REQUIRED_PROPERTY";
/// HubSpot's code for a property that nobody may set.
const READ_ONLY: &str = "READ_ONLY_VALUE";

/// What every refusal from here says at its end.
const NOT_ASKED: &str = "HubSpot was not asked: the account's properties say so";

/// The account's properties of courses, as far as they were read.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Schema {
    properties: BTreeMap<String, Property>,
    /// The names in lists whose values are not judged.
    sensitive: BTreeSet<String>,
    /// Every list was read, so that a name in none of them does not exist.
    is_whole: bool,
}

/// What speaks against a course.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Objection {
    /// The property.
    pub property: String,
    /// HubSpot's code.
    pub code: &'static str,
    /// What is wrong, in HubSpot's words where they are known.
    pub message: String,
}

impl Schema {
    /// The schema of an account, from its lists: the ordinary one, and those of sensitive properties where
    /// they were read.
    #[must_use]
    pub fn of(ordinary: Listing, sensitive: Option<Listing>, highly: Option<Listing>) -> Self {
        let all = [Some(&ordinary), sensitive.as_ref(), highly.as_ref()];
        // A list without the one property that every course has is not the list.
        let is_whole = ordinary.properties.contains_key(NAME)
            && all.iter().all(|listing| listing.is_some_and(|listing| listing.is_whole));
        let names = |listing: Listing| listing.properties.into_keys();
        let sensitive = [sensitive, highly].into_iter().flatten().flat_map(names).collect();
        Self { properties: ordinary.properties, sensitive, is_whole }
    }

    /// The property of this name, unless it is a sensitive one.
    #[must_use]
    pub fn property(&self, name: &str) -> Option<&Property> {
        self.properties.get(name)
    }

    /// Whether a course sends a property that is not in the ordinary list, so that the others count.
    #[must_use]
    pub fn misses_any(&self, course: &Properties, unique: Option<&str>) -> bool {
        sent(course, unique).any(|(name, _)| self.is_unlisted(name))
    }

    /// Everything that speaks against a course. `unique` carries its key and is the account's affair, not the
    /// course's.
    #[must_use]
    pub fn objections(&self, course: &Properties, unique: Option<&str>) -> Vec<Objection> {
        sent(course, unique).filter_map(|(name, value)| self.objection(name, &value)).collect()
    }

    /// Everything that speaks against creating a course: as above, and what HubSpot requires of every course.
    #[must_use]
    pub fn faults(&self, course: &Properties, unique: Option<&str>) -> Vec<Objection> {
        let mut faults = self.objections(course, unique);
        faults.extend(missing(course, unique));
        faults
    }

    fn objection(&self, name: &str, value: &str) -> Option<Objection> {
        let object = |code, message| Some(Objection { property: name.to_owned(), code, message });
        let Some(property) = self.properties.get(name) else {
            let hint = || self.nearest(name).map(|near| format!("; did you mean {near:?}?"));
            let message = || format!("Property {name:?} does not exist{}", hint().unwrap_or_default());
            return if self.is_whole && self.is_unlisted(name) {
                object(DOES_NOT_EXIST, message())
            } else {
                None
            };
        };
        // An empty value asks for nothing.
        if value.is_empty() {
            return None;
        }
        if property.is_read_only {
            return object(READ_ONLY, format!("{name:?} is a read only property; its value cannot be set"));
        }
        let (code, message) = values::objection(name, property, value)?;
        object(code, message)
    }

    /// Whether no list holds this name, in whatever letter case.
    fn is_unlisted(&self, name: &str) -> bool {
        let same = |listed: &String| listed.eq_ignore_ascii_case(name.trim());
        !self.properties.contains_key(name)
            && !self.properties.keys().any(same)
            && !self.sensitive.iter().any(same)
    }

    fn nearest(&self, name: &str) -> Option<&str> {
        let wanted = name.to_lowercase();
        nearest(
            &wanted,
            self.properties.iter().filter(|(_, it)| !it.is_read_only).map(|(name, _)| name.as_str()),
        )
    }
}

/// The property that HubSpot requires of every course, where a course leaves it out.
#[must_use]
pub fn missing(course: &Properties, unique: Option<&str>) -> Option<Objection> {
    let has_name = unique == Some(NAME) || course.get(NAME).is_some_and(|name| !name.trim().is_empty());
    let message = "HubSpot requires hs_course_name of every course".to_owned();
    (!has_name).then(|| Objection { property: NAME.to_owned(), code: REQUIRED, message })
}

/// What a course sends, but for its key.
fn sent<'a>(
    course: &'a Properties,
    unique: Option<&'a str>,
) -> impl Iterator<Item = (&'a str, Cow<'a, str>)> {
    course.sent().filter(move |(name, _)| Some(*name) != unique)
}

/// How alike two words must be for one to be taken for the other mistyped.
const ALIKE: f64 = 0.85;

/// The word most like `wanted`, if any is.
fn nearest<'a>(wanted: &str, words: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    words
        .map(|word| (strsim::jaro_winkler(wanted, &word.to_lowercase()), word))
        .filter(|(likeness, _)| *likeness >= ALIKE)
        .max_by(|(one, _), (other, _)| one.total_cmp(other))
        .map(|(_, word)| word)
}

/// The error of a course that HubSpot would refuse, as HubSpot would put it; `None` where nothing speaks
/// against it.
#[must_use]
pub fn refusal(objections: &[Objection], now: Timestamp) -> Option<CourseError> {
    let first = objections.first()?;
    let said: Vec<&str> = objections.iter().map(|objection| objection.message.as_str()).collect();
    Some(CourseError {
        code: Some(first.code.to_owned()),
        property: Some(clip(&first.property, 255)),
        ..CourseError::new(Category::Validation, &format!("{} ({NOT_ASKED})", said.join("; ")), now)
    })
}

/// What the end of a question about the account means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ending<T> {
    /// What was asked for.
    Told(T),
    /// This token may not ask: the message, and the scopes that HubSpot names.
    Denied(String, Vec<String>),
    /// HubSpot does not take the question, in its own words.
    Refused(String),
    /// The whole account has to stand still: its token, or its quota.
    Stop(Trouble),
    /// No answer, or none that can be used.
    Away(String),
}

impl<T> Ending<T> {
    /// The same with what was told turned into something else.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> Ending<U> {
        match self {
            Self::Told(told) => Ending::Told(into(told)),
            Self::Denied(why, scopes) => Ending::Denied(why, scopes),
            Self::Refused(why) => Ending::Refused(why),
            Self::Stop(trouble) => Ending::Stop(trouble),
            Self::Away(why) => Ending::Away(why),
        }
    }
}

/// A question about the account, asked: what it says, and how the request ended.
#[derive(Debug, Clone)]
pub struct Asked<T> {
    /// What was asked for; only in an answer that was fine.
    pub told: Option<T>,
    /// How the request ended.
    pub exchange: Exchange,
}

impl<T> Asked<T> {
    /// What it means.
    #[must_use]
    pub fn ending(self) -> Ending<T> {
        interpret(self.told, &self.exchange).0
    }
}

/// What the end of a question means, and its outcome for the metrics.
#[must_use]
pub fn interpret<T>(told: Option<T>, exchange: &Exchange) -> (Ending<T>, RequestOutcome) {
    match (told, exchange) {
        (Some(told), _) => (Ending::Told(told), RequestOutcome::Ok),
        (None, Exchange::Answered { meta, body }) => interpret_refusal(meta, body),
        (None, Exchange::NotSent(NotSent::NoToken(why))) => {
            let trouble = Trouble { reason: Reason::Token, retry_after: None, message: why.clone() };
            (Ending::Stop(trouble), RequestOutcome::Unauthorized)
        }
        (None, Exchange::NotSent(NotSent::Unreachable(why) | NotSent::Unbuildable(why))) => {
            (Ending::Away(why.clone()), RequestOutcome::Unreachable)
        }
        (None, Exchange::NoAnswer(NoAnswer::Timeout)) => {
            (Ending::Away("HubSpot did not answer in time".to_owned()), RequestOutcome::Timeout)
        }
        (None, Exchange::NoAnswer(NoAnswer::Lost(_) | NoAnswer::Abandoned)) => {
            (Ending::Away("the connection was lost before an answer".to_owned()), RequestOutcome::Unreachable)
        }
    }
}

/// An answer without what was asked for.
fn interpret_refusal<T>(meta: &Meta, body: &Body) -> (Ending<T>, RequestOutcome) {
    if let Some(wrong) = wrong_address(meta, body) {
        let message = wrong.to_string();
        let trouble = Trouble { reason: Reason::ObjectType, retry_after: None, message };
        return (Ending::Stop(trouble), RequestOutcome::Rejected);
    }
    let (outcome, trouble) = refused_read(meta, body);
    let error = match body {
        Body::Error(error) => Some(error),
        Body::Batch(_) | Body::Unreadable(_) => None,
    };
    let text = error.and_then(|error| error.message.as_deref()).unwrap_or("no readable answer");
    let message = clip(&format!("HubSpot answered {}: {text}", meta.status), CourseError::MAX_MESSAGE_BYTES);
    let ending = match trouble.reason {
        _ if meta.status == 403 => {
            let scopes = error.map(|error| error.required_scopes()).unwrap_or_default();
            Ending::Denied(message, scopes.into_iter().map(str::to_owned).collect())
        }
        Reason::Token | Reason::IntervalQuota | Reason::DailyQuota => {
            Ending::Stop(Trouble { message, ..trouble })
        }
        _ if outcome == RequestOutcome::Rejected => Ending::Refused(message),
        _ => Ending::Away(message),
    };
    (ending, outcome)
}

/// A list of property definitions as HubSpot sends it: `{"results":[…]}`.
#[derive(Debug, Deserialize)]
pub struct Definitions {
    results: Vec<serde_json::Value>,
    paging: Option<serde_json::Value>,
}

impl Definitions {
    /// The live ones that can be read.
    #[must_use]
    pub fn listing(self) -> Listing {
        let has_more = self.paging.is_some_and(|paging| paging.get("next").is_some());
        Listing { is_whole: !has_more, ..Listing::of(self.results) }
    }
}

#[cfg(test)]
mod tests;
