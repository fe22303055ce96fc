//! An error for one course never stops the others, whatever its status. An error for every course fails no course.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, Fault, Operation, RecordLimitForm};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::world::{Row, World};

const DESCRIPTION: &str = "hs_course_description";
const BLOCK_PAGE: &str =
    "<html><title>Attention Required! | Cloudflare</title><p>Sorry, you have been blocked</p></html>";

fn json_error(status: u16, category: &str, message: &str) -> Answer {
    Answer::literal(
        status,
        json!({ "status": "error", "category": category, "message": message, "correlationId": "c-1" })
            .to_string(),
    )
}

/// Responses that name no course, each with a text that must appear in the error of the row.
fn responses_that_name_no_course() -> Vec<(&'static str, Answer, &'static str)> {
    vec![
        ("403, a firewall's page", Answer::literal(403, BLOCK_PAGE), "Attention Required"),
        (
            "403, a scope for one property",
            Answer::literal(
                403,
                json!({ "status": "error", "category": "MISSING_SCOPES", "message": "not granted",
                         "errors": [{ "message": "x", "context": { "requiredScopes": ["crm.objects.courses.sensitive.write"] } }] })
                .to_string(),
            ),
            "crm.objects.courses.sensitive.write",
        ),
        ("404, an association's target", json_error(404, "OBJECT_NOT_FOUND", "resource not found"), "resource not found"),
        ("400, a page", Answer::literal(400, "<html>Bad Request</html>"), "400"),
        ("400, nothing", Answer::literal(400, ""), "400"),
        ("401 for one course", json_error(401, "INVALID_AUTHENTICATION", "not found"), "401"),
        ("488", json_error(488, "", "Hub 1 is unknown to this Hublet"), "488"),
        ("a reset", Answer::Reset, "connection"),
        ("502, a page", Answer::literal(502, "<html>Bad Gateway</html>"), "502"),
        ("500, nothing", Answer::literal(500, ""), "500"),
    ]
}

async fn enqueue_bad_course(world: &World, key: &str) {
    world
        .enqueue(key, &json!({ "hs_course_name": format!("Course {}", key.replace('-', " ")), DESCRIPTION: "union select" }))
        .await;
}

fn fault_for_bad_courses(answer: Answer) -> Fault {
    Fault::new(answer).on(Operation::BatchCreate).property(DESCRIPTION, "union select")
}

async fn wait_until_synced(world: &World, courses: i64) {
    eventually(&format!("{courses} courses are synced"), async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&courses) { Ok(()) } else { Err(counts) }
    })
    .await;
}

fn with_prefix<'a>(rows: &'a [Row], prefix: &str) -> Vec<&'a Row> {
    rows.iter().filter(|row| row.course_key.starts_with(prefix)).collect()
}

#[tokio::test]
async fn bad_courses_do_not_stop_the_others() {
    for (what, answer, shown) in responses_that_name_no_course() {
        let world = World::new().await;
        world.hubspot.add_fault(fault_for_bad_courses(answer));
        enqueue_bad_course(&world, "bad-0").await;
        world.enqueue_many("A", 150).await;
        enqueue_bad_course(&world, "bad-1").await;
        world.enqueue_many("B", 100).await;
        enqueue_bad_course(&world, "bad-2").await;
        let daemon = world.start_daemon();
        wait_until_synced(&world, 250).await;
        let creates = world.create_requests();
        world.audit().await;
        eventually(
            &format!("{what}: each bad course is out of flight and its row shows the reason"),
            async || {
                // A bad course is in flight for a moment each time it is retried.
                let is_out_of_flight =
                    |row: &Row| matches!(row.status.as_str(), "pending" | "unconfirmed" | "failed");
                let rows = world.rows().await;
                let left: Vec<_> = with_prefix(&rows, "bad")
                    .into_iter()
                    .filter(|row| {
                        !(is_out_of_flight(row)
                            && row.error.is_some()
                            && row.error("message").contains(shown))
                    })
                    .cloned()
                    .collect();
                if left.is_empty() { Ok(()) } else { Err(left) }
            },
        )
        .await;
        println!("{what}: {creates} creates for 253 courses");
        assert!(creates <= 120, "{what}: {creates} creates");
        drop(daemon);
    }
}

