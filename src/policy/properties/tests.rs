//! Which courses the account's property definitions refuse, as tables.

use serde_json::json;

use super::*;
use crate::hubspot::api::properties::PropertiesResponse;

fn property_list(definitions: &serde_json::Value) -> PropertyList {
    serde_json::from_value::<PropertiesResponse>(json!({ "results": definitions })).unwrap().into_list()
}

fn option(value: &str) -> serde_json::Value {
    json!({ "label": value.to_uppercase(), "value": value })
}

fn account_properties() -> AccountProperties {
    let ordinary = property_list(&json!([
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
    AccountProperties::new(
        ordinary,
        Some(property_list(&json!([{ "name": "passport", "type": "number" }]))),
        Some(property_list(&json!([]))),
    )
}

fn parsed(value: serde_json::Value) -> Properties {
    Properties::parse(value).unwrap()
}

fn codes(properties: &AccountProperties, course: serde_json::Value) -> Vec<&'static str> {
    properties.problems(&parsed(course), Some("key")).iter().map(|problem| problem.code).collect()
}

#[test]
fn only_certain_problems_are_reported() {
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
        assert_eq!(codes(&account_properties(), json!({ name: value })), [code], "{name} = {value:?}");
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
        assert_eq!(codes(&account_properties(), json!({ name: value })), [""; 0], "{name} = {value:?}");
    }
    assert_eq!(codes(&account_properties(), json!({ "hs_course_name": "ä".repeat(65_536) })), [""; 0]);
    assert_eq!(
        codes(&account_properties(), json!({ "hs_course_name": "ä".repeat(65_537) })),
        ["INVALID_LENGTH"]
    );
}

#[test]
fn an_unknown_name_is_a_problem_only_if_every_list_was_read() {
    let incomplete = AccountProperties { is_complete: false, ..account_properties() };
    assert_eq!(codes(&incomplete, json!({ "no_such": "x", "capacity": "many" })), ["INVALID_INTEGER"]);
    assert!(incomplete.needs_sensitive_lists(&parsed(json!({ "no_such": "x" })), None));
    assert!(
        !incomplete.needs_sensitive_lists(&parsed(json!({ "capacity": "many", "key": "K" })), Some("key"))
    );
}

#[test]
fn a_refusal_has_hubspots_codes_and_no_http_status() {
    let course = parsed(json!({ "capasity": "3", "format": "onlin" }));
    let error = refusal(&account_properties().problems(&course, None), Timestamp::UNIX_EPOCH).unwrap();
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
         [on_campus, online]; did you mean \"online\"? (checked against the account's property definitions; not sent to HubSpot)"
    );
    assert!(!error.was_sent());
    assert_eq!(refusal(&[], Timestamp::UNIX_EPOCH), None);
}
