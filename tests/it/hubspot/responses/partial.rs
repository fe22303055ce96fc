//! Responses that list errors beside records, as HubSpot returns them for inputs with trace ids.

use super::Of::{Keyed, Plain};
use super::{Row, check, describe_verdict, meaning};

const MISSING: &str = r#"{"status":"COMPLETE","results":[«C 103»,«A 101»],"numErrors":1,"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"missing\\\" does not exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"missing\",\"localizedErrorMessage\":\"Property \\\"missing\\\" does not exist\",\"portalId\":891936587}]","context":{"objectWriteTraceId":["«T1»"]}}],"startedAt":"2024-08-15T17:09:13.610Z","completedAt":"2024-08-15T17:09:13.910Z"}"#;

#[test]
fn an_error_with_a_trace_id_belongs_to_that_course() {
    const MEANS: &[&str] = &[
        "created 101",
        "refused VALIDATION_ERROR/PROPERTY_DOESNT_EXIST/missing: Property values were not valid: [{",
        "created 103",
        "passed, partial",
    ];
    check(&[
        Row { name: "207, keyed", of: Keyed(3), status: 207, headers: "", body: MISSING, means: MEANS },
        Row { name: "207, plain", of: Plain(3), status: 207, headers: "", body: MISSING, means: MEANS },
        Row { name: "201, keyed", of: Keyed(3), status: 201, headers: "", body: MISSING, means: MEANS },
        Row {
            name: "all failed: one error for several courses, one course in two errors",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"numErrors":2,"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"closedate","errors":[{"message":"asd000 was not a valid long.","code":"INVALID_LONG","context":{"propertyName":["closedate"]}}],"context":{"objectWriteTraceId":["«T0»","«T1»","«T1»"]}},{"status":"error","category":"VALIDATION_ERROR","subCategory":"Properties.X","message":"Error creating COURSE. Some required properties were not set.","context":{"properties":["hs_course_name"],"objectWriteTraceId":"«T2»"}}]}"#,
            means: &[
                "refused VALIDATION_ERROR/INVALID_LONG/closedate: closedate",
                "refused VALIDATION_ERROR/INVALID_LONG/closedate: closedate",
                "refused VALIDATION_ERROR/hs_course_name: Error creating COURSE. Some required",
                "judged, rejected",
            ],
        },
        Row {
            name: "an undocumented category and a rate limit",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»],"errors":[{"category":"SOMETHING_NEW","message":"hm","context":{"objectWriteTraceId":["«T0»"]}},{"errorType":"RATE_LIMIT","message":"You have reached your secondly limit.","context":{"objectWriteTraceId":["«T1»"]}}]}"#,
            means: &[
                "unknown unknown_outcome: it is not known whether HubSpot created this course: HubSpot answered for it: hm",
                "later deferred/RATE_LIMIT: You have reached your secondly limit.",
                "created 103",
                "passed, partial",
            ],
        },
        Row {
            name: "RATE_LIMITS, as in the search API",
            of: Plain(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"category":"RATE_LIMITS","message":"secondly","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["later deferred: secondly", "failed unavailable, rejected"],
        },
        Row {
            name: "an association whose target does not exist",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"category":"OBJECT_NOT_FOUND","message":"No company with id 1","subCategory":{"a":1},"context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["refused refused: No company with id 1", "judged, rejected"],
        },
        Row {
            name: "trace ids of other requests",
            of: Keyed(2),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«B 102»],"errors":[{"category":"VALIDATION_ERROR","message":"x","context":{"objectWriteTraceId":["0","1"]}}, null]}"#,
            means: &["created 101", "created 102", "passed, ok, surplus 3"],
        },
    ]);
}