#[tokio::test]
async fn the_same_error_for_every_course_fails_none() {
    for (what, answer, _) in responses_that_name_no_course() {
        let world = World::new().await;
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate));
        world.enqueue_many("A", 120).await;
        let daemon = world.start_daemon();
        eventually("sending is paused and retried", async || {
            let creates = world.create_requests();
            if creates >= 3 { Ok(()) } else { Err(creates) }
        })
        .await;
        assert_ne!(active_pauses(&daemon).await, Vec::<String>::new(), "{what}");
        world.hubspot.clear_faults();
        wait_until_synced(&world, 120).await;
        world.audit().await;
        assert!(
            world.rows().await.iter().all(|row| row.faults == 0),
            "{what}: a fault was counted for a course"
        );
    }
}

/// The reasons for which the metric `course_sync_paused` is 1.
async fn active_pauses(daemon: &Daemon) -> Vec<String> {
    let client = http_client();
    let metrics = client.get(format!("{}/metrics", daemon.admin_url().await)).send().await.unwrap();
    let metrics = metrics.text().await.unwrap();
    let reason = |line: &str| {
        Some(line.strip_prefix("course_sync_paused{reason=\"")?.strip_suffix("\"} 1")?.to_owned())
    };
    metrics.lines().filter_map(reason).collect()
}

#[tokio::test]
async fn a_course_that_keeps_failing_while_others_pass_fails_with_a_reason() {
    for answer in [Answer::literal(403, BLOCK_PAGE), Answer::literal(500, "")] {
        let mut world = World::new().await;
        world.set("RETRY__MAX_ATTEMPTS", "3");
        world.set("RETRY__INITIAL_INTERVAL", "20ms");
        world.hubspot.add_fault(fault_for_bad_courses(answer));
        enqueue_bad_course(&world, "bad").await;
        let _daemon = world.start_daemon();
        let mut batch = 0;
        let row = eventually("the bad course has failed", async || {
            // Only successful requests before and after it make a failure count against the course.
            batch += 1;
            world.enqueue_many(&format!("A{batch}"), 1).await;
            let row = world.row("bad").await;
            if row.status == "failed" { Ok(row) } else { Err(row) }
        })
        .await;
        assert_eq!(row.error("category"), "refused");
        assert!(row.error("message").contains("while other courses succeeded"), "{row:?}");
        eventually("all others are synced", async || {
            let rows = world.rows().await;
            let left = rows.iter().filter(|row| row.course_key != "bad" && row.status != "synced").count();
            if left == 0 { Ok(()) } else { Err(left) }
        })
        .await;
        world.audit().await;
    }
}

#[tokio::test]
async fn an_outage_of_one_operation_fails_no_course_while_others_are_created() {
    for (operation, change) in [
        (Operation::BatchUpdate, "properties = properties || '{\"hs_course_description\": \"new\"}'"),
        (Operation::BatchArchive, "archived = true"),
    ] {
        let mut world = World::new().await;
        world.set("RETRY__MAX_ATTEMPTS", "3");
        world.set("RETRY__INITIAL_INTERVAL", "20ms");
        world.set("RETRY__MAX_INTERVAL", "200ms");
        world.enqueue_many("A", 5).await;
        let _daemon = world.start_daemon();
        wait_until_synced(&world, 5).await;
        world.hubspot.add_fault(Fault::new(Answer::literal(502, "<html>Bad Gateway</html>")).on(operation));
        sqlx::query(sqlx::AssertSqlSafe(format!("update course_outbox set {change}")))
            .execute(world.pool())
            .await
            .unwrap();
        let mut created = 0;
        eventually("each course was sent often enough to fail", async || {
            created += 1;
            world.enqueue_many(&format!("B{created}"), 1).await;
            let requests = world.received(operation).len();
            if requests >= 30 { Ok(()) } else { Err(requests) }
        })
        .await;
        let counts = world.counts().await;
        assert!(!counts.contains_key("failed"), "{operation:?}: {counts:?}");
        world.hubspot.clear_faults();
        eventually("everything is settled", async || {
            let counts = world.counts().await;
            if counts.contains_key("pending") || counts.contains_key("unconfirmed") {
                Err(counts)
            } else {
                Ok(())
            }
        })
        .await;
        assert!(!world.counts().await.contains_key("failed"));
    }
}

