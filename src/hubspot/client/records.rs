//! Single records, for a person's questions: is this one there, which ones look like that course?
//!
//! Not for the daemon: what search does not find may be there all the same, so it proves nothing.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::{Value, json};

use super::Client;
use crate::course::HubSpotId;
use crate::policy::answer::{Body, Exchange, NotSent, Record, Unreadable};

/// A record that looks like a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The record's identifier.
    pub id: String,
    /// Its `hs_course_name`.
    pub name: Option<String>,
    /// When it was created, as HubSpot says.
    pub created_at: Option<String>,
    /// Its page.
    pub url: Option<String>,
}

/// What HubSpot says of one identifier.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A live record; its `hs_course_name`.
    Live(Option<String>),
    /// Merged into another record, this one.
    Merged(String),
    /// No live record: never there, or in the recycle bin.
    Absent,
}

/// Candidates that are asked for.
const CANDIDATES: usize = 5;
/// Records read where the filter cannot name the course exactly. HubSpot's search gives 200 at most.
const READ_AT_MOST: usize = 200;
/// What a person needs to see of a record.
const NAME: &str = "hs_course_name";

impl Client {
    /// Live records of exactly this name, created since then, oldest first. HubSpot's search lags behind by seconds, so
    /// an empty result proves nothing.
    ///
    /// # Errors
    /// Why the search failed.
    pub async fn search(&self, name: &str, since: Timestamp) -> Result<Vec<Candidate>, String> {
        match self.post(self.urls.search(), search_body(name, since).to_string()).await {
            Exchange::Answered { meta, body: Body::Batch(reply) } if (200..300).contains(&meta.status) => {
                let found = reply.results.into_iter().flatten().filter_map(candidate);
                let is_named = |found: &Candidate| found.name.as_deref().is_some_and(|it| same(it, name));
                // Whatever the filter was: only this name is a candidate.
                Ok(found.filter(|found| !is_quoted(name) || is_named(found)).take(CANDIDATES).collect())
            }
            other => Err(trouble(&other)),
        }
    }

    /// Whether this record is there.
    ///
    /// # Errors
    /// What stood in the way, for a person.
    pub async fn presence(&self, id: &HubSpotId) -> Result<Presence, String> {
        let (exchange, bytes) = self.get(self.urls.record(id, NAME)).await;
        let Exchange::Answered { meta, .. } = &exchange else { return Err(trouble(&exchange)) };
        match (meta.status, serde_json::from_slice::<Record>(&bytes)) {
            (404, _) => Ok(Presence::Absent),
            (200, Ok(record)) if record.archived => Ok(Presence::Absent),
            (200, Ok(record)) => match record.id {
                Some(held) if held == id.as_str() => {
                    Ok(Presence::Live(record.properties.get(NAME).cloned().flatten()))
                }
                Some(other) => Ok(Presence::Merged(other)),
                None => Err("HubSpot's answer holds no record".to_owned()),
            },
            _ => Err(trouble(&exchange)),
        }
    }
}

/// Whether HubSpot's search refuses this text as the value of a filter: one with a quotation mark is answered 400.
fn is_quoted(text: &str) -> bool {
    text.contains('"')
}

/// HubSpot's search compares without regard to letter case and to white space around.
fn same(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

/// The body of a search. A name that the filter cannot hold is searched by its longest word, and one without any word by
/// the date alone; the name is compared afterwards.
fn search_body(name: &str, since: Timestamp) -> Value {
    let mut filters = vec![json!({
        "propertyName": "hs_createdate", "operator": "GTE", "value": since.as_millisecond().to_string(),
    })];
    if !is_quoted(name) {
        filters.insert(0, json!({ "propertyName": NAME, "operator": "EQ", "value": name }));
    } else if let Some(word) = longest_word(name) {
        filters.insert(0, json!({ "propertyName": NAME, "operator": "CONTAINS_TOKEN", "value": word }));
    }
    json!({
        "filterGroups": [{ "filters": filters }],
        "sorts": [{ "propertyName": "hs_createdate", "direction": "ASCENDING" }],
        "properties": [NAME],
        "limit": if is_quoted(name) { READ_AT_MOST } else { CANDIDATES },
    })
}

fn longest_word(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .max_by_key(|word| word.chars().count())
}

fn candidate(record: Record) -> Option<Candidate> {
    let name = record.properties.get(NAME).cloned().flatten();
    Some(Candidate { id: record.id?, name, created_at: record.created_at, url: record.url })
}

/// Why there is no answer that could be used.
fn trouble(exchange: &Exchange) -> String {
    match exchange {
        Exchange::NotSent(NotSent::Unreachable(why) | NotSent::NoToken(why) | NotSent::Unbuildable(why)) => {
            why.clone()
        }
        Exchange::NoAnswer(_) => "HubSpot did not answer".to_owned(),
        Exchange::Answered { meta, body } => {
            let said = match body {
                Body::Error(error) => error.message.as_deref().unwrap_or("no message"),
                Body::Batch(_) | Body::Unreadable(Unreadable::Empty | Unreadable::TooLong) => {
                    "nothing readable"
                }
                Body::Unreadable(Unreadable::Cut(why) | Unreadable::Foreign(why)) => why,
            };
            format!("HubSpot answered {}: {said}", meta.status)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_filter_holds_a_quotation_mark() {
        for (name, operator, value) in [
            ("Algebra 1", "EQ", "Algebra 1"),
            ("", "EQ", ""),
            ("Intro to \"C++\"", "CONTAINS_TOKEN", "Intro"),
            ("\"Übungen\" I", "CONTAINS_TOKEN", "Übungen"),
            ("\"\"", "GTE", "0"),
        ] {
            let body = search_body(name, Timestamp::UNIX_EPOCH);
            let filters = body["filterGroups"][0]["filters"].as_array().unwrap();
            assert_eq!((&filters[0]["operator"], &filters[0]["value"]), (&json!(operator), &json!(value)));
            let is_refused = |filter: &Value| filter["value"].as_str().unwrap().contains('"');
            assert!(!filters.iter().any(is_refused), "{body}");
        }
    }
}
