//! Responses that report a fault of HubSpot or of the network, and missing responses.

use std::collections::BTreeSet;

use course_sync::course::ClaimedCourse;
use course_sync::course::Verdict;
use course_sync::hubspot::api::response::{Exchange, NoAnswer, NotSent};
use course_sync::pipeline::interpret::interpret;
use course_sync::policy::gate::Reason;
use course_sync::policy::signal::Signal;
use serde_json::json;

use super::super::{NOW, batch, claimed, response};
use super::Of::{Keyed, Plain};
use super::{Row, check, courses, describe_account, describe_verdict};

/// Checks that these responses have the same meaning for any batch.
fn check_all(means: &'static [&'static str], responses: &[(u16, &'static str, &'static str)]) {
    for (status, headers, body) in responses {
        for of in [Keyed(3), Plain(1)] {
            check(&[Row {
                name: "a fault of HubSpot or of the network",
                of,
                status: *status,
                headers,
                body,
                means,
            }]);
        }
    }
}

#[test]
fn server_errors_leave_the_result_unknown() {
    check_all(
        &[
            "all unknown unknown_outcome: it is not known whether HubSpot created this course",
            "failed unavailable, unavailable",
        ],
        &[
            (408, "", ""),
            (499, "", "<html>Client Closed Request</html>"),
            (500, "", r#"{"status":"error","message":"internal error","correlationId":"x"}"#),
            (500, "", ""),
            (501, "", ""),
            (503, "", r#"{"status":"error","message":"Service unavailable"}"#),
            (507, "", ""),
            (520, "", "<html>Web server is returning an unknown error</html>"),
            (599, "", ""),
        ],
    );
    // A gateway timed out: a smaller request may succeed.
    check_all(
        &["all unknown unknown_outcome", "failed unavailable, unavailable, may be size"],
        &[
            (502, "", "<html><head><title>502 Bad Gateway</title></head></html>"),
            (504, "", r#"{"status":"error","message":"timeout"}"#),
            (524, "", "<html><head><title>524 Origin Time-out</title></head></html>"),
        ],
    );
    check_all(
        &["all unknown unknown_outcome", "failed unavailable 120s, unavailable"],
        &[(503, "Retry-After: 120", ""), (500, "Retry-After: 120", r#"{"message":"internal error"}"#)],
    );
}

#[test]
fn errors_before_execution_mean_that_nothing_was_created() {
    check_all(
        &["all turned away deferred: HubSpot answered 5", "failed unavailable, unavailable"],
        &[521, 522, 523, 525, 526, 530].map(|status| (status, "", "<html>cloudflare</html>")),
    );
    check_all(
        &["all untouched", "pause unavailable 2s, unavailable"],
        &[
            (423, "", r#"{"status":"error","message":"Locked"}"#),
            (423, "Retry-After: 0", ""),
            (423, "Retry-After: 2", ""),
            (423, "", "<html>Locked</html>"),
        ],
    );
    check_all(
        &["all untouched", "pause unavailable 300s, unavailable"],
        &[(477, "", ""), (477, "Retry-After: tomorrow", r#"{"message":"Migration in Progress"}"#)],
    );
    check_all(
        &["all untouched", "pause unavailable 86400s, unavailable"],
        &[
            (477, "Retry-After: 86400", ""),
            (477, "Retry-After: 86400", r#"{"status":"error","message":"Migration in progress"}"#),
            (
                477,
                "Date: Wed, 21 Oct 2026 07:28:00 GMT\nRetry-After: Thu, 22 Oct 2026 07:28:00 GMT",
                "<html>477</html>",
            ),
        ],
    );
    check_all(
        &["all turned away deferred: HubSpot answered 4", "failed unavailable, rejected"],
        &[
            (421, "", r#"{"status":"error","message":"Misdirected Request"}"#),
            (426, "", r#"{"status":"error","message":"Upgrade Required"}"#),
            (451, "", r#"{"message":"Unavailable For Legal Reasons"}"#),
        ],
    );
}

#[test]
fn nonstandard_statuses_leave_the_result_unknown() {
    check_all(
        &["all unknown unknown_outcome", "failed unavailable, invalid"],
        &[
            (100, "", ""),
            (431, "", "<html>Request Header Fields Too Large</html>"),
            (418, "", "teapot"),
            (600, "", ""),
            (999, "", "x"),
        ],
    );
}

#[test]
fn a_redirect_is_not_followed_and_nothing_was_created() {
    check_all(
        &["all turned away deferred: HubSpot answered 30", "failed object_type, rejected"],
        &[(302, "Location: https://example.com", ""), (304, "", ""), (308, "", "<html>Moved</html>")],
    );
}

#[test]
fn without_a_response_only_an_unsent_request_is_certain() {
    let batch = courses(Keyed(3));
    let meaning = |exchange| {
        let meaning = interpret(&batch, &exchange, NOW);
        let verdicts: BTreeSet<_> = meaning.verdicts.iter().map(describe_verdict).collect();
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        (verdicts.into_iter().next().unwrap(), describe_account(&meaning))
    };
    for (why, account) in [
        (NotSent::Unreachable("no route".into()), "pause unavailable, unreachable"),
        (NotSent::Unbuildable("no body".into()), "pause unavailable, unreachable"),
        (NotSent::NoToken("no file".into()), "pause token, unauthorized"),
    ] {
        assert_eq!(meaning(Exchange::NotSent(why)), ("not sent".to_owned(), account.to_owned()));
    }
    for (why, account) in [
        (NoAnswer::Timeout, "failed unavailable, timeout, may be size"),
        (NoAnswer::Lost("reset".into()), "failed unavailable, unreachable"),
        (NoAnswer::Abandoned, "failed unavailable, invalid"),
    ] {
        let (verdict, signal) = meaning(Exchange::NoAnswer(why));
        assert!(verdict.starts_with("unknown unknown_outcome: it is not known whether"), "{verdict}");
        assert_eq!(signal, account);
    }
}

#[test]
fn earlier_faults_do_not_change_the_meaning_of_a_response() {
    let meaning = |status, faults, is_blamed| {
        let course = ClaimedCourse { faults, is_blamed, ..claimed(1, "A", json!({})) };
        let meaning = interpret(&batch(vec![course], None), &response(status, "", b""), NOW);
        assert!(matches!(&meaning.verdicts[..], [Verdict::Unknown(_)]), "{:?}", meaning.verdicts);
        meaning.signal
    };
    for status in [500, 502, 503] {
        let first = meaning(status, 0, false);
        assert!(
            matches!(&first, Signal::Failed(incident) if incident.reason == Reason::Unavailable),
            "{first:?}"
        );
        assert_eq!(meaning(status, 1, true), first);
    }
}
