//! Tests of the HTTP edge: what HubSpot's responses mean, and what the client does at the socket.

mod certificates;
mod client;
mod conservation;
mod oauth;
mod preflight;
mod responses;
pub mod server;
mod similar_courses;

use course_sync::course::{Associations, Batch, BatchId, ClaimedCourse, CourseKey, Properties, RowId, Write};
use course_sync::hubspot::api::decode;
use course_sync::hubspot::api::response::Exchange;
use course_sync::pipeline::batch::assemble;
use jiff::Timestamp;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use serde_json::Value;
use uuid::Uuid;

/// The unique property in these tests.
const UNIQUE_PROPERTY: &str = "course_key";
const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn claimed(row: i64, key: &str, properties: Value) -> ClaimedCourse {
    ClaimedCourse {
        id: RowId(row),
        key: CourseKey::parse(key).unwrap(),
        properties: Properties::parse(properties).unwrap(),
        associations: Associations::default(),
        attempts: 1,
        faults: 0,
        doubts: 0,
        doubt_property: None,
        is_blamed: false,
        requested_at: NOW,
        is_doubt_recent: false,
        record: None,
    }
}

fn batch(claims: Vec<ClaimedCourse>, unique_property: Option<&str>) -> Batch {
    let id = BatchId(Uuid::from_u128(0x0192_7d9e_0000_7000_8000_0000_0000_0001));
    let (batch, unfit) = assemble(Write::Create, id, claims, unique_property, NOW);
    assert!(unfit.is_empty(), "{unfit:?}");
    batch
}

/// A response as decoded from the wire. `headers` has one `Name: value` per line.
fn response(status: u16, headers: &str, body: &[u8]) -> Exchange {
    let mut map = HeaderMap::new();
    for line in headers.lines() {
        let (name, value) = line.split_once(": ").unwrap();
        map.append(name.parse::<HeaderName>().unwrap(), value.parse::<HeaderValue>().unwrap());
    }
    Exchange::Answered {
        meta: decode::decode_meta(status, |name| map.get(name)?.to_str().ok()),
        body: decode::decode_body(body),
    }
}
