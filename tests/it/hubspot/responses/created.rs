//! Responses that list records.

use super::Of::{Keyed, Plain};
use super::{Row, check};

const ALL: &[&str] = &["created 101", "created 102", "created 103", "passed, ok"];

#[test]
fn each_record_is_matched_to_its_course() {
    check(&[
        Row {
            name: "201 in the order sent",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«B 102»,«C 103»],"startedAt":"2026-02-17T20:19:27.424Z","completedAt":"2026-02-17T20:19:27.487Z"}"#,
            means: ALL,
        },
        Row {
            name: "201 shuffled, matched by the key",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,«A 101»,«B 102»]}"#,
            means: ALL,
        },
        Row {
            name: "201 shuffled, matched by the values only",
            of: Plain(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,«A 101»,«B 102»]}"#,
            means: ALL,
        },
        Row {
            name: "201 shuffled, matched by trace ids only",
            of: Plain(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"102","objectWriteTraceId":"«T1»","properties":null},{"id":"101","objectWriteTraceId":"«T0»"}]}"#,
            means: &["created 101", "created 102", "passed, ok"],
        },
        Row {
            name: "200 instead of 201",
            of: Keyed(3),
            status: 200,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«B 102»,«A 101 traced»,«C 103»]}"#,
            means: ALL,
        },
        Row {
            name: "207 without an error",
            of: Keyed(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«B 102»,«A 101»,«C 103»],"numErrors":0,"errors":[]}"#,
            means: ALL,
        },
        Row {
            name: "no batch status",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"results":[«B 102»,«A 101»,«C 103»]}"#,
            means: ALL,
        },
        Row {
            name: "the key in another case and trimmed",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"a-1"}}]}"#,
            means: &["created 101", "passed, ok"],
        },
        Row {
            name: "numbers, case and spaces are normalised",
            of: Plain(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"102","properties":{"hs_course_name":"botany","closedate":"asd000","missing":"1.0"}},{"id":"101","properties":{"hs_course_name":"Algebra ","hs_enrollment_capacity":"50.00"}}]}"#,
            means: &["created 101", "created 102", "passed, ok"],
        },
        Row {
            name: "only a value that is not a string is ignored",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"A-1","hs_object_id":101,"x":{}},"archived":"no","warnings":[{"category":"PROPERTY_VALUE_NORMALIZED"}]}]}"#,
            means: &["created 101", "passed, ok"],
        },
    ]);
}

#[test]
fn courses_omitted_from_a_response_are_unknown() {
    check(&[
        Row {
            name: "one course is omitted",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,«A 101»]}"#,
            means: &[
                "created 101",
                "unknown unknown_outcome: it is not known whether HubSpot created this course: HubSpot's response does not mention it",
                "created 103",
                "passed, partial",
            ],
        },
        Row {
            name: "COMPLETE without any result",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"startedAt":"2026-04-01T00:00:00Z","completedAt":"2026-04-01T00:00:00Z"}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "207 with neither records nor errors",
            of: Plain(3),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[],"numErrors":0,"errors":[]}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "PENDING, whatever records it lists",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"PENDING","results":[«A 101»,«B 102»,«C 103»]}"#,
            means: &[
                "all unknown unknown_outcome: it is not known whether HubSpot created this course: the batch was not complete (Pending)",
                "failed unavailable, invalid",
            ],
        },
        Row {
            name: "CANCELLED, as spelled in the documentation",
            of: Keyed(1),
            status: 200,
            headers: "",
            body: r#"{"status":"CANCELLED","results":[]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "an undocumented status",
            of: Keyed(1),
            status: 200,
            headers: "",
            body: r#"{"status":"QUEUED","results":[«A 101»]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "records without ids",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"properties":{"course_key":"A-1"}},{"id":"","properties":{"course_key":"B-2"}}]}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid, surplus 2"],
        },
        Row {
            name: "as many records as courses, without key and values: all exist",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101"},{"id":"102","properties":{}}],"startedAt":"2026-04-01T00:00:00Z"}"#,
            means: &["all created unidentified unknown_outcome", "passed, invalid"],
        },
    ]);
}

#[test]
fn a_body_that_is_no_batch_response_decides_nothing() {
    check(&[
        Row {
            name: "truncated JSON",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"A-1"}},{"id":"10"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "a page with status 200",
            of: Keyed(2),
            status: 200,
            headers: "Content-Type: text/html",
            body: "<html><body>Please log in to the hotel's network</body></html>",
            means: &[
                "all unknown unknown_outcome: it is not known whether HubSpot created this course: HubSpot answered 200: not HubSpot's JSON: <html>",
                "failed unavailable, invalid",
            ],
        },
        Row {
            name: "an error with status 200",
            of: Keyed(2),
            status: 200,
            headers: "",
            body: r#"{"status":"error","message":"internal error"}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "204 without a body",
            of: Keyed(2),
            status: 204,
            headers: "",
            body: "",
            means: &["all unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "a redirect was not followed",
            of: Keyed(2),
            status: 302,
            headers: "Location: https://elsewhere.example/",
            body: "",
            means: &[
                "all turned away deferred: HubSpot answered 302: a redirect to https://elsewhere.example/, which is not followed; set hubspot.base_url to HubSpot's API itself",
                "failed object_type, rejected",
            ],
        },
    ]);
}

