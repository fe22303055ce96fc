//! HubSpot's answers to updates and archives, as a table.

use jiff::Timestamp;

use crate::course::{Batch, BatchId, ClaimedCourse, HeldRecord, HubSpotId, NotTaken, Verdict, Write};
use crate::hubspot::api::decode::decode_body;
use crate::hubspot::api::response::{Exchange, Meta, NoAnswer};
use crate::pipeline::batch::tests::claimed;
use crate::pipeline::interpret::interpret;
use crate::policy::signal::Signal;

/// Courses with the records 1, 2 and so on, each with a new `name` and a cleared `room`.
fn batch(write: Write, courses: i64) -> Batch {
    let course = |id: i64| {
        let patch = [("name".to_owned(), format!("N{id}")), ("room".to_owned(), String::new())].into();
        let record = HeldRecord { id: HubSpotId::parse(&id.to_string()).unwrap(), patch };
        ClaimedCourse { record: Some(record), ..claimed(id, &format!("K{id}"), "{}") }
    };
    Batch::of(write, BatchId(uuid::Uuid::nil()), (1..=courses).map(course).collect(), Some("key"))
}

fn answered(status: u16, body: &str) -> Exchange {
    Exchange::Answered { meta: Meta { status, ..Meta::default() }, body: decode_body(body.as_bytes()) }
}

fn describe(verdict: &Verdict) -> &'static str {
    match verdict {
        Verdict::Applied { warning: None, .. } => "applied",
        Verdict::Applied { warning: Some(_), .. } => "applied, warning",
        Verdict::LookUp(_) => "look up",
        Verdict::Refused(_) => "refused",
        Verdict::Unknown(_) => "unknown",
        Verdict::NotTaken(NotTaken::Later(_)) => "later",
        Verdict::NotTaken(NotTaken::Unnamed(_)) => "bisect",
        Verdict::NotTaken(NotTaken::Untouched) => "untouched",
        Verdict::NotTaken(NotTaken::TurnedAway(_)) => "turned away",
        Verdict::NotTaken(NotTaken::NotSent) => "not sent",
        Verdict::CreatedUnidentified(_) | Verdict::Exists { .. } => "of a create",
    }
}

