//! Faults of updates and archives: late commits, and conditions on content and size.

use std::time::Duration;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Hub, LIST, set, traced};
use crate::{Answer, Change, Commit, ErrorForm, Fault, Operation};

const LATE: Commit = Commit::Late { after_ms: 60 };

fn gateway_timeout(operation: Operation) -> Fault {
    Fault::new(Answer::Error { status: 504, body: ErrorForm::Html, retry_after: None }).on(operation).times(1)
}

fn error(message: &str) -> Value {
    json!({ "status": "error", "category": "VALIDATION_ERROR", "message": message })
}

async fn late_commits_are_over() {
    tokio::time::sleep(Duration::from_millis(250)).await;
}

#[tokio::test]
async fn late_update_overwrites_a_newer_one() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    hub.handle.add_fault(gateway_timeout(Operation::BatchUpdate).committing(LATE));
    assert_eq!(hub.update(&[set(id, "hs_course_id", "old")]).await.status, 504);
    assert_eq!(hub.update(&[set(id, "hs_course_id", "new")]).await.status, 200);
    assert_eq!(hub.value(id, "hs_course_id").as_deref(), Some("new"));
    late_commits_are_over().await;
    assert_eq!(hub.value(id, "hs_course_id").as_deref(), Some("old"));
    let requests: Vec<Option<u64>> =
        hub.handle.versions_of(id).iter().map(|version| version.request).collect();
    assert_eq!(requests, [Some(0), Some(2), Some(1)], "in the order in which they took effect");
    let journal = hub.handle.journal();
    assert_eq!((journal[1].inputs[0].id, journal[1].status), (Some(id), Some(504)));
}

#[tokio::test]
async fn late_update_and_late_archive_apply_to_the_record_as_it_is_then() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    hub.handle.add_fault(gateway_timeout(Operation::BatchUpdate).committing(LATE));
    assert_eq!(hub.update(&[set(id, "hs_course_id", "late")]).await.status, 504);
    hub.archive(&[id]).await;
    late_commits_are_over().await;
    assert_eq!(hub.value(id, "hs_course_id"), None, "the record is archived");

    assert!(hub.handle.restore_record(id));
    hub.handle.add_fault(gateway_timeout(Operation::BatchArchive).committing(LATE));
    assert_eq!(hub.archive(&[id]).await.status, 504);
    assert_eq!(hub.update(&[set(id, "hs_course_id", "newer")]).await.status, 200);
    assert!(!hub.is_archived(id));
    late_commits_are_over().await;
    assert!(hub.is_archived(id));
    assert_eq!(hub.changes(id).last(), Some(&Change::Archived));
}

#[tokio::test]
async fn update_without_a_response_can_be_executed_or_not() {
    for (commit, expected) in [(Commit::No, None), (Commit::Yes, Some("x"))] {
        let hub = Hub::new();
        let id = hub.create("a").await;
        hub.handle.add_fault(Fault::new(Answer::Hang).on(Operation::BatchUpdate).times(1).committing(commit));
        let inputs = [set(id, "hs_course_id", "x")];
        let hanging = tokio::time::timeout(Duration::from_millis(30), hub.update(&inputs));
        assert!(hanging.await.is_err());
        assert_eq!(hub.value(id, "hs_course_id").as_deref(), expected);
        let entry = hub.handle.journal().pop().unwrap();
        assert_eq!((entry.answered, entry.status), (false, None));
        assert_eq!(entry.inputs[0].unique_value.as_deref(), Some(id.to_string().as_str()));
    }
}

#[tokio::test]
async fn faults_select_updates_by_content_and_size() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let (good, bad) = (set(a, "hs_course_id", "fine"), set(b, "hs_course_id", "drop table"));
    hub.handle.add_fault(
        Fault::new(Answer::literal(403, "<html>"))
            .on(Operation::BatchUpdate)
            .property("hs_course_id", "drop"),
    );
    assert_eq!(hub.update(&[good.clone(), bad]).await.status, 403);
    assert_eq!(hub.update(std::slice::from_ref(&good)).await.status, 200);
    hub.handle.clear_faults();
    hub.handle.add_fault(Fault::new(Answer::literal(413, "")).more_than(1));
    assert_eq!(hub.update(&[good.clone(), set(b, "hs_course_id", "y")]).await.status, 413);
    assert_eq!(hub.archive(&[a, b]).await.status, 413);
    assert_eq!(hub.archive(&[a]).await.status, 204);
    assert_eq!(hub.value(b, "hs_course_id"), None);
}

#[tokio::test]
async fn selected_inputs_of_an_update_fail() {
    for commit in [false, true] {
        let hub = Hub::new();
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        let answer = Answer::InputError { error: error("No"), commit, named: true };
        hub.handle.add_fault(Fault::new(answer).on(Operation::BatchUpdate).id(&b.to_string()));
        let inputs = [a, b].map(|id| traced(set(id, "hs_course_id", "x")));
        let answer = hub.update(&inputs).await;
        assert_eq!((answer.status, answer.results().len()), (207, if commit { 2 } else { 1 }));
        assert_eq!(answer.errors()[0]["context"]["objectWriteTraceId"], json!([format!("trace-{b}")]));
        assert_eq!(hub.value(b, "hs_course_id").is_some(), commit);
    }
}

#[tokio::test]
async fn selected_input_refuses_the_whole_archive() {
    for commit in [false, true] {
        let hub = Hub::new();
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        let answer = Answer::InputError { error: error("No"), commit, named: true };
        hub.handle.add_fault(Fault::new(answer).id(&b.to_string()));
        let refused = hub.archive(&[a, b]).await;
        assert_eq!((refused.status, &refused.body["message"]), (400, &json!("No")));
        assert_eq!((hub.is_archived(a), hub.is_archived(b)), (commit, commit));
        assert_eq!(hub.archive(&[a]).await.status, 204, "not selected");
        let single = hub.send(Method::DELETE, &format!("{LIST}/{b}"), &Value::Null).await;
        assert_eq!((single.status, hub.is_archived(b)), (400, commit));
    }
}

#[tokio::test]
async fn results_of_an_update_can_be_dropped_and_modified() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    hub.handle.add_fault(Fault::new(Answer::DropResults(1)).on(Operation::BatchUpdate).times(1));
    let answer = hub.update(&[set(a, "hs_course_id", "x"), set(b, "hs_course_id", "x")]).await;
    assert_eq!((answer.status, answer.results().len()), (200, 1));
    assert_eq!(hub.value(a, "hs_course_id"), hub.value(b, "hs_course_id"), "both are written");
}
