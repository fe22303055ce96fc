//! What an error shows, by field and by API version.

use serde_json::json;

use super::*;

fn error(body: Value) -> ErrorReply {
    serde_json::from_value(body).unwrap()
}

#[test]
fn scopes_are_read_from_every_field() {
    for (body, expected) in [
        (json!({"context": {"requiredGranularScopes": ["a", "b"]}}), vec!["a", "b"]),
        (json!({"context": {"requiredScopes": "a"}}), vec!["a"]),
        (json!({"context": {"missingScopes": ["a"], "requiredScopes": ["b", "a"]}}), vec!["b", "a"]),
        (json!({"errors": [{"context": {"requiredGranularScopes": ["a"]}}]}), vec!["a"]),
        (json!({"errors": [{"context": {"requiredScopes": ["a"]}}, null, 7]}), vec!["a"]),
        (json!({"errors": [{"context": {"missingScopes": "a"}}], "missingScopes": ["b"]}), vec!["a", "b"]),
        (json!({"requiredScopes": ["a", 1, null]}), vec!["a"]),
        (json!({"requiredGranularScopes": " a "}), vec!["a"]),
        (json!({"missingScopes": {"a": 1}}), vec![]),
        // Each once, in the order of the details, the context and the fields.
        (
            json!({
                "errors": [{"context": {"requiredGranularScopes": ["a", "b", "a"]}}],
                "context": {"requiredScopes": ["b", "c"]},
                "missingScopes": ["c", "d", ""],
            }),
            vec!["a", "b", "c", "d"],
        ),
        (json!({"message": "requiredScopes: a"}), vec![]),
    ] {
        assert_eq!(error(body.clone()).required_scopes(), expected, "{body}");
    }
}

/// A message that contains the faults as JSON.
fn embedded(list: &Value) -> String {
    format!("Property values were not valid: {list}")
}

fn by_code(code: &str, property: &str) -> (Option<String>, Option<String>) {
    (Some(code.to_owned()), Some(property.to_owned()))
}

#[test]
fn property_faults_are_read_from_every_form() {
    let date = json!({"isValid": false, "message": "2026-13-01 was not a valid date", "error": "INVALID_DATE",
        "name": "start_date"});
    let fine = json!({"isValid": true, "name": "hs_course_name"});
    for (body, expected) in [
        (json!({"validationResults": [date]}), vec![by_code("INVALID_DATE", "start_date")]),
        (json!({"validationResults": [fine, date, "?"]}), vec![by_code("INVALID_DATE", "start_date")]),
        (json!({"validationResults": {"isValid": false}}), vec![]),
        (json!({"message": embedded(&json!([date]))}), vec![by_code("INVALID_DATE", "start_date")]),
        (
            json!({"message": format!("{} And more.", embedded(&json!([fine, date])))}),
            vec![by_code("INVALID_DATE", "start_date")],
        ),
        // `errors[]` first, because it is the current shape.
        (
            json!({"validationResults": [date],
                "errors": [{"code": "INVALID_LONG", "context": {"propertyName": ["n"]}}]}),
            vec![by_code("INVALID_LONG", "n")],
        ),
        (
            json!({"validationResults": [date], "errors": [{"message": "see validationResults"}]}),
            vec![by_code("INVALID_DATE", "start_date")],
        ),
        (json!({"context": {"properties": ["a"]}}), vec![(None, Some("a".to_owned()))]),
        // A course's own words, brackets included.
        (json!({"message": format!("{} was not one of the allowed options: [a]", json!([date]))}), vec![]),
    ] {
        let faults: Vec<_> =
            error(body.clone()).property_faults().into_iter().map(|it| (it.code, it.property)).collect();
        assert_eq!(faults, expected, "{body}");
    }
}

fn sentence(value: &str) -> String {
    format!(
        "Cannot set PropertyValueCoordinates{{portalId=44956899, objectTypeId=ObjectTypeId{{legacyObjectType=COURSE}}, \
         propertyName=course_key, value={value}}} on 552148386511. 552239500007 already has that value."
    )
}

#[test]
fn a_conflict_is_recognised_by_code_and_structure() {
    for code in ["CONFLICT", "OBJECT_ALREADY_EXISTS", "UNIQUE_VALUE_CONFLICT", "CONFLICTING_UNIQUE_VALUE"] {
        let embedded = json!([{"isValid": false, "error": code, "name": "course_key"}]);
        for body in [
            json!({"category": code}),
            json!({"errorType": code}),
            json!({"subCategory": code}),
            json!({"subCategory": format!("Objects.{code}")}),
            json!({"category": "VALIDATION_ERROR", "errors": [{"code": code}]}),
            json!({"errors": [{"code": "INVALID_LONG"}, {"code": code}]}),
            json!({"errors": [{"subCategory": code}]}),
            json!({"message": format!("Property values were not valid: {embedded}")}),
            json!({"validationResults": embedded}),
        ] {
            assert!(error(body.clone()).is_conflict(), "{body}");
        }
    }
    for body in [
        json!({"message": "taken", "context": {"existingId": ["1"]}}),
        json!({"errors": [{"message": "taken", "context": {"existingId": "1"}}]}),
    ] {
        assert!(error(body.clone()).is_conflict(), "{body}");
    }
    for body in [
        json!({"category": "VALIDATION_ERROR"}),
        json!({"category": "CONFLICTED"}),
        json!({"subCategory": {"CONFLICT": 1}}),
        json!({"subCategory": "CONFLICT.OTHER"}),
        json!({"message": "CONFLICT"}),
        json!({"context": {"ids": ["1"]}}),
        json!({}),
    ] {
        assert!(!error(body.clone()).is_conflict(), "{body}");
    }
}

