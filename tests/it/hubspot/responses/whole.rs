//! Responses that refuse the whole batch.

use course_sync::pipeline::interpret::interpret;
use serde_json::json;

use super::Of::{Keyed, Plain};
use super::{NOW, Row, UNIQUE_PROPERTY, batch, check, claimed, describe_verdict, response};

#[test]
fn a_refusal_that_names_a_property_is_matched_to_its_courses() {
    const NOT_THERE: &str = r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"missing\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"missing\"}]","correlationId":"8a3f6c3a-0000","errors":[{"message":"Property \"missing\" does not exist","code":"PROPERTY_DOESNT_EXIST","context":{"propertyName":["missing"]}}],"category":"VALIDATION_ERROR"}"#;
    const INVALID_LONG: &str = r#"{"status":"error","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"asd000 was not a valid long.\",\"error\":\"INVALID_LONG\",\"name\":\"closedate\"}]","category":"VALIDATION_ERROR"}"#;
    check(&[
        Row {
            name: "PROPERTY_DOESNT_EXIST",
            of: Plain(3),
            status: 400,
            headers: "",
            body: NOT_THERE,
            means: &[
                "untouched",
                "refused VALIDATION_ERROR/PROPERTY_DOESNT_EXIST/missing: Property values were",
                "untouched",
                "judged, rejected",
            ],
        },
        Row {
            name: "PROPERTY_DOESNT_EXIST, single course",
            of: Keyed(1),
            status: 400,
            headers: "",
            body: NOT_THERE,
            means: &["refused VALIDATION_ERROR/PROPERTY_DOESNT_EXIST/missing", "judged, rejected"],
        },
        Row {
            name: "INVALID_LONG begins with the value",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: INVALID_LONG,
            means: &[
                "untouched",
                "refused VALIDATION_ERROR/INVALID_LONG/closedate",
                "untouched",
                "judged, rejected",
            ],
        },
        Row {
            name: "INVALID_OPTION begins with the value",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Property values were not valid","category":"VALIDATION_ERROR","errors":[{"message":"asd000 was not one of the allowed options: [a, b]","code":"INVALID_OPTION","context":{"propertyName":["closedate"]}}]}"#,
            means: &["untouched", "refused VALIDATION_ERROR/INVALID_OPTION/closedate", "judged, rejected"],
        },
        Row {
            name: "INVALID_INTEGER does not contain the value, so it names no course",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Property values were not valid","category":"VALIDATION_ERROR","errors":[{"message":"closedate was not a valid number","code":"INVALID_INTEGER","context":{"propertyName":["closedate"]}}]}"#,
            means: &["all unnamed VALIDATION_ERROR/INVALID_INTEGER/closedate", "judged, rejected"],
        },
        Row {
            name: "required property not set: the courses that omit it",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Error creating COURSE. Some required properties were not set.","correlationId":"c-1","context":{"properties":["hs_enrollment_capacity"]},"category":"VALIDATION_ERROR"}"#,
            means: &[
                "untouched",
                "refused VALIDATION_ERROR/hs_enrollment_capacity: Error creating COURSE",
                "refused VALIDATION_ERROR/hs_enrollment_capacity: Error creating COURSE",
                "judged, rejected",
            ],
        },
        Row {
            name: "MISSING_REQUIRED_PROPERTY, as in newer API versions",
            of: Plain(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Property values were not valid","category":"VALIDATION_ERROR","errors":[{"message":"A value for hs_enrollment_capacity must be provided","code":"MISSING_REQUIRED_PROPERTY","context":{"propertyName":["hs_enrollment_capacity"]}}]}"#,
            means: &[
                "untouched",
                "refused VALIDATION_ERROR/MISSING_REQUIRED_PROPERTY/hs_enrollment_capacity",
                "judged, rejected",
            ],
        },
        Row {
            name: "the unique property itself does not exist",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"no","category":"VALIDATION_ERROR","errors":[{"message":"Property \"course_key\" does not exist","code":"PROPERTY_DOESNT_EXIST","context":{"propertyName":["course_key"]}}]}"#,
            means: &["all untouched", "pause schema, rejected"],
        },
    ]);
}

