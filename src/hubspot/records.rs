//! Reads of single records for an operator's commands: does this record exist, and which records resemble this course?
//!
//! The daemon does not use them: HubSpot's search lags behind, so a record that it does not find may exist.

use jiff::Timestamp;
use serde::Serialize;

use crate::course::HubSpotId;
use crate::hubspot::api::request::{self, CANDIDATES, COURSE_NAME, is_searchable};
use crate::hubspot::api::response::{Body, CourseRecord, Exchange, NotSent, Unreadable};
use crate::hubspot::client::Client;

/// A record that looks like a course.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Candidate {
    /// The record's id.
    pub id: String,
    /// Its `hs_course_name`.
    pub name: Option<String>,
    /// When HubSpot created it.
    pub created_at: Option<String>,
    /// Its page in HubSpot.
    pub url: Option<String>,
}

/// Whether a record exists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Presence {
    /// A live record, with its `hs_course_name`.
    Live(Option<String>),
    /// Merged into the record with this id.
    Merged(String),
    /// No live record: it never existed, or it is in the recycle bin.
    Absent,
}

impl Client {
    /// Live records of exactly this name that were created since then, oldest first. HubSpot's search lags behind by
    /// seconds, so an empty result proves nothing.
    ///
    /// # Errors
    /// Why the search failed.
    pub async fn search(&self, name: &str, since: Timestamp) -> Result<Vec<Candidate>, String> {
        match self.post(self.urls.search(), request::search(name, since).to_string()).await {
            Exchange::Answered { meta, body: Body::Batch(reply) } if meta.is_success() => {
                let found = reply.results.into_iter().flatten().filter_map(candidate);
                let is_named =
                    |found: &Candidate| found.name.as_deref().is_some_and(|it| is_same_name(it, name));
                // Where the filter could not contain the name, the result holds records of other names too.
                Ok(found.filter(|found| is_searchable(name) || is_named(found)).take(CANDIDATES).collect())
            }
            other => Err(failure_message(&other)),
        }
    }

    /// Whether this record exists.
    ///
    /// # Errors
    /// Why the read failed.
    pub async fn presence(&self, id: &HubSpotId) -> Result<Presence, String> {
        let (exchange, bytes) = self.get(self.urls.record(id, COURSE_NAME)).await;
        let Exchange::Answered { meta, .. } = &exchange else { return Err(failure_message(&exchange)) };
        match (meta.status, serde_json::from_slice::<CourseRecord>(&bytes)) {
            (404, _) => Ok(Presence::Absent),
            (200, Ok(record)) if record.archived => Ok(Presence::Absent),
            // HubSpot answers a read of a merged record with the record that it was merged into.
            (200, Ok(record)) => match record.id {
                Some(returned) if returned == id.as_str() => {
                    Ok(Presence::Live(record.properties.get(COURSE_NAME).cloned().flatten()))
                }
                Some(other) => Ok(Presence::Merged(other)),
                None => Err("HubSpot's answer contains no record".to_owned()),
            },
            _ => Err(failure_message(&exchange)),
        }
    }
}

/// HubSpot's search ignores letter case and surrounding white space.
fn is_same_name(one: &str, other: &str) -> bool {
    one.trim().to_lowercase() == other.trim().to_lowercase()
}

fn candidate(record: CourseRecord) -> Option<Candidate> {
    let name = record.properties.get(COURSE_NAME).cloned().flatten();
    Some(Candidate { id: record.id?, name, created_at: record.created_at, url: record.url })
}

/// Why there is no usable answer.
fn failure_message(exchange: &Exchange) -> String {
    match exchange {
        Exchange::NotSent(NotSent::Unreachable(why) | NotSent::NoToken(why) | NotSent::Unbuildable(why)) => {
            why.clone()
        }
        Exchange::NoAnswer(_) => "HubSpot did not answer".to_owned(),
        Exchange::Answered { meta, body } => {
            let detail = match body {
                Body::Error(error) => error.message.as_deref().unwrap_or("no message"),
                Body::Batch(_) | Body::Unreadable(Unreadable::Empty | Unreadable::TooLong) => {
                    "nothing readable"
                }
                Body::Unreadable(Unreadable::Cut(why) | Unreadable::Foreign(why)) => why,
            };
            format!("HubSpot answered {}: {detail}", meta.status)
        }
    }
}
