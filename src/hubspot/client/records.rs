//! Single records, for a person's questions: is this one there, which ones look like that course?
//!
//! Not for the daemon: what search does not find may be there all the same, so it proves nothing.

use jiff::Timestamp;
use serde::Serialize;
use serde_json::json;

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
const CANDIDATES: u8 = 5;
/// What a person needs to see of a record.
const NAME: &str = "hs_course_name";

impl Client {
    /// Live records of exactly this name, created since then, oldest first. HubSpot's search lags behind by
    /// seconds, so none is no proof.
    ///
    /// # Errors
    /// What stood in the way, for a person.
    pub async fn search(&self, name: &str, since: Timestamp) -> Result<Vec<Candidate>, String> {
        let body = json!({
            "filterGroups": [{ "filters": [
                { "propertyName": NAME, "operator": "EQ", "value": name },
                { "propertyName": "hs_createdate", "operator": "GTE", "value": since.as_millisecond().to_string() },
            ] }],
            "sorts": [{ "propertyName": "hs_createdate", "direction": "ASCENDING" }],
            "properties": [NAME],
            "limit": CANDIDATES,
        });
        match self.post(self.urls.search(), body.to_string()).await {
            Exchange::Answered { meta, body: Body::Batch(reply) } if (200..300).contains(&meta.status) => {
                Ok(reply.results.into_iter().flatten().filter_map(candidate).collect())
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
