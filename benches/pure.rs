//! Benchmark of the pure functions: time and allocations for a batch of 100 courses. No I/O.
//!
//! `cargo bench --bench pure`

#![allow(clippy::unwrap_used)] // a bench may panic

use course_sync::course::{
    Associations, Batch, BatchId, ClaimedCourse, CourseKey, HubSpotId, Properties, RowId, Write,
};
use course_sync::hubspot::api::response::{Exchange, Meta};
use course_sync::hubspot::api::{decode, request};
use course_sync::pipeline::batch;
use course_sync::pipeline::interpret::interpret;
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

/// The properties of a course of about 650 bytes.
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

fn claimed() -> Vec<ClaimedCourse> {
    let course = |at: usize| ClaimedCourse {
        id: RowId(i64::try_from(at).unwrap_or_default()),
        key: CourseKey::parse(format!("C-{at:06}")).unwrap(),
        properties: Properties::parse(properties(at)).unwrap(),
        associations: Associations::default(),
        attempts: 1,
        faults: 0,
        doubts: 0,
        doubt_property: None,
        is_blamed: false,
        requested_at: Timestamp::UNIX_EPOCH,
        is_doubt_recent: false,
        record: None,
    };
    (0..COURSES).map(course).collect()
}

fn batch() -> Batch {
    batch::assemble(Write::Create, BatchId(Uuid::now_v7()), claimed(), Some(UNIQUE), Timestamp::UNIX_EPOCH).0
}

/// HubSpot's response to [`batch`].
fn answer(batch: &Batch, names_key: bool) -> Vec<u8> {
    let record = |(at, course): (usize, &ClaimedCourse)| {
        let mut shown: serde_json::Map<String, Value> = batch
            .sent_properties(course)
            .map(|(name, value)| (name.to_owned(), value.into_owned().into()))
            .collect();
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
    Exchange::Answered { meta, body: decode::decode_body(&answer(batch, names_key)) }
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
    bencher.with_inputs(claimed).bench_values(|claimed| {
        batch::assemble(Write::Create, BatchId(Uuid::nil()), claimed, Some(UNIQUE), Timestamp::UNIX_EPOCH)
    });
}

#[divan::bench]
fn build_request(bencher: Bencher<'_, '_>) {
    let batch = batch();
    bencher.bench_local(|| request::encode_create(&batch).unwrap().len());
}

#[divan::bench]
fn read_answer(bencher: Bencher<'_, '_>) {
    let bytes = answer(&batch(), true);
    bencher.bench_local(|| decode::decode_body(&bytes));
}

/// Each record contains the unique property of its course.
#[divan::bench]
fn interpret_by_key(bencher: Bencher<'_, '_>) {
    let batch = batch();
    let exchange = exchange(&batch, true);
    assert!(interpret(&batch, &exchange, Timestamp::UNIX_EPOCH).surplus == 0);
    bencher.bench_local(|| interpret(&batch, &exchange, Timestamp::UNIX_EPOCH));
}

/// No record contains the unique property, so every record is compared with every course.
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