#[test]
fn a_contradictory_response_is_unknown_and_raises_an_alarm() {
    check(&[
        Row {
            name: "two records for one course",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«A 102»,«B 103»]}"#,
            means: &["unknown unknown_outcome", "created 103", "passed, partial, surplus 1"],
        },
        Row {
            name: "one record for two courses",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«B 101»,«C 103»]}"#,
            means: &[
                "unknown unknown_outcome",
                "unknown unknown_outcome",
                "created 103",
                "passed, partial, surplus 1",
            ],
        },
        Row {
            name: "the same record twice",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«A 101»]}"#,
            means: &["created 101", "passed, ok, surplus 1"],
        },
        Row {
            name: "two records with the same values and no key",
            of: Plain(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«A 102»]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid, surplus 1"],
        },
        Row {
            name: "a foreign record",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,«B 102»,{"id":"900","properties":{"course_key":"Z-9"}}]}"#,
            means: &["created 101", "created 102", "passed, ok, surplus 1"],
        },
        Row {
            name: "the key of one course with the trace id of another",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","objectWriteTraceId":"«T1»","properties":{"course_key":"A-1"}},{"id":"102","objectWriteTraceId":"«T0»","properties":{"course_key":"B-2"}}]}"#,
            means: &["all unknown unknown_outcome", "failed unavailable, invalid, surplus 2"],
        },
        Row {
            name: "an id that contradicts hs_object_id",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"102","properties":{"course_key":"A-1","hs_object_id":"101"}}]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid, surplus 1"],
        },
        Row {
            name: "records with an error status",
            of: Keyed(1),
            status: 401,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid"],
        },
    ]);
}

#[test]
fn a_single_result_belongs_to_the_single_course() {
    check(&[
        Row {
            name: "the key is changed completely",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"Z-9"}}]}"#,
            means: &["created 101", "passed, ok"],
        },
        Row {
            name: "only an id",
            of: Plain(1),
            status: 200,
            headers: "",
            body: r#"{"results":[{"id":"101"}],"errors":[]}"#,
            means: &["created 101", "passed, ok"],
        },
        Row {
            name: "an error beside the record",
            of: Keyed(1),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"Z-9"}}],"errors":[{"category":"VALIDATION_ERROR","message":"no","context":{"objectWriteTraceId":["«T0»"]}}]}"#,
            means: &["refused VALIDATION_ERROR: no", "judged, rejected, surplus 1"],
        },
        Row {
            name: "the batch is not complete",
            of: Keyed(1),
            status: 200,
            headers: "",
            body: r#"{"status":"PROCESSING","results":[{"id":"101"}]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid"],
        },
        Row {
            name: "no id",
            of: Keyed(1),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"properties":{"course_key":"Z-9"}}]}"#,
            means: &["unknown unknown_outcome", "failed unavailable, invalid, surplus 1"],
        },
    ]);
}

#[test]
fn an_echoed_trace_id_identifies_the_course_despite_a_normalised_key() {
    check(&[Row {
        name: "keys that HubSpot changed completely",
        of: Keyed(2),
        status: 201,
        headers: "",
        body: r#"{"status":"COMPLETE","results":[{"id":"102","objectWriteTraceId":"«T1»","properties":{"course_key":"changed"}},{"id":"101","objectWriteTraceId":"«T0»","properties":{"course_key":"changed too"}}]}"#,
        means: &["created 101", "created 102", "passed, ok"],
    }]);
}

#[test]
fn with_one_result_per_course_and_no_error_all_courses_exist() {
    check(&[
        Row {
            name: "one record cannot be matched",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,{"id":"102","properties":{"course_key":"changed"}},«A 101»]}"#,
            means: &[
                "created 101",
                "created unidentified unknown_outcome: HubSpot created this course, but HubSpot's response does not show the record id",
                "created 103",
                "passed, partial",
            ],
        },
        Row {
            name: "fewer results than courses",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[{"id":"102","properties":{"course_key":"changed"}},«A 101»]}"#,
            means: &[
                "created 101",
                "unknown unknown_outcome",
                "unknown unknown_outcome",
                "passed, partial, surplus 1",
            ],
        },
        Row {
            name: "one result per course, but one record twice",
            of: Keyed(3),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«C 103»,«C 103»,«A 101»]}"#,
            means: &["created 101", "unknown unknown_outcome", "created 103", "passed, partial, surplus 1"],
        },
        Row {
            name: "one result per course, but the status is not COMPLETE",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"results":[«A 101»,{"id":"102","properties":{"course_key":"changed"}}]}"#,
            means: &["created 101", "unknown unknown_outcome", "passed, partial, surplus 1"],
        },
        Row {
            name: "one result per course, and an error",
            of: Keyed(2),
            status: 207,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,{"id":"102","properties":{"course_key":"changed"}}],"errors":[{"category":"VALIDATION_ERROR","message":"no"}]}"#,
            means: &["created 101", "unknown unknown_outcome", "passed, partial, surplus 1"],
        },
        Row {
            name: "one result per course, one of them without id",
            of: Keyed(2),
            status: 201,
            headers: "",
            body: r#"{"status":"COMPLETE","results":[«A 101»,{"properties":{"course_key":"B-2"}}]}"#,
            means: &["created 101", "unknown unknown_outcome", "passed, partial, surplus 1"],
        },
    ]);
}