#[test]
fn a_conflict_is_looked_up_where_possible() {
    const EXISTING: &str = r#"{"status":"COMPLETE","results":[«B 102»],"numErrors":1,"errors":[{"status":"error","category":"CONFLICT","message":"Contact already exists. Existing ID: 171591000198","context":{"objectWriteTraceId":["«T0»"],"existingId":["171591000198"]}}]}"#;
    check(&[
        Row {
            name: "existingId, with a unique property",
            of: Keyed(2),
            status: 207,
            headers: "",
            body: EXISTING,
            means: &[
                "exists CONFLICT: Contact already exists. Existing ID",
                "created 102",
                "passed, partial",
            ],
        },
        Row {
            name: "existingId, without a unique property: no look-up is possible",
            of: Plain(2),
            status: 207,
            headers: "",
            body: EXISTING,
            means: &["refused CONFLICT: Contact already exists.", "created 102", "passed, partial"],
        },
        Row {
            name: "OBJECT_ALREADY_EXISTS with a subCategory that is a string",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"status":"error","category":"OBJECT_ALREADY_EXISTS","subCategory":"Properties.PROPERTY_WITH_NAME_EXISTS","message":"there","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["exists CONFLICT: there", "judged, rejected"],
        },
        Row {
            name: "conflict only in the text, with the id of the unfinished record first",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"status":"error","category":"VALIDATION_ERROR","message":"Cannot set PropertyValueCoordinates{portalId=44956899, objectTypeId=ObjectTypeId{legacyObjectType=COURSE}, propertyName=course_key, value=A-1} on 552148386511. 552239500007 already has that value.","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["exists CONFLICT: Cannot set PropertyValueCoordinates{", "judged, rejected"],
        },
        Row {
            name: "conflict with a structured context",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"status":"error","errorType":"UNIQUE_VALUE_CONFLICT","message":"taken","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["exists CONFLICT/UNIQUE_VALUE_CONFLICT: taken", "judged, rejected"],
        },
        Row {
            name: "a created record and an error for the same course",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»],"errors":[{"category":"CONFLICT","message":"there","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["created 101, warning CONFLICT: there", "passed, ok"],
        },
    ]);
}

#[test]
fn of_several_errors_the_most_cautious_one_decides() {
    const VALIDATION: &str =
        r#"{"category":"VALIDATION_ERROR","message":"v","context":{"objectWriteTraceId":["«T0»"]}}"#;
    const CONFLICT: &str =
        r#"{"category":"CONFLICT","message":"c","context":{"objectWriteTraceId":["«T0»"]}}"#;
    const QUOTA: &str =
        r#"{"category":"RATE_LIMIT","message":"q","context":{"objectWriteTraceId":["«T0»"]}}"#;
    const INTERNAL: &str =
        r#"{"category":"INTERNAL_ERROR","message":"i","context":{"objectWriteTraceId":["«T0»"]}}"#;
    for (one, other, expected) in [
        (VALIDATION, CONFLICT, "exists"),
        (VALIDATION, QUOTA, "later"),
        (QUOTA, CONFLICT, "exists"),
        (VALIDATION, INTERNAL, "unknown"),
        (QUOTA, INTERNAL, "unknown"),
        (INTERNAL, CONFLICT, "exists"),
        (VALIDATION, VALIDATION, "refused"),
    ] {
        for errors in [[one, other], [other, one]] {
            let body = format!(r#"{{"status":"COMPLETE","results":[],"errors":[{}]}}"#, errors.join(","));
            let row = Row { name: "", of: Keyed(1), status: 207, headers: "", body: body.leak(), means: &[] };
            let shown = describe_verdict(&meaning(&row).verdicts[0]);
            assert!(shown.starts_with(expected), "{errors:?} gave {shown}");
        }
    }
}

#[test]
fn an_error_that_names_no_course_counts_against_none() {
    check(&[
        Row {
            name: "no trace id, several courses",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»],"errors":[{"category":"VALIDATION_ERROR","message":"something","context":{}}]}"#,
            means: &[
                "created 101",
                "unknown unknown_outcome: it is not known whether HubSpot created this course: HubSpot's response does not mention it and contains an error that names no course: something",
                "unknown unknown_outcome",
                "passed, partial",
            ],
        },
        Row {
            name: "an empty list of trace ids",
            of: Keyed(2),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","message":"something","context":{"objectWriteTraceId":[]}}]}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "an unknown property: each course that sends it and has no result",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»],"errors":[{"category":"VALIDATION_ERROR","message":"no","errors":[{"message":"gone","code":"PROPERTY_DOESNT_EXIST","context":{"propertyName":["hs_course_name"]}}]}]}"#,
            means: &[
                "created 101",
                "refused VALIDATION_ERROR/PROPERTY_DOESNT_EXIST/hs_course_name: no",
                "refused VALIDATION_ERROR/PROPERTY_DOESNT_EXIST/hs_course_name: no",
                "passed, partial",
            ],
        },
        Row {
            name: "a single course: the error must be about it",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","message":"something"}]}"#,
            means: &["refused VALIDATION_ERROR: something", "judged, rejected"],
        },
        Row {
            name: "the unique property does not exist: an error of the account",
            of: Keyed(2),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"errors":[{"category":"VALIDATION_ERROR","message":"Property values were not valid: [{\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"course_key\"}]","context":{"objectWriteTraceId":["«T0»","«T1»"]}}]}"#,
            means: &["all untouched", "pause schema, rejected"],
        },
    ]);
}

#[test]
fn a_server_error_of_one_input_is_unknown_and_a_rate_limit_is_retried_later() {
    let item = |category: &str| {
        format!(
            r#"{{"status":"COMPLETE","results":[«A 101»],"errors":[{{"category":"{category}","message":"hm","context":{{"objectWriteTraceId":["«T1»"]}}}}]}}"#
        )
    };
    for (category, means) in [
        (
            "INTERNAL_ERROR",
            "unknown unknown_outcome: it is not known whether HubSpot created this course: HubSpot answered for it: hm",
        ),
        ("SERVICE_UNAVAILABLE", "unknown unknown_outcome"),
        ("RATE_LIMITS", "later deferred: hm"),
        ("RATE_LIMIT", "later deferred: hm"),
        ("MISSING_SCOPES", "refused refused: HubSpot answered 207"),
    ] {
        let means: &[_] = vec!["created 101", means, "passed, partial"].leak();
        let body = item(category).leak();
        check(&[Row { name: "one input's own error", of: Keyed(2), status: 207, headers: "", body, means }]);
    }
}

#[test]
fn a_result_and_an_error_for_one_input_give_a_record_with_a_warning() {
    check(&[
        Row {
            name: "created, but the association failed",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,«A 101»,«B 102»],"numErrors":1,"errors":[{"category":"OBJECT_NOT_FOUND","message":"No company with id 1","context":{"objectWriteTraceId":["«T1»"]}}]}"#,
            means: &[
                "created 101",
                "created 102, warning refused: No company with id 1",
                "created 103",
                "passed, ok",
            ],
        },
        Row {
            name: "matched by its values",
            of: Plain(2),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«B 102»,«A 101»],"errors":[{"category":"INTERNAL_ERROR","message":"links","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["created 101, warning refused: links", "created 102", "passed, ok"],
        },
    ]);
}