#[tokio::test]
async fn a_thousand_bad_courses_do_not_block_later_courses() {
    for answer in [Answer::literal(403, BLOCK_PAGE), Answer::literal(500, "")] {
        let world = World::new().await;
        world.hubspot.add_fault(fault_for_bad_courses(answer));
        sqlx::query(
        "insert into course_outbox (course_key, properties)
         select 'bad-' || n, jsonb_build_object('hs_course_name', 'x', 'hs_course_description', 'union select')
           from generate_series(1, 1000) n",
    )
    .execute(world.pool())
    .await
    .unwrap();
        let _daemon = world.start_daemon();
        eventually(
            "some courses were sent",
            async || if world.create_requests() > 2 { Ok(()) } else { Err(()) },
        )
        .await;
        world.enqueue_many("good", 3).await;
        wait_until_synced(&world, 3).await;
        world.audit().await;
        assert!(world.rows().await.iter().all(|row| row.status != "failed"));
    }
}

#[tokio::test]
async fn a_suspect_course_stays_isolated_after_a_restart() {
    let world = World::new().await;
    world.hubspot.add_fault(fault_for_bad_courses(Answer::literal(403, BLOCK_PAGE)));
    world.enqueue_many("A", 30).await;
    enqueue_bad_course(&world, "bad").await;
    let mut daemon = world.start_daemon();
    // The bad course was in one request with the others. They are synced, so it has been isolated.
    wait_until_synced(&world, 30).await;
    assert!(daemon.stop().await.success());
    let before = world.hubspot.journal().len();

    world.enqueue_many("B", 30).await;
    let _daemon = world.start_daemon();
    wait_until_synced(&world, 60).await;
    eventually("the bad course is retried", async || {
        let requests = create_sizes_with(&world, "bad", before);
        if requests.is_empty() { Err(()) } else { Ok(()) }
    })
    .await;
    assert!(
        create_sizes_with(&world, "bad", before).iter().all(|courses| *courses == 1),
        "it must be sent on its own"
    );
    world.audit().await;
}

/// The sizes of the create requests that contained this course, without the first `before` requests.
fn create_sizes_with(world: &World, key: &str, before: usize) -> Vec<usize> {
    let journal = world.hubspot.journal();
    let creates = journal.iter().skip(before).filter(|entry| entry.operation == Operation::BatchCreate);
    creates
        .filter(|entry| entry.inputs.iter().any(|input| input.unique_value.as_deref() == Some(key)))
        .map(|entry| entry.inputs.len())
        .collect()
}

#[tokio::test]
async fn a_retryable_error_for_one_course_fails_none_and_sends_nothing_twice() {
    for category in ["RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE"] {
        let world = World::new().await;
        let retryable = Answer::input_error(json!({
            "status": "error", "category": category, "message": "try again later", "context": {},
        }));
        world.hubspot.add_fault(
            Fault::new(retryable).on(Operation::BatchCreate).property(DESCRIPTION, "union").times(3),
        );
        world.enqueue_many("A", 50).await;
        for n in 0..20 {
            enqueue_bad_course(&world, &format!("retryable-{n}")).await;
        }
        let _daemon = world.start_daemon();
        wait_until_synced(&world, 70).await;
        world.audit().await;
        assert!(world.rows().await.iter().all(|row| row.faults == 0), "{category}");
    }
}

