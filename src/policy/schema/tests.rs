//! What the account's properties say, as tables.

use serde_json::json;

use super::*;

fn listing(definitions: &serde_json::Value) -> Listing {
    serde_json::from_value::<Definitions>(json!({ "results": definitions })).unwrap().listing()
}

fn schema() -> Schema {
    let option = |value: &str| json!({ "label": value.to_uppercase(), "value": value });
    let ordinary = listing(&json!([
        { "name": "hs_course_name", "type": "string" },
        { "name": "capacity", "type": "number", "modificationMetadata": { "readOnlyValue": false } },
        { "name": "begins", "type": "date" },
        { "name": "at", "type": "datetime" },
        { "name": "format", "type": "enumeration", "options": [option("online"), option("on_campus")] },
        { "name": "owner", "type": "enumeration", "externalOptions": true, "options": [option("1")] },
        { "name": "hs_pipeline", "type": "enumeration", "options": [option("a-b")] },
        { "name": "bare", "type": "enumeration", "options": [] },
        { "name": "is_open", "type": "bool", "options": [option("true"), option("false")] },
        { "name": "hs_object_id", "type": "number", "modificationMetadata": { "readOnlyValue": true } },
        { "name": "seats_left", "type": "number", "calculated": true },
        { "name": "old", "type": "string", "archived": true },
        { "name": "strange", "type": 7, "options": "none" },
        { "name": "place", "type": "geo" },
    ]));
    Schema::of(
        ordinary,
        Some(listing(&json!([{ "name": "passport", "type": "number" }]))),
        Some(listing(&json!([]))),
    )
}

fn properties(value: serde_json::Value) -> Properties {
    Properties::parse(value).unwrap()
}

fn codes(schema: &Schema, course: serde_json::Value) -> Vec<&'static str> {
    schema.objections(&properties(course), Some("key")).iter().map(|objection| objection.code).collect()
}

#[test]
fn only_what_is_certain_is_refused() {
    let refused = [
        ("no_such", "x", "PROPERTY_DOESNT_EXIST"),
        ("no_such", "", "PROPERTY_DOESNT_EXIST"),
        ("old", "x", "PROPERTY_DOESNT_EXIST"),
        ("capacity", "many", "INVALID_INTEGER"),
        ("capacity", "50 USD", "INVALID_INTEGER"),
        ("begins", "soon", "INVALID_LONG"),
        ("at", "tomorrow", "INVALID_LONG"),
        ("format", "by post", "INVALID_OPTION"),
        ("format", "online;by post", "INVALID_OPTION"),
        ("is_open", "perhaps", "INVALID_OPTION"),
        ("hs_object_id", "7", "READ_ONLY_VALUE"),
        ("seats_left", "7", "READ_ONLY_VALUE"),
    ];
    for (name, value, code) in refused {
        assert_eq!(codes(&schema(), json!({ name: value })), [code], "{name} = {value:?}");
    }
    let passed = [
        ("key", "whatever carries the key"),
        ("hs_course_name", "x"),
        ("HS_Course_Name", "x"),
        ("passport", "not judged"),
        ("capacity", ""),
        ("capacity", "1e5"),
        ("capacity", "0x1F"),
        ("capacity", "1.000,5"),
        ("capacity", "NaN"),
        ("begins", "31.12.2026"),
        ("begins", "1772323200001"),
        ("at", "12 March 2026"),
        ("format", "online"),
        ("format", "Online"),
        ("format", ";online;on_campus;"),
        ("format", ""),
        ("owner", "anybody"),
        ("hs_pipeline", "another"),
        ("bare", "x"),
        ("is_open", "TRUE"),
        ("is_open", "yes"),
        ("is_open", "1"),
        ("hs_object_id", ""),
        ("strange", "x"),
        ("place", "x"),
    ];
    for (name, value) in passed {
        assert_eq!(codes(&schema(), json!({ name: value })), [""; 0], "{name} = {value:?}");
    }
    assert_eq!(codes(&schema(), json!({ "hs_course_name": "ä".repeat(65_536) })), [""; 0]);
    assert_eq!(codes(&schema(), json!({ "hs_course_name": "ä".repeat(65_537) })), ["INVALID_LENGTH"]);
}

#[test]
fn a_name_does_not_exist_only_where_every_list_was_read() {
    let part = Schema { is_whole: false, ..schema() };
    assert_eq!(codes(&part, json!({ "no_such": "x", "capacity": "many" })), ["INVALID_INTEGER"]);
    assert!(part.misses_any(&properties(json!({ "no_such": "x" })), None));
    assert!(!part.misses_any(&properties(json!({ "capacity": "many", "key": "K" })), Some("key")));
}

#[test]
fn a_refusal_reads_like_hubspots_and_says_that_it_was_not_asked() {
    let course = properties(json!({ "capasity": "3", "format": "onlin" }));
    let error = refusal(&schema().objections(&course, None), Timestamp::UNIX_EPOCH).unwrap();
    assert_eq!(
        (error.category, error.http_status, error.correlation_id.as_ref()),
        (Category::Validation, None, None)
    );
    assert_eq!(
        (error.code.as_deref(), error.property.as_deref()),
        (Some("PROPERTY_DOESNT_EXIST"), Some("capasity"))
    );
    assert_eq!(
        error.message,
        "Property \"capasity\" does not exist; did you mean \"capacity\"?; onlin was not one of the allowed options: \
         [on_campus, online]; did you mean \"online\"? (HubSpot was not asked: the account's properties say so)"
    );
    assert!(!error.was_asked());
    assert_eq!(refusal(&[], Timestamp::UNIX_EPOCH), None);
}
