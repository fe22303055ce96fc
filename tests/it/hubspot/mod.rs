//! What HubSpot's answers mean, and what the client does at the socket.

mod answers;
mod certificates;
mod client;
mod conservation;
mod oauth;
mod preflight;
pub mod server;
mod twins;

use course_sync::course::{Associations, CourseKey, Properties};
use course_sync::hubspot::wire;
use course_sync::policy::answer::Exchange;
use course_sync::policy::batch::{Batch, Claimed, RowId};
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

/// The property that carries the key in these tests.
const UNIQUE: &str = "course_key";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn claimed(row: i64, key: &str, properties: Value) -> Claimed {
    Claimed {
        id: RowId(row),
        key: CourseKey::parse(key).unwrap(),
        properties: Properties::parse(properties).unwrap(),
        associations: Associations::default(),
        attempts: 1,
        faults: 0,
        doubts: 0,
        doubt_property: None,
        is_blamed: false,
        created_at: NOW,
    }
}

fn batch(claims: Vec<Claimed>, unique_property: Option<&str>) -> Batch {
    let id = Uuid::from_u128(0x0192_7d9e_0000_7000_8000_0000_0000_0001);
    let (batch, unfit) = Batch::assemble(id, claims, unique_property, NOW);
    assert!(unfit.is_empty(), "{unfit:?}");
    batch
}

/// An answer as it comes off the wire. Headers as lines of `Name: value`.
fn answer(status: u16, headers: &str, body: &[u8]) -> Exchange {
    let mut map = HeaderMap::new();
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        map.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    Exchange::Answered { meta: wire::read_meta(status, &map), body: wire::read_body(body) }
}