#[tokio::test]
async fn a_course_that_was_created_with_an_error_is_synced_with_a_warning() {
    let world = World::new().await;
    let error = json!({
        "status": "error", "category": "VALIDATION_ERROR", "message": "one or more associations are not valid", "context": {},
    });
    let both = Answer::InputError { error, commit: true, named: true };
    world.hubspot.add_fault(Fault::new(both).on(Operation::BatchCreate).property(DESCRIPTION, "union"));
    world.enqueue_many("A", 5).await;
    enqueue_bad_course(&world, "warned").await;
    let _daemon = world.start_daemon();
    wait_until_synced(&world, 6).await;
    world.audit().await;
    let row = world.row("warned").await;
    assert!(row.error("message").contains("associations are not valid"), "{row:?}");
    for arguments in [&["failures"][..], &["explain", "warned"]] {
        let mut command = program(&world.settings);
        command.args(arguments);
        let shown = String::from_utf8(output(command).await.stdout).unwrap();
        assert!(shown.contains("associations are not valid"), "{arguments:?}: {shown}");
    }
}

async fn readyz(daemon: &Daemon) -> (u16, Value) {
    let client = http_client();
    let answer = client.get(format!("{}/readyz", daemon.admin_url().await)).send().await.unwrap();
    (answer.status().as_u16(), answer.json().await.unwrap())
}

#[tokio::test]
async fn the_same_refusal_for_every_course_pauses_sending() {
    for form in [RecordLimitForm::PerInput, RecordLimitForm::WholeBatch] {
        let behaviour = Behaviour { record_limit: Some(30), record_limit_form: form, ..Behaviour::default() };
        let world = World::with(true, behaviour).await;
        world.enqueue_many("A", 600).await;
        let mut daemon = world.start_daemon();
        // The account accepts courses one at a time until its limit is reached.
        eventually("the account is full and sending is paused", async || {
            let (paused, counts) = (active_pauses(&daemon).await, world.counts().await);
            let is_full = counts.get("synced") == Some(&30) && !counts.contains_key("in_flight");
            if is_full && paused == ["rejected"] { Ok(()) } else { Err((paused, counts)) }
        })
        .await;
        eventually("/readyz reports the reason", async || {
            let (status, ready) = readyz(&daemon).await;
            if (status, &ready["reasons"][0]["reason"]) == (503, &json!("rejected")) {
                Ok(())
            } else {
                Err(ready)
            }
        })
        .await;
        let mut status = program(&world.settings);
        status.args(["status", "--json"]);
        let shown: Value = serde_json::from_slice(&output(status).await.stdout).unwrap();
        assert_eq!(shown["pauses"][0]["reason"], "rejected", "{shown}");
        assert!(daemon.log().contains("\"reason\":\"rejected\""), "{}", daemon.log());
        let counts = world.counts().await;
        let failed = counts.get("failed").copied().unwrap_or_default();
        assert!(failed <= 500, "{form:?}: courses of more than a few batches failed: {counts:?}");
        println!("{form:?}: {failed} failed, {} creates", world.create_requests());

        // The pause is in force after a restart, so no further course fails.
        eventually("the pause is stored", async || {
            let stored: i64 =
                sqlx::query_scalar("select count(*) from course_sync_pause where reason = 'rejected'")
                    .fetch_one(world.pool())
                    .await
                    .unwrap();
            if stored == 1 { Ok(()) } else { Err(stored) }
        })
        .await;
        assert!(daemon.stop().await.success());
        let before = world.create_requests();
        let daemon = world.start_daemon();
        eventually("one course is sent as a probe", async || {
            if world.create_requests() > before { Ok(()) } else { Err(()) }
        })
        .await;
        assert_eq!(active_pauses(&daemon).await, ["rejected"]);
        let counts = world.counts().await;
        assert_eq!(counts.get("failed").copied().unwrap_or_default(), failed, "{form:?}");

        // The record limit of the account is raised, and the operator resumes.
        world.hubspot.change_behaviour(|behaviour| behaviour.record_limit = None);
        let mut resume = program(&world.settings);
        resume.arg("resume");
        assert!(output(resume).await.status.success());
        wait_until_synced(&world, 600 - failed).await;
        world.audit().await;
        assert_eq!(active_pauses(&daemon).await, Vec::<String>::new());
    }
}

#[tokio::test]
async fn many_bad_courses_of_one_kind_do_not_pause_sending() {
    let world = World::new().await;
    let nameless = "insert into course_outbox (course_key, properties)
                    select 'bad-' || n, '{\"hs_course_description\": \"x\"}' from generate_series(1, 300) n";
    sqlx::query(nameless).execute(world.pool()).await.unwrap();
    world.enqueue_many("good", 5).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    assert_eq!(world.counts().await, BTreeMap::from([("failed".into(), 300), ("synced".into(), 5)]));
    assert_eq!(active_pauses(&daemon).await, Vec::<String>::new());
}