/// A record of a result.
fn record(id: i64, name: &str, room: &str) -> String {
    format!(r#"{{"id":"{id}","properties":{{"name":"{name}","room":{room},"hs_object_id":"{id}"}}}}"#)
}

fn reply(results: &[String], errors: &str) -> String {
    format!(r#"{{"status":"COMPLETE","results":[{}],"errors":[{errors}],"numErrors":1}}"#, results.join(","))
}

const GONE: &str = r#"{"category":"OBJECT_NOT_FOUND","message":"may be deleted","context":{"ids":["2"]}}"#;
const INVALID: &str = r#"{"category":"VALIDATION_ERROR","message":"no","context":{"objectWriteTraceId":["00000000-0000-0000-0000-000000000000:1"]}}"#;

#[test]
fn each_answer_to_an_update() {
    let both = [record(2, "N2", "null"), record(1, "N1", "\"\"")];
    let first = [record(1, "N1", "\"\"")];
    for (what, status, body, expected) in [
        ("both, in any order, cleared as null or empty", 200, reply(&both, ""), ["applied", "applied"]),
        ("another success code", 201, reply(&both, ""), ["applied", "applied"]),
        ("a missing record, named by its id", 207, reply(&first, GONE), ["applied", "look up"]),
        ("a refusal, named by the trace id", 207, reply(&first, INVALID), ["applied", "refused"]),
        ("a record and an error", 207, reply(&both, INVALID), ["applied", "applied, warning"]),
        ("dropped without a word", 200, reply(&first, ""), ["applied", "look up"]),
        (
            "an error that names no course",
            207,
            reply(&first, r#"{"category":"VALIDATION_ERROR","message":"no"}"#),
            ["applied", "look up"],
        ),
        (
            "another value than the one that was sent",
            200,
            reply(&[record(1, "other", "null"), record(2, "N2", "null")], ""),
            ["look up", "applied"],
        ),
        (
            "the record into which the second was merged",
            200,
            reply(&[record(1, "N1", "null"), record(9, "N2", "null")], ""),
            ["applied", "look up"],
        ),
        (
            "a limit for one input",
            207,
            reply(&first, &INVALID.replace("VALIDATION_ERROR", "RATE_LIMITS")),
            ["applied", "later"],
        ),
        (
            "a server error of one input",
            207,
            reply(&first, &INVALID.replace("VALIDATION_ERROR", "INTERNAL_ERROR")),
            ["applied", "unknown"],
        ),
        ("not complete", 200, reply(&both, "").replace("COMPLETE", "PROCESSING"), ["unknown", "unknown"]),
        ("cut", 200, r#"{"status":"COMPLETE","results":[{"#.to_owned(), ["unknown", "unknown"]),
        (
            "refused as a whole, no course named",
            400,
            r#"{"category":"VALIDATION_ERROR","message":"no"}"#.to_owned(),
            ["bisect", "bisect"],
        ),
        (
            "refused as a whole, one named by its id",
            400,
            GONE.replace("OBJECT_NOT_FOUND", "VALIDATION_ERROR"),
            ["untouched", "refused"],
        ),
        ("a server error", 502, "<html>".to_owned(), ["unknown", "unknown"]),
        ("a limit", 429, r#"{"policyName":"TEN_SECONDLY_ROLLING"}"#.to_owned(), ["untouched", "untouched"]),
        (
            "forbidden",
            403,
            r#"{"category":"MISSING_SCOPES","message":"no"}"#.to_owned(),
            ["turned away", "turned away"],
        ),
    ] {
        let meaning = interpret(&batch(Write::Update, 2), &answered(status, &body), Timestamp::UNIX_EPOCH);
        let verdicts: Vec<_> = meaning.verdicts.iter().map(describe).collect();
        assert_eq!(verdicts, expected, "{what}");
        assert_eq!(
            meaning.signal == Signal::Passed,
            expected.iter().any(|it| it.starts_with("applied")),
            "{what}"
        );
    }
}

#[test]
fn a_refusal_of_a_single_update_concerns_its_course() {
    for (status, body, expected) in [
        (400, r#"{"category":"VALIDATION_ERROR","message":"no"}"#.to_owned(), "refused"),
        (400, r#"{"message":"Cannot set PropertyValueCoordinates{portalId=1, objectTypeId=0-410, propertyName=key, value=K} on 1. 2 already has that value."}"#.to_owned(), "refused"),
        (409, r#"{"category":"CONFLICT","message":"taken"}"#.to_owned(), "refused"),
        // Without a category. The same in a 207 proves nothing.
        (400, r#"{"status":"error","message":"no"}"#.to_owned(), "refused"),
        (422, r#"{"status":"error","message":"no"}"#.to_owned(), "refused"),
        (207, reply(&[], r#"{"status":"error","message":"no"}"#), "unknown"),
        (207, reply(&[], r#"{"category":"OBJECT_NOT_FOUND","message":"gone"}"#), "look up"),
    ] {
        let meaning = interpret(&batch(Write::Update, 1), &answered(status, &body), Timestamp::UNIX_EPOCH);
        assert_eq!(meaning.verdicts.iter().map(describe).collect::<Vec<_>>(), [expected], "{body}");
    }
}

#[test]
fn the_answer_to_an_archive_has_no_body() {
    for (status, body, expected) in
        [(204, "", "applied"), (200, "", "applied"), (502, "<html>", "unknown"), (200, "<html>", "unknown")]
    {
        let meaning = interpret(&batch(Write::Archive, 1), &answered(status, body), Timestamp::UNIX_EPOCH);
        assert_eq!(meaning.verdicts.iter().map(describe).collect::<Vec<_>>(), [expected], "{status}");
    }
    let lost =
        interpret(&batch(Write::Archive, 1), &Exchange::NoAnswer(NoAnswer::Timeout), Timestamp::UNIX_EPOCH);
    let Some(Verdict::Unknown(error)) = lost.verdicts.first() else { panic!("{lost:?}") };
    assert!(error.message.contains("archived this course"), "{}", error.message);
}
