//! Answers that speak of HubSpot's own trouble, or of the way to it.

use course_sync::policy::batch::Claimed;
use course_sync::policy::interpret::{Signal, interpret};
use serde_json::json;

use super::super::{NOW, answer, batch, claimed};
use super::Of::{Keyed, Plain};
use super::{Row, check};

/// The same meaning whatever the batch.
fn rows(means: &'static [&'static str], answers: &[(u16, &'static str, &'static str)]) {
    for (status, headers, body) in answers {
        for of in [Keyed(3), Plain(1)] {
            check(&[Row { name: "trouble", of, status: *status, headers, body, means }]);
        }
    }
}

#[test]
fn it_may_have_happened() {
    rows(
        &["all unknown unknown_outcome", "pause unavailable, unavailable"],
        &[
            (408, "", ""),
            (499, "", "<html>Client Closed Request</html>"),
            (500, "", r#"{"status":"error","message":"internal error","correlationId":"x"}"#),
            (500, "", ""),
            (501, "", ""),
            (502, "", "<html><head><title>502 Bad Gateway</title></head></html>"),
            (503, "", r#"{"status":"error","message":"Service unavailable"}"#),
            (504, "", r#"{"status":"error","message":"timeout"}"#),
            (507, "", ""),
            (520, "", "<html>Web server is returning an unknown error</html>"),
            (524, "", "<html><head><title>524 Origin Time-out</title></head></html>"),
            (599, "", ""),
        ],
    );
    rows(
        &["all unknown unknown_outcome", "pause unavailable 120s, unavailable"],
        &[(503, "Retry-After: 120", ""), (500, "Retry-After: 120", r#"{"message":"internal error"}"#)],
    );
}

#[test]
fn it_did_not_happen() {
    rows(
        &["all untouched", "pause unavailable, unavailable"],
        &[521, 522, 523, 525, 526, 530].map(|status| (status, "", "<html>cloudflare</html>")),
    );
    rows(
        &["all untouched", "pause unavailable 2s, unavailable"],
        &[
            (423, "", r#"{"status":"error","message":"Locked"}"#),
            (423, "Retry-After: 0", ""),
            (423, "Retry-After: 2", ""),
            (423, "", "<html>Locked</html>"),
        ],
    );
    rows(
        &["all untouched", "pause unavailable 300s, unavailable"],
        &[(477, "", ""), (477, "Retry-After: tomorrow", r#"{"message":"Migration in Progress"}"#)],
    );
    rows(
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
    rows(
        &["all untouched", "pause unavailable, rejected"],
        &[
            (421, "", r#"{"status":"error","message":"Misdirected Request"}"#),
            (426, "", r#"{"status":"error","message":"Upgrade Required"}"#),
            (451, "", r#"{"message":"Unavailable For Legal Reasons"}"#),
        ],
    );
}

#[test]
fn statuses_that_no_standard_knows_prove_nothing() {
    rows(
        &["all unknown unknown_outcome", "pause unavailable, invalid"],
        &[
            (100, "", ""),
            (302, "Location: https://example.com", ""),
            (304, "", ""),
            (431, "", "<html>Request Header Fields Too Large</html>"),
            (418, "", "teapot"),
            (600, "", ""),
            (999, "", "x"),
        ],
    );
}

#[test]
fn a_course_at_which_hubspot_is_known_to_fail_says_nothing_of_the_account() {
    let interpreted = |status, faults| {
        let course = Claimed { faults, ..claimed(1, "A", json!({})) };
        interpret(&batch(vec![course], None), &answer(status, "", b""), NOW).signal
    };
    assert_eq!(interpreted(500, 1), Signal::Silence);
    for (status, faults) in [(500, 0), (502, 1), (503, 1)] {
        assert!(matches!(interpreted(status, faults), Signal::Pause(_)), "{status} with {faults}");
    }
}