#[tokio::test]
async fn the_batch_size_shrinks_when_only_large_batches_fail() {
    for (what, answer) in [("413", Answer::literal(413, "")), ("502", Answer::literal(502, "<html>"))] {
        let world = World::new().await;
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate).more_than(40));
        world.enqueue_many("A", 1_500).await;
        let _daemon = world.start_daemon();
        wait_until_synced(&world, 1_500).await;
        world.audit().await;
        assert!(world.rows().await.iter().all(|row| row.faults == 0), "{what}");
        println!("{what}: {} creates for 1,500 courses", world.create_requests());
        assert!(world.create_requests() <= 120, "{what}: {} creates", world.create_requests());
        let shown = eventually("status shows the reduced batch size", async || {
            let mut status = program(&world.settings);
            status.args(["status", "--json"]);
            let shown: Value = serde_json::from_slice(&output(status).await.stdout).unwrap();
            if shown["batch_size"].as_u64() <= Some(50) { Ok(shown) } else { Err(shown) }
        })
        .await;
        assert!(shown["batch_size"].as_u64() >= Some(10), "{what}: {shown}");
    }
}

#[tokio::test]
async fn a_start_while_hubspot_hangs_leaves_one_course_unconfirmed() {
    let mut world = World::new().await;
    world.set("HUBSPOT__REQUEST_TIMEOUT", "1s");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "500ms");
    world.set("OUTBOX__SETTLE", "1m");
    world.hubspot.add_fault(Fault::new(Answer::Hang).on(Operation::BatchCreate));
    world.enqueue_many("A", 3_200).await;
    let _daemon = world.start_daemon();
    eventually("the first request has timed out", async || {
        let counts = world.counts().await;
        if counts.contains_key("unconfirmed") { Ok(()) } else { Err(counts) }
    })
    .await;
    let counts = world.counts().await;
    assert_eq!(counts.get("unconfirmed"), Some(&1), "{counts:?}");
}

#[tokio::test]
async fn a_401_for_only_the_property_list_does_not_pause_sending() {
    let world = World::new().await;
    let denied = json_error(401, "INVALID_AUTHENTICATION", "Authentication credentials not found.");
    world.hubspot.add_fault(Fault::new(denied).on(Operation::PropertyList));
    world.enqueue_many("A", 150).await;
    let daemon = world.start_daemon();
    wait_until_synced(&world, 150).await;
    world.audit().await;
    assert_eq!(active_pauses(&daemon).await, Vec::<String>::new());
}

#[tokio::test]
async fn a_wrong_region_or_redirect_pauses_sending_and_names_the_right_address() {
    let region = json!({
        "status": "error", "correctHublet": "eu1",
        "message": "Hub 12345 is unknown to this Hublet, but it appears to exist in Hublet eu1",
    });
    let redirect = Answer::Literal {
        status: 307,
        headers: BTreeMap::from([("Location".into(), "https://elsewhere.example/".into())]),
        body: String::new(),
    };
    for (answer, shown) in [
        (Answer::literal(488, region.to_string()), "https://api-eu1.hubapi.com"),
        (redirect, "elsewhere.example"),
    ] {
        let world = World::new().await;
        world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate));
        world.enqueue_many("A", 20).await;
        let daemon = world.start_daemon();
        eventually("sending is paused", async || {
            let paused = active_pauses(&daemon).await;
            if paused == ["object_type"] { Ok(()) } else { Err(paused) }
        })
        .await;
        let (status, ready) = readyz(&daemon).await;
        assert_eq!(status, 503);
        assert!(ready["reasons"][0]["message"].as_str().unwrap().contains(shown), "{ready}");
        eventually("all courses are pending", async || {
            let counts = world.counts().await;
            if counts == BTreeMap::from([("pending".into(), 20)]) { Ok(()) } else { Err(counts) }
        })
        .await;
    }
}
