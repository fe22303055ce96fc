//! `preview`, with the real program: its forecast matches what sending does.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, ErrorForm, Fault, Limits, Operation};

use crate::support::daemon::{output, program};
use crate::support::world::{UNIQUE_PROPERTY, World};

async fn run_preview(world: &World, arguments: &[&str]) -> (Option<i32>, String, String) {
    let mut command = program(&world.settings);
    command.arg("preview").args(arguments);
    let Output { status, stdout, stderr } = output(command).await;
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

async fn preview_as_json(world: &World, arguments: &[&str]) -> Value {
    let arguments: Vec<&str> = ["--json"].iter().chain(arguments).copied().collect();
    let (code, out, err) = run_preview(world, &arguments).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    serde_json::from_str(&out).unwrap()
}

/// The rows as they lie on the disk: a write of any kind would show.
async fn row_versions(world: &World) -> Vec<(String, String)> {
    sqlx::query_as("select xmin::text, ctid::text from course_outbox order by id")
        .fetch_all(world.pool())
        .await
        .unwrap()
}

/// Courses good and bad, of which HubSpot holds some already.
async fn world_with_valid_and_invalid(good: i64) -> World {
    let world = World::new().await;
    world.enqueue_many("A", good).await;
    for n in 1..=7 {
        world
            .enqueue(&format!("no-property-{n}"), &json!({ "hs_course_name": "x", "hs_course_nmae": n }))
            .await;
    }
    world.enqueue("no-number", &json!({ "hs_course_name": "x", "hs_enrollment_capacity": "many" })).await;
    world.enqueue("no-name", &json!({ "hs_enrollment_capacity": 3 })).await;
    world.enqueue("contradiction", &json!({ "hs_course_name": "x", UNIQUE_PROPERTY: "other" })).await;
    world
}

fn create_record(world: &World, key: &str) {
    let record = [("hs_course_name", key), (UNIQUE_PROPERTY, key)];
    world.hubspot.create_record(record.map(|(name, value)| (name.to_owned(), value.to_owned())).into());
}

#[tokio::test]
async fn the_forecast_matches_what_sending_does() {
    let world = world_with_valid_and_invalid(250).await;
    for n in 1..=30 {
        create_record(&world, &format!("A-{n}"));
    }
    let (before, records) = (row_versions(&world).await, world.hubspot.records().len());
    let report = preview_as_json(&world, &[]).await;
    assert_eq!(
        (
            &report["looked_at"],
            &report["created"],
            &report["adopted"],
            &report["refused"],
            &report["unclear"]
        ),
        (&json!(260), &json!(220), &json!(30), &json!(10), &json!(0)),
        "{report:#}"
    );
    // Three batches, and one read for those that exist.
    assert_eq!((&report["requests"], &report["has_more"]), (&json!(4), &json!(false)));
    let refusals: BTreeMap<_, _> =
        report["refusals"].as_array().unwrap().iter().map(|it| (it["code"].as_str().unwrap(), it)).collect();
    let missing = refusals["PROPERTY_DOESNT_EXIST"];
    assert_eq!((&missing["count"], &missing["property"]), (&json!(7), &json!("hs_course_nmae")));
    assert_eq!(missing["examples"].as_array().unwrap().len(), 5);
    assert!(missing["message"].as_str().unwrap().contains("did you mean \"hs_course_name\"?"), "{missing}");
    assert_eq!(refusals["INVALID_INTEGER"]["examples"], json!(["no-number"]));
    assert_eq!(refusals["MISSING_REQUIRED_PROPERTY"]["examples"], json!(["no-name"]));
    assert_eq!(refusals["invalid_row"]["examples"], json!(["contradiction"]));

    assert_eq!(row_versions(&world).await, before, "no row was touched");
    assert_eq!(world.hubspot.records().len(), records);
    let harmless = [Operation::PropertyList, Operation::BatchRead, Operation::Search];
    assert!(world.hubspot.journal().iter().all(|entry| harmless.contains(&entry.operation)));
    assert_eq!(world.received(Operation::BatchRead).len(), 3, "they are looked up in hundreds");

    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    let counts = world.counts().await;
    assert_eq!((counts["synced"], counts["failed"]), (250, 10));
    assert_eq!(world.hubspot.records().len(), records + 220);
}

#[tokio::test]
async fn the_text_is_readable_and_has_no_control_characters() {
    let world = world_with_valid_and_invalid(3).await;
    world
        .enqueue_without_checks("evil\u{1b}[31m", &json!({ "hs_course_name": "x", "no\u{202e}such": "x" }))
        .await;
    create_record(&world, "A-1");
    let (code, out, err) = run_preview(&world, &[]).await;
    assert_eq!((code, err.as_str()), (Some(0), ""), "{out}");
    for words in [
        "14 pending courses checked, nothing sent\n",
        "         2 would be created\n",
        "         1 would be adopted",
        "        11 would be refused\n",
        "refused, 7 × PROPERTY_DOESNT_EXIST hs_course_nmae: Property \"hs_course_nmae\" does not exist",
        "    for example no-property-1, no-property-2",
        "sending takes 2 requests, about 1s at 190 requests in 10s\n",
    ] {
        assert!(out.contains(words), "{words:?} in\n{out}");
    }
    assert!(!out.contains('\u{1b}') && !out.contains('\u{202e}'), "{out:?}");
}

#[tokio::test]
async fn every_fault_of_a_course_is_listed() {
    let world = World::new().await;
    world.create_format().await;
    let course = json!({
        "no_such": "x", "neither_this": "x", "hs_enrollment_capacity": "many", "format": "by post", "hs_object_id": "7",
        UNIQUE_PROPERTY: "another key",
    });
    world.enqueue("bad", &course).await;
    world.enqueue("also-bad", &json!({ "no_such": "x" })).await;
    let report = preview_as_json(&world, &[]).await;
    assert_eq!((&report["looked_at"], &report["refused"]), (&json!(2), &json!(2)), "{report:#}");
    let of = |key: &str| -> Vec<(String, Value)> {
        let courses = report["refused_courses"].as_array().unwrap();
        let course = courses.iter().find(|course| course["key"] == key).unwrap();
        let faults = course["faults"].as_array().unwrap().iter();
        let mut faults: Vec<_> =
            faults.map(|it| (it["code"].as_str().unwrap().to_owned(), it["property"].clone())).collect();
        faults.sort_by_key(|(code, property)| (code.clone(), property.to_string()));
        faults
    };
    let fault = |code: &str, property: &str| (code.to_owned(), json!(property));
    assert_eq!(
        of("bad"),
        [
            fault("INVALID_INTEGER", "hs_enrollment_capacity"),
            fault("INVALID_OPTION", "format"),
            fault("MISSING_REQUIRED_PROPERTY", "hs_course_name"),
            fault("PROPERTY_DOESNT_EXIST", "neither_this"),
            fault("PROPERTY_DOESNT_EXIST", "no_such"),
            fault("READ_ONLY_VALUE", "hs_object_id"),
            ("invalid_row".to_owned(), Value::Null),
        ]
    );
    assert_eq!(of("also-bad").len(), 2);
    let (_, out, _) = run_preview(&world, &[]).await;
    for words in [
        "         2 would be refused\n",
        "refused, 2 × PROPERTY_DOESNT_EXIST no_such: ",
        "refused, 2 × MISSING_REQUIRED_PROPERTY hs_course_name: ",
        "refused, 1 × INVALID_OPTION format: ",
        "refused, 1 × READ_ONLY_VALUE hs_object_id: ",
        "a course with several errors counts once for each error\n",
    ] {
        assert!(out.contains(words), "{words:?} in\n{out}");
    }
}

async fn execute(world: &World, statement: &'static str) {
    sqlx::query(statement).execute(world.pool()).await.unwrap();
}

/// Courses that HubSpot holds and that are changed or withdrawn since, and one of each that it does not hold.
async fn world_with_changes() -> World {
    let mut world = World::new().await;
    world.set("OUTBOX__ARCHIVE_LIMIT", "1");
    world.create_format().await;
    world.enqueue_many("A", 8).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    for change in [
        "update course_outbox set properties = '{\"hs_course_name\": \"New\", \"format\": \"online\"}' where course_key = 'A-1'",
        // Changed twice: what HubSpot holds of `format` is not known.
        "update course_outbox set properties = properties || '{\"format\": \"campus\"}' where course_key = 'A-2'",
        "update course_outbox set properties = properties - 'format' where course_key = 'A-2'",
        "update course_outbox set properties = properties || '{\"format\": null}' where course_key = 'A-3'",
        "update course_outbox set properties = properties || '{\"format\": \"by post\"}' where course_key = 'A-4'",
        "update course_outbox set archived = true where course_key in ('A-5', 'A-6')",
        "insert into course_outbox (course_key, properties, archived) values ('B-1', '{\"hs_course_name\": \"B\"}', true)",
    ] {
        execute(&world, change).await;
    }
    world.enqueue_many("C", 1).await;
    world
}

#[tokio::test]
async fn changes_are_shown_with_their_old_and_new_values() {
    let world = world_with_changes().await;
    let (before, requests) = (row_versions(&world).await, world.hubspot.journal().len());
    let report = preview_as_json(&world, &[]).await;
    let counts =
        ["created", "updated", "unchanged", "archived", "archives_held", "withdrawn", "refused", "looked_at"];
    assert_eq!(
        counts.map(|name| report[name].clone()),
        [1, 2, 1, 0, 2, 1, 1, 8].map(Value::from),
        "{report:#}"
    );
    // A create and an update: the archives are held.
    assert_eq!(report["requests"], 2);
    let change = |name: &str, old: Option<&str>, is_known: bool, new: Option<&str>| json!({ "name": name, "old": old, "old_is_known": is_known, "new": new });
    let properties = |at: usize| report["updates"][at]["properties"].clone();
    assert_eq!(report["updates"][0]["key"], "A-1");
    let renamed = change("hs_course_name", Some("Course A 1"), true, Some("New"));
    assert_eq!(properties(0), json!([change("format", None, true, Some("online")), renamed]));
    assert_eq!(report["updates"][1]["key"], "A-2");
    assert_eq!(properties(1), json!([change("format", None, false, None)]));
    assert_eq!(report["refused_courses"][0]["key"], "A-4");
    assert_eq!(report["refusals"][0]["code"], "INVALID_OPTION");

    let (_, out, _) = run_preview(&world, &[]).await;
    for words in [
        "8 pending courses checked, nothing sent\n",
        "         2 would be updated\n",
        "         1 need no request",
        "         2 archives are held: more than 1 are pending (outbox.archive_limit)",
        "         1 are withdrawn and have no record",
        "update A-1, HubSpot record ",
        "    format: empty → \"online\"\n    hs_course_name: \"Course A 1\" → \"New\"\n",
        "    format: unknown → empty\n",
    ] {
        assert!(out.contains(words), "{words:?} in\n{out}");
    }
    assert_eq!(row_versions(&world).await, before, "no row was touched");
    let harmless = [Operation::PropertyList, Operation::BatchRead, Operation::Search];
    assert!(world.hubspot.journal().iter().skip(requests).all(|entry| harmless.contains(&entry.operation)));

    let mut command = program(&world.settings);
    command.args(["resume", "--archives"]);
    assert!(output(command).await.status.success());
    let report = preview_as_json(&world, &[]).await;
    assert_eq!((&report["archived"], &report["archives_held"]), (&json!(2), &json!(0)), "{report:#}");
    assert_eq!(report["requests"], 5, "a batch of archives is read, archived, and read back");
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed", "archived"]).await;
    let counts = world.counts().await;
    assert_eq!((counts["synced"], counts["failed"], counts["archived"]), (6, 1, 3));
}

#[tokio::test]
async fn it_stops_at_the_limit_and_reports_that_there_are_more() {
    let world = World::new().await;
    world.enqueue_many("A", 250).await;
    let report = preview_as_json(&world, &["--limit", "120"]).await;
    assert_eq!((&report["looked_at"], &report["has_more"]), (&json!(120), &json!(true)));
    assert_eq!(preview_as_json(&world, &["--limit", "250"]).await["looked_at"], 250);
}

#[tokio::test]
async fn unknown_properties_and_keys_are_reported_as_unknown() {
    let world = World::with(false, Behaviour::default()).await;
    let denied = Answer::Error { status: 403, body: ErrorForm::Json, retry_after: None };
    world.hubspot.add_fault(Fault::new(denied).on(Operation::PropertyList));
    world.enqueue_many("A", 3).await;
    world.enqueue("B", &json!({ "hs_course_name": "x", "no_such": "x" })).await;
    let report = preview_as_json(&world, &[]).await;
    assert_eq!((&report["properties_known"], &report["keys_looked_up"]), (&json!(false), &json!(false)));
    assert_eq!((&report["created"], &report["refused"]), (&json!(4), &json!(0)));
    // The same if HubSpot refuses the token only for this list.
    world.hubspot.clear_faults();
    let unauthorized = Answer::Error { status: 401, body: ErrorForm::Json, retry_after: None };
    world.hubspot.add_fault(Fault::new(unauthorized).on(Operation::PropertyList));
    let report = preview_as_json(&world, &[]).await;
    assert_eq!((&report["properties_known"], &report["created"]), (&json!(false), &json!(4)));
    assert!(world.hubspot.records().is_empty());
    let (_, out, _) = run_preview(&world, &[]).await;
    assert!(
        out.contains("may not read the account's properties") && out.contains("unique_property is not set"),
        "{out}"
    );
}

#[tokio::test]
async fn it_respects_the_quota_and_reports_why_it_fails() {
    let limits = Limits { requests: 10, per_ms: 1_000, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__REQUESTS", "10");
    world.set("RATE_LIMIT__PER", "1s");
    world.enqueue_many("A", 2_500).await;
    assert_eq!(preview_as_json(&world, &[]).await["created"], 2_500);
    assert!(world.hubspot.worst_window(Duration::from_secs(1)) <= 10);
    assert_eq!(world.hubspot.summary().by_status.get(&429), None);

    world.hubspot.set_token("pat-na1-another");
    let (code, out, err) = run_preview(&world, &[]).await;
    assert_eq!((code, out.as_str()), (Some(1), ""));
    assert!(err.contains("401"), "{err}");
}
