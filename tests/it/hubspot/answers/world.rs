//! Answers about faults of HubSpot's own, or of the way to it.

use std::collections::BTreeSet;

use course_sync::policy::answer::{Exchange, NoAnswer, NotSent};
use course_sync::policy::batch::Claimed;
use course_sync::policy::interpret::{Signal, Verdict, interpret};
use course_sync::policy::pause::Reason;
use serde_json::json;

use super::super::{NOW, answer, batch, claimed};
use super::Of::{Keyed, Plain};
use super::{Row, check, courses, said, said_of_account};

/// The same meaning whatever the batch.
fn rows(means: &'static [&'static str], answers: &[(u16, &'static str, &'static str)]) {
    for (status, headers, body) in answers {
        for of in [Keyed(3), Plain(1)] {
            check(&[Row {
                name: "a fault of HubSpot or of the way to it",
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
fn it_may_have_happened() {
    rows(
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
    // A gateway that gave up: a smaller request may pass.
    rows(
        &["all unknown unknown_outcome", "failed unavailable, unavailable, may be size"],
        &[
            (502, "", "<html><head><title>502 Bad Gateway</title></head></html>"),
            (504, "", r#"{"status":"error","message":"timeout"}"#),
            (524, "", "<html><head><title>524 Origin Time-out</title></head></html>"),
        ],
    );
    rows(
        &["all unknown unknown_outcome", "failed unavailable 120s, unavailable"],
        &[(503, "Retry-After: 120", ""), (500, "Retry-After: 120", r#"{"message":"internal error"}"#)],
    );
}

#[test]
fn it_did_not_happen() {
    rows(
        &["all turned away deferred: HubSpot answered 5", "failed unavailable, unavailable"],
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
        &["all turned away deferred: HubSpot answered 4", "failed unavailable, rejected"],
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
fn a_redirect_is_not_followed_so_nothing_happened() {
    rows(
        &["all turned away deferred: HubSpot answered 30", "failed object_type, rejected"],
        &[(302, "Location: https://example.com", ""), (304, "", ""), (308, "", "<html>Moved</html>")],
    );
}

#[test]
fn without_an_answer_only_what_was_never_sent_is_certain() {
    let batch = courses(Keyed(3));
    let meaning = |exchange| {
        let meaning = interpret(&batch, &exchange, NOW);
        let verdicts: BTreeSet<_> = meaning.verdicts.iter().map(said).collect();
        assert_eq!(verdicts.len(), 1, "{verdicts:?}");
        (verdicts.into_iter().next().unwrap(), said_of_account(&meaning))
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
fn what_failed_before_does_not_change_what_an_answer_means() {
    let meaning = |status, faults, is_blamed| {
        let course = Claimed { faults, is_blamed, ..claimed(1, "A", json!({})) };
        let meaning = interpret(&batch(vec![course], None), &answer(status, "", b""), NOW);
        assert!(matches!(&meaning.verdicts[..], [Verdict::Unknown(_)]), "{:?}", meaning.verdicts);
        meaning.signal
    };
    for status in [500, 502, 503] {
        let first = meaning(status, 0, false);
        assert!(
            matches!(&first, Signal::Failed(trouble) if trouble.reason == Reason::Unavailable),
            "{first:?}"
        );
        assert_eq!(meaning(status, 1, true), first);
    }
}