#[test]
fn a_refusal_that_names_no_course_is_bisected() {
    const NOT_SET: &str = r#"{"status":"error","message":"Error creating COURSE. Some required properties were not set.","correlationId":"c-1","context":{"properties":["hs_course_name"]},"category":"VALIDATION_ERROR"}"#;
    const BAD_JSON: &str = r#"{"status":"error","message":"Invalid input JSON on line 3, column 9: Cannot deserialize value of type `com.hubspot.inbounddb.publicobject.core.v2.SimplePublicObjectBatchInput$Json` from Array value (token `JsonToken.START_ARRAY`)","correlationId":"c-2"}"#;
    check(&[
        Row {
            name: "required property not set, but all courses set it",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: NOT_SET,
            means: &[
                "all unnamed VALIDATION_ERROR/hs_course_name: Error creating COURSE",
                "judged, rejected",
            ],
        },
        Row {
            name: "required property not set, single course",
            of: Plain(1),
            status: 400,
            headers: "",
            body: NOT_SET,
            means: &["refused VALIDATION_ERROR/hs_course_name: Error creating COURSE", "judged, rejected"],
        },
        Row {
            name: "no category",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: BAD_JSON,
            means: &["all unnamed refused: Invalid input JSON", "judged, rejected"],
        },
        Row {
            name: "no inputs (never sent by course-sync)",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Batch input provided should have at least one object.","correlationId":"x"}"#,
            means: &["all unnamed refused: Batch input provided", "judged, rejected"],
        },
        Row {
            name: "duplicate ids",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Duplicate IDs found in batch input: [123456]. IDs must be unique","correlationId":"x","category":"VALIDATION_ERROR","context":{"ids":["123456"]}}"#,
            means: &["all unnamed VALIDATION_ERROR: Duplicate IDs found", "judged, rejected"],
        },
        Row {
            name: "READ_ONLY_VALUE, course not named",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Property values were not valid","category":"VALIDATION_ERROR","errors":[{"message":"hs_object_id is a read only property","code":"READ_ONLY_VALUE","context":{"propertyName":["hs_object_id"]}}]}"#,
            means: &["all unnamed VALIDATION_ERROR/READ_ONLY_VALUE/hs_object_id", "judged, rejected"],
        },
        Row {
            name: "an undocumented code, single course",
            of: Keyed(1),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"Property values were not valid","errors":[{"message":"A value is missing under a condition","code":"MISSING_CONDITIONAL_REQUIRED_PROPERTY","context":{"propertyName":["hs_course_id"]}}]}"#,
            means: &[
                "refused VALIDATION_ERROR/MISSING_CONDITIONAL_REQUIRED_PROPERTY/hs_course_id",
                "judged, rejected",
            ],
        },
        Row {
            name: "400 without a body proves nothing",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: "",
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "too many inputs",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"The maximum number of inputs supported in a batch is 100. Please reduce the number of items and try again","correlationId":"3784ea30-","category":"VALIDATION_ERROR"}"#,
            means: &["all unnamed VALIDATION_ERROR: The maximum number of inputs", "judged, rejected"],
        },
        Row {
            name: "an invalid association",
            of: Keyed(1),
            status: 400,
            headers: "",
            body: r#"{"status":"error","message":"one or more associations are not valid","correlationId":"c-3"}"#,
            means: &["refused refused: one or more associations are not valid", "judged, rejected"],
        },
    ]);
}

#[test]
fn refusals_by_status() {
    check(&[
        Row {
            name: "422",
            of: Keyed(1),
            status: 422,
            headers: "",
            body: r#"{"status":"error","message":"unprocessable","category":"VALIDATION_ERROR"}"#,
            means: &["refused VALIDATION_ERROR: unprocessable", "judged, rejected"],
        },
        Row {
            name: "413",
            of: Keyed(2),
            status: 413,
            headers: "",
            body: "<html><title>413 Request Entity Too Large</title></html>",
            means: &["all unnamed too_large: HubSpot answered 413", "judged, rejected, may be size"],
        },
        Row {
            name: "413 in JSON",
            of: Keyed(2),
            status: 413,
            headers: "",
            body: r#"{"status":"error","message":"Request too large"}"#,
            means: &[
                "all unnamed too_large: HubSpot answered 413: Request too large",
                "judged, rejected, may be size",
            ],
        },
        Row {
            name: "413, single course",
            of: Keyed(1),
            status: 413,
            headers: "",
            body: "",
            means: &[
                "refused too_large: HubSpot answered 413: an empty body",
                "judged, rejected, may be size",
            ],
        },
        Row {
            name: "414",
            of: Plain(2),
            status: 414,
            headers: "",
            body: r#"{"status":"error","message":"URI too long"}"#,
            means: &["all unnamed too_large", "judged, rejected, may be size"],
        },
        Row {
            name: "an HTML page with status 400 is not from HubSpot",
            of: Keyed(2),
            status: 400,
            headers: "",
            body: "<html><title>400 Bad Request</title></html>",
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "402 (payment required) counts against no course",
            of: Keyed(1),
            status: 402,
            headers: "",
            body: r#"{"status":"error","message":"This account is suspended"}"#,
            means: &[
                "turned away deferred: HubSpot answered 402: This account is suspended",
                "failed unavailable, rejected",
            ],
        },
    ]);
}