#[test]
fn a_conflict_is_recognised_by_text_only_in_complete_sentences() {
    for message in [
        &sentence("A-1"),
        "Contact already exists",
        "Course already exists. Existing ID: 171591000198",
        "Course already exists with course_key A-1",
    ] {
        assert!(error(json!({"message": message})).is_conflict(), "{message}");
        assert!(
            error(json!({"message": message, "category": "VALIDATION_ERROR"})).is_conflict(),
            "{message}"
        );
        // A fault that is only named has no code.
        let named = json!({"message": message, "context": {"propertyName": ["course_key"]}});
        assert!(error(named).is_conflict(), "{message}");
        // Another fault has one: the text may quote anything.
        let coded = json!({"message": message, "errors": [{"code": "INVALID_OPTION"}]});
        assert!(!error(coded).is_conflict(), "{message}");
        let older =
            json!({"message": message, "validationResults": [{"error": "INVALID_DATE", "name": "x"}]});
        assert!(!error(older).is_conflict(), "{message}");
    }
    for message in [
        "Algebra already exists was not one of the allowed options: [a, b]",
        "Algebra already exists. was not one of the allowed options: [a, b]",
        "Algebra already exists. Existing ID: 5 was not one of the allowed options: [a, b]",
        "The course already exists was not one of the allowed options: [a, b]",
        "It already has that value. was not a valid long.",
        "5 already has that value.",
        "A property named 'x' already exists.",
        " already exists",
        "already exists",
        "Contact already existsential",
        &format!("{} was not one of the allowed options: [a, b]", sentence("A-1")),
        &format!("x {}", sentence("A-1")),
        &format!(
            "Property values were not valid: [{{\"error\":\"INVALID_OPTION\",\"message\":{:?}}}]",
            sentence("A")
        ),
    ] {
        assert!(!error(json!({"message": message})).is_conflict(), "{message}");
    }
}

#[test]
fn a_taken_value_is_read_completely() {
    for value in [
        "A-1",
        "",
        " a ",
        "a}b",
        "a\"b\\",
        "x} on 1. 2 already has that value.",
        "x} on 1. 2 already has that value",
        "y, value=z",
        "propertyName=other, value=z",
        "ü\n\u{2028}",
    ] {
        let message = sentence(value);
        assert_eq!(
            error(json!({"message": message})).taken_value(),
            Some(("course_key", value)),
            "{message}"
        );
        let detail = json!({"message": "not valid", "errors": [{"message": message}]});
        assert_eq!(error(detail).taken_value(), Some(("course_key", value)), "{message}");
        let unended = message.trim_end_matches('.');
        assert_eq!(
            error(json!({"message": unended})).taken_value(),
            Some(("course_key", value)),
            "{unended}"
        );
    }
    let short = "Cannot set PropertyValueCoordinates{propertyName=course_key, value=b-2} on 1. 2 already has that value.";
    assert_eq!(error(json!({"message": short})).taken_value(), Some(("course_key", "b-2")));
    for message in [
        "Cannot set PropertyValueCoordinates{propertyName=course_key, value=A}",
        "Cannot set PropertyValueCoordinates{propertyName=course_key, value=A} on . 2 already has that value.",
        "Cannot set PropertyValueCoordinates{propertyName=course_key, value=A} on 1. x already has that value.",
        "Cannot set PropertyValueCoordinates{propertyName=course_key} on 1. 2 already has that value.",
        "Cannot set PropertyValueCoordinates{value=A} on 1. 2 already has that value.",
        "2 already has that value.",
        "",
    ] {
        assert_eq!(error(json!({"message": message})).taken_value(), None, "{message}");
    }
}

#[test]
fn the_region_of_the_account_is_read() {
    let body = json!({"status": "error", "message": "Hub 12345 is unknown to this Hublet, but it appears to exist in Hublet eu1",
        "correctHublet": "eu1"});
    assert_eq!(error(body).correct_hublet.as_deref(), Some("eu1"));
    for body in [json!({}), json!({"correctHublet": 1}), json!({"correctHublet": ["eu1"]})] {
        assert_eq!(error(body).correct_hublet, None);
    }
}
