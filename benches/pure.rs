//! The pure parts, for one batch of a hundred courses: time and allocations. No I/O.
//!
//! `cargo bench --bench pure`

#![allow(clippy::unwrap_used)] // a bench may panic

use course_sync::course::{Associations, CourseKey, HubSpotId, Properties};
use course_sync::hubspot::{request, wire};
use course_sync::policy::answer::{Exchange, Meta};
use course_sync::policy::batch::{Batch, Claimed, RowId};
use course_sync::policy::interpret::interpret;
use divan::{AllocProfiler, Bencher};
use jiff::Timestamp;
use serde_json::{Value, json};
use uuid::Uuid;

#[global_allocator]
static ALLOCATOR: AllocProfiler = AllocProfiler::system();

const COURSES: usize = 100;
const UNIQUE: &str = "course_sync_key";

fn main() {
    divan::main();
}

/// A course of about 650 bytes, as in the measurements of the outbox.
fn properties(at: usize) -> Value {
    json!({
        "hs_course_name": format!("Course {at}"),
        "hs_course_description": "An introduction, with examples and exercises. ".repeat(11),
        "hs_course_id": format!("C-{at:06}"),
        "credits": 5,
        "price": 19.5,
        "online": at.is_multiple_of(2),
        "starts_on": "2027-02-01",
    })
}

fn claimed() -> Vec<Claimed> {
    let course = |at: usize| Claimed {
        id: RowId(i64::try_from(at).unwrap_or_default()),
        key: CourseKey::parse(format!("C-{at:06}")).unwrap(),
        properties: Properties::parse(properties(at)).unwrap(),
        associations: Associations::default(),
        attempts: 1,
        faults: 0,
        doubts: 0,
        doubt_property: None,
        is_blamed: false,
        created_at: Timestamp::UNIX_EPOCH,
    };
    (0..COURSES).map(course).collect()
}

fn batch() -> Batch {
    Batch::assemble(Uuid::now_v7(), claimed(), Some(UNIQUE), Timestamp::UNIX_EPOCH).0
}

/// HubSpot's answer to [`batch`], as it echoes what was sent.
fn answer(batch: &Batch, names_key: bool) -> Vec<u8> {
    let record = |(at, course): (usize, &Claimed)| {
        let mut shown: serde_json::Map<String, Value> =
            batch.sent(course).map(|(name, value)| (name.to_owned(), value.into_owned().into())).collect();
        if !names_key {
            shown.remove(UNIQUE);
        }
        let id = (at + 1).to_string();
        shown.insert("hs_object_id".into(), id.as_str().into());
        shown.insert("hs_createdate".into(), "2026-11-24T12:00:00.000Z".into());
        shown.insert("hs_lastmodifieddate".into(), "2026-11-24T12:00:00.000Z".into());
        json!({
            "id": id, "properties": shown, "createdAt": "2026-11-24T12:00:00.000Z",
            "updatedAt": "2026-11-24T12:00:00.000Z", "archived": false,
        })
    };
    let results: Vec<Value> = batch.courses().iter().enumerate().map(record).collect();
    serde_json::to_vec(&json!({
        "status": "COMPLETE", "results": results, "requestedAt": "2026-11-24T12:00:00.000Z",
        "startedAt": "2026-11-24T12:00:00.000Z", "completedAt": "2026-11-24T12:00:00.100Z",
    }))
    .unwrap()
}

fn exchange(batch: &Batch, names_key: bool) -> Exchange {
    let meta = Meta { status: 201, ..Meta::default() };
    Exchange::Answered { meta, body: wire::read_body(&answer(batch, names_key)) }
}

/// Rows become courses: what `outbox/rows.rs` does after the JSON was read.
#[divan::bench]
fn parse_properties(bencher: Bencher<'_, '_>) {
    let values: Vec<Value> = (0..COURSES).map(properties).collect();
    bencher
        .with_inputs(|| values.clone())
        .bench_values(|values| values.into_iter().map(Properties::parse).collect::<Vec<_>>());
}

#[divan::bench]
fn assemble(bencher: Bencher<'_, '_>) {
    bencher
        .with_inputs(claimed)
        .bench_values(|claimed| Batch::assemble(Uuid::nil(), claimed, Some(UNIQUE), Timestamp::UNIX_EPOCH));
}

#[divan::bench]
fn build_request(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.bench_local(|| request::create_body(&batch).unwrap().len());
}

#[divan::bench]
fn read_answer(bencher: Bencher<'_, '_>) {
    let bytes = answer(&batch(), true);
    bencher.bench_local(|| wire::read_body(&bytes));
}

/// Each record names its course by the unique property.
#[divan::bench]
fn interpret_by_key(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let exchange = exchange(&batch, true);
    assert!(interpret(&batch, &exchange, Timestamp::UNIX_EPOCH).surplus == 0);
    bencher.bench_local(|| interpret(&batch, &exchange, Timestamp::UNIX_EPOCH));
}

/// No record names its course, so that values tell them apart: every record against every course.
#[divan::bench]
fn interpret_by_values(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let exchange = exchange(&batch, false);
    bencher.bench_local(|| interpret(&batch, &exchange, Timestamp::UNIX_EPOCH));
}

#[divan::bench]
fn parse_id(bencher: Bencher<'_, '_>) {
    bencher.bench_local(|| HubSpotId::parse(divan::black_box("123456789012")));
}