#[test]
fn a_conflict_for_the_whole_batch_is_looked_up() {
    const KEY_TAKEN: &str = r#"{"status":"error","message":"Cannot set PropertyValueCoordinates{portalId=44956899, objectTypeId=ObjectTypeId{legacyObjectType=COURSE}, propertyName=course_key, value=A-1} on 552148386511. 552239500007 already has that value.","correlationId":"01a0a0eb-","category":"VALIDATION_ERROR"}"#;
    const OTHER_TAKEN: &str = r#"{"status":"error","message":"Cannot set PropertyValueCoordinates{portalId=44956899, objectTypeId=ObjectTypeId{legacyObjectType=COURSE}, propertyName=hs_course_id, value=7} on 552148386511. 552239500007 already has that value.","category":"VALIDATION_ERROR"}"#;
    const PLAIN_409: &str = r#"{"status":"error","message":"Contact already exists","correlationId":"c0895ebf-","category":"CONFLICT"}"#;
    check(&[
        Row {
            name: "a key is taken: its course is looked up",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: KEY_TAKEN,
            means: &["exists CONFLICT", "untouched", "untouched", "judged, rejected"],
        },
        Row {
            name: "another unique value is taken: a look-up by key would find nothing",
            of: Keyed(3),
            status: 400,
            headers: "",
            body: OTHER_TAKEN,
            means: &["all unnamed CONFLICT", "judged, rejected"],
        },
        Row {
            name: "another unique value is taken, single course: an earlier attempt may hold it",
            of: Keyed(1),
            status: 400,
            headers: "",
            body: OTHER_TAKEN,
            means: &["exists CONFLICT", "judged, rejected"],
        },
        Row {
            name: "409 that names no course",
            of: Keyed(2),
            status: 409,
            headers: "",
            body: PLAIN_409,
            means: &["all unnamed CONFLICT: Contact already exists", "judged, rejected"],
        },
        Row {
            name: "409, single course",
            of: Keyed(1),
            status: 409,
            headers: "",
            body: PLAIN_409,
            means: &["exists CONFLICT", "judged, rejected"],
        },
        Row {
            name: "409 that names a course",
            of: Keyed(3),
            status: 409,
            headers: "",
            body: r#"{"status":"error","message":"there","category":"CONFLICT","context":{"objectWriteTraceId":["«T1»"]}}"#,
            means: &["untouched", "exists CONFLICT", "untouched", "judged, rejected"],
        },
        Row {
            name: "409 without a unique property",
            of: Plain(2),
            status: 409,
            headers: "",
            body: PLAIN_409,
            means: &["all unnamed CONFLICT", "judged, rejected"],
        },
        Row {
            name: "a taken value without a unique property, single course",
            of: Plain(1),
            status: 400,
            headers: "",
            body: OTHER_TAKEN,
            means: &["refused CONFLICT", "judged, rejected"],
        },
    ]);
}

#[test]
fn a_key_conflict_is_matched_to_its_course_or_all_courses_are_looked_up() {
    let batch =
        batch(vec![claimed(1, "A-1", json!({})), claimed(2, "B-2", json!({}))], Some(UNIQUE_PROPERTY));
    let verdicts = |value: &str| {
        let message = format!(
            "Cannot set PropertyValueCoordinates{{propertyName=course_key, value={value}}} on 1. 2 already has that value."
        );
        let body = json!({"status": "error", "category": "VALIDATION_ERROR", "message": message}).to_string();
        let meaning = interpret(&batch, &response(400, "", body.as_bytes()), NOW);
        let without_message =
            |verdict| describe_verdict(verdict).split(':').next().unwrap_or_default().to_owned();
        meaning.verdicts.iter().map(without_message).collect::<Vec<_>>()
    };
    // HubSpot ignores case when it compares keys.
    for value in ["B-2", "b-2"] {
        assert_eq!(verdicts(value), ["untouched", "exists CONFLICT"], "{value}");
    }
    assert_eq!(verdicts("Z-9"), ["one of 2 exists CONFLICT", "one of 2 exists CONFLICT"]);
}
