//! `batch/update` and `PATCH`.

use std::collections::BTreeSet;

use axum::http::Method;
use serde_json::{Value, json};

use super::{Hub, KEY, LIST, READ, UPDATE, names, next_millisecond, set, sorted, traced};
use crate::{
    ClearRequired, ConflictForm, MissingNamedBy, MissingOnUpdate, PropertyType, RemovedOptions,
    SameRecordTwice, UpdateErrors,
};

const MISSING: u64 = 17;

#[tokio::test]
async fn results_are_shuffled_and_echo_what_was_sent() {
    let hub = Hub::new();
    let mut ids = Vec::new();
    for n in 0..30 {
        ids.push(hub.create(&format!("k{n}")).await);
    }
    let inputs: Vec<Value> = ids.iter().map(|id| set(*id, "hs_course_id", &id.to_string())).collect();
    let answer = hub.update(&inputs).await;
    assert_eq!((answer.status, answer.results().len()), (200, 30));
    assert_ne!(answer.ids(), ids, "not in the order of the inputs");
    assert_eq!(sorted(answer.ids()), sorted(ids));
    for result in answer.results() {
        let echoed = names(&result["properties"]);
        let expected = ["hs_course_id", "hs_createdate", "hs_lastmodifieddate", "hs_object_id"];
        assert_eq!(echoed, BTreeSet::from(expected));
        assert_eq!(result["properties"]["hs_course_id"], result["id"]);
        assert_eq!(result["properties"]["hs_lastmodifieddate"], result["updatedAt"]);
        assert!(answer.body["startedAt"].as_str() <= result["updatedAt"].as_str());
        assert!(result["updatedAt"].as_str() <= answer.body["completedAt"].as_str());
    }
}

#[tokio::test]
async fn cleared_value_is_echoed_as_empty_and_not_stored() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    hub.update(&[set(id, "hs_course_id", "c-1")]).await;
    let answer = hub
        .update(&[json!({ "id": id.to_string(),
        "properties": { "hs_course_id": "", "hs_enrollment_capacity": "" } })])
        .await;
    assert_eq!(answer.of(id)["properties"]["hs_course_id"], "");
    assert_eq!(answer.of(id)["properties"]["hs_enrollment_capacity"], "");
    assert_eq!(hub.value(id, "hs_course_id"), None);
    assert_eq!(hub.read(READ, &[id]).await.of(id)["properties"]["hs_course_id"], Value::Null);
}

#[tokio::test]
async fn cleared_key_is_free() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    assert_eq!(hub.update(&[set(id, KEY, "")]).await.status, 200);
    assert_ne!(hub.create("a").await, id);
}

#[tokio::test]
async fn no_op_update_moves_the_date_only_if_the_switch_says_so() {
    for moves in [false, true] {
        let hub = Hub::with(|switches| switches.no_op_moves_date = moves);
        let id = hub.create("a").await;
        let before = hub.modified(id);
        next_millisecond().await;
        let same = json!({ "id": id.to_string(), "properties": { KEY: "a", "hs_course_id": "" } });
        let answer = hub.update(&[same]).await;
        assert_eq!((answer.status, &answer.of(id)["properties"][KEY]), (200, &json!("a")));
        assert_eq!(hub.modified(id) != before, moves);
        hub.update(&[set(id, "hs_course_id", "c-1")]).await;
        assert_ne!(hub.modified(id), before);
    }
}

#[tokio::test]
async fn invalid_values_with_trace_ids_fail_one_by_one_or_all() {
    for (errors, status) in [(UpdateErrors::PerInput, 207), (UpdateErrors::WholeBatch, 400)] {
        let hub = Hub::with(|switches| switches.update_errors = errors);
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        let inputs = [traced(set(a, "hs_course_id", "new")), traced(set(b, "unheard_of", "x"))];
        let answer = hub.update(&inputs).await;
        assert_eq!(answer.status, status);
        let is_written = hub.value(a, "hs_course_id").is_some();
        assert_eq!(is_written, errors == UpdateErrors::PerInput);
        if is_written {
            assert_eq!(
                answer.errors()[0]["context"],
                json!({ "objectWriteTraceId": [format!("trace-{b}")] })
            );
        } else {
            assert_eq!(answer.errors()[0]["code"], "PROPERTY_DOESNT_EXIST");
        }
    }
}

#[tokio::test]
async fn invalid_value_without_trace_ids_refuses_the_batch() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let answer = hub
        .update(&[
            set(MISSING, "hs_course_id", "x"),
            set(a, "hs_course_id", "x"),
            set(b, "hs_object_id", "1"),
        ])
        .await;
    assert_eq!((answer.status, &answer.body["category"]), (400, &json!("VALIDATION_ERROR")));
    assert_eq!(hub.value(a, "hs_course_id"), None);
}

#[tokio::test]
async fn missing_ids_are_named_according_to_the_switch() {
    let trace = format!("trace-{MISSING}");
    let archived_id = async |hub: &Hub| {
        let id = hub.create("gone").await;
        hub.archive(&[id]).await;
        id
    };
    for (by, is_traced, by_id, by_trace) in [
        (MissingNamedBy::Ids, true, true, false),
        (MissingNamedBy::TraceIds, true, false, true),
        (MissingNamedBy::TraceIds, false, true, false),
        (MissingNamedBy::Both, true, true, true),
    ] {
        let hub = Hub::with(|switches| switches.missing_named_by = by);
        let (good, gone) = (hub.create("a").await, archived_id(&hub).await);
        let inputs = [good, gone, MISSING].map(|id| set(id, "hs_course_id", "x"));
        let inputs = if is_traced { inputs.map(traced) } else { inputs };
        let answer = hub.update(&inputs).await;
        assert_eq!((answer.status, answer.ids(), &answer.body["numErrors"]), (207, vec![good], &json!(1)));
        let error = &answer.errors()[0];
        assert_eq!(error["category"], "OBJECT_NOT_FOUND");
        let ids = json!([gone.to_string(), MISSING.to_string()]);
        let traces = json!([format!("trace-{gone}"), trace]);
        assert_eq!(error["context"].get("ids"), by_id.then_some(&ids), "{by:?}");
        assert_eq!(error["context"].get("objectWriteTraceId"), by_trace.then_some(&traces), "{by:?}");
    }
}

#[tokio::test]
async fn missing_ids_can_be_dropped() {
    for (switch, status) in [(MissingOnUpdate::Unreported207, 207), (MissingOnUpdate::Unreported200, 200)] {
        let hub = Hub::with(|switches| switches.missing_on_update = switch);
        let id = hub.create("a").await;
        let answer = hub
            .update(&[traced(set(id, "hs_course_id", "x")), traced(set(MISSING, "hs_course_id", "x"))])
            .await;
        assert_eq!((answer.status, answer.ids(), answer.errors().len()), (status, vec![id], 0));
        assert_eq!(hub.update(&[set(id, "hs_course_id", "y")]).await.status, 200);
    }
}

#[tokio::test]
async fn success_can_have_another_status() {
    for status in [200, 201, 207] {
        let hub = Hub::with(|switches| switches.update_status = status);
        let id = hub.create("a").await;
        let answer = hub.update(&[set(id, "hs_course_id", "x")]).await;
        assert_eq!((answer.status, answer.ids()), (status, vec![id]));
        assert_eq!(answer.body.get("errors"), None);
    }
}

#[tokio::test]
async fn trace_ids_are_echoed_only_if_the_switch_says_so() {
    for echo in [false, true] {
        let hub = Hub::new();
        hub.switch(|behaviour| behaviour.echo_trace_ids = echo);
        let id = hub.create("a").await;
        let answer = hub.update(&[traced(set(id, "hs_course_id", "x"))]).await;
        let trace = json!(format!("trace-{id}"));
        assert_eq!(answer.of(id).get("objectWriteTraceId"), echo.then_some(&trace));
    }
}

#[tokio::test]
async fn duplicate_ids_are_refused_even_with_trace_ids() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    let mut second = traced(set(id, "hs_course_id", "y"));
    second["objectWriteTraceId"] = json!("other");
    let answer = hub.update(&[traced(set(id, "hs_course_id", "x")), second]).await;
    let message = format!("Duplicate IDs found in batch input: [{id}]. IDs must be unique");
    assert_eq!((answer.status, &answer.body["message"]), (400, &json!(message)));
    assert_eq!(hub.value(id, "hs_course_id"), None);
}

#[tokio::test]
async fn same_record_by_id_and_by_key_is_refused_or_the_last_wins() {
    for (switch, status) in [(SameRecordTwice::Refused, 400), (SameRecordTwice::LastWins, 200)] {
        let hub = Hub::with(|switches| switches.same_record_twice = switch);
        let id = hub.create("a").await;
        let by_key = json!({ "id": "a", "idProperty": KEY, "properties": { "hs_course_id": "second" } });
        let answer = hub.update(&[set(id, "hs_course_id", "first"), by_key]).await;
        assert_eq!(answer.status, status);
        let expected = (status == 200).then(|| "second".to_owned());
        assert_eq!(hub.value(id, "hs_course_id"), expected);
    }
}

#[tokio::test]
async fn id_property_must_be_unique_and_is_not_the_record_id() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    for (property, given) in [("hs_object_id", id.to_string()), ("hs_course_name", "Course a".to_owned())] {
        let input = json!({ "id": given, "idProperty": property, "properties": { "hs_course_id": "x" } });
        let answer = hub.update(&[input]).await;
        let message = answer.body["message"].as_str().unwrap();
        assert_eq!(answer.status, 400);
        assert!(message.starts_with("Unable to perform update/upsert by non-unique 0-410 property"));
        assert!(message.contains(property), "{message}");
    }
    let by_key = json!({ "id": "a", "idProperty": KEY, "properties": { "hs_course_id": "x" } });
    assert_eq!(hub.update(&[by_key]).await.ids(), [id]);
    let without = json!({ "id": "a", "properties": { "hs_course_id": "y" } });
    assert_eq!(hub.update(&[without]).await.status, 207, "a key without idProperty is an unknown ID");
}

#[tokio::test]
async fn name_cannot_be_cleared_unless_the_switch_says_so() {
    for (switch, status) in [(ClearRequired::Refused, 400), (ClearRequired::Accepted, 200)] {
        let hub = Hub::with(|switches| switches.clear_required = switch);
        let id = hub.create("a").await;
        let answer = hub.update(&[set(id, "hs_course_name", "")]).await;
        assert_eq!(answer.status, status);
        if status == 400 {
            assert_eq!(answer.body["category"], "VALIDATION_ERROR");
            assert_eq!(answer.errors()[0]["code"], "MISSING_REQUIRED_PROPERTY");
            let partial = hub.update(&[traced(set(id, "hs_course_name", ""))]).await;
            assert_eq!((partial.status, &partial.errors()[0]["category"]), (207, &json!("VALIDATION_ERROR")));
            assert!(
                partial.errors()[0]["message"].as_str().unwrap().contains("MISSING_REQUIRED_PROPERTY"),
                "{partial:?}"
            );
        } else {
            assert_eq!(hub.value(id, "hs_course_name"), None);
        }
    }
}

#[tokio::test]
async fn properties_that_the_account_requires_cannot_be_cleared_either() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    assert_eq!(hub.update(&[set(id, "hs_course_id", "")]).await.status, 200);
    hub.switch(|behaviour| behaviour.required_properties = ["hs_course_id".to_owned()].into());
    let answer = hub.update(&[set(id, "hs_course_id", "")]).await;
    assert_eq!((answer.status, &answer.errors()[0]["code"]), (400, &json!("MISSING_REQUIRED_PROPERTY")));
    assert_eq!(
        hub.update(&[set(id, "hs_enrollment_capacity", "5")]).await.status,
        200,
        "not sent, not cleared"
    );
}

#[tokio::test]
async fn conflict_names_the_updated_record_and_the_holder() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let expected = format!("propertyName={KEY}, value=a}} on {b}. {a} already has that value.");
    let whole = hub.update(&[set(b, KEY, "a")]).await;
    let partial = hub.update(&[traced(set(b, KEY, "a"))]).await;
    assert_eq!((whole.status, partial.status), (400, 207));
    for message in [&whole.body["message"], &partial.errors()[0]["message"]] {
        assert!(message.as_str().unwrap().ends_with(&expected), "{message}");
    }
    hub.switch(|behaviour| behaviour.conflict = ConflictForm::WholeBatch);
    assert_eq!(hub.update(&[traced(set(b, KEY, "a"))]).await.status, 400);
    assert_eq!(hub.update(&[set(a, KEY, "a")]).await.status, 200, "its own value is no conflict");
}

#[tokio::test]
async fn removed_option_is_kept_or_cleared_and_cannot_be_written() {
    for (switch, left) in [(RemovedOptions::Kept, Some("old")), (RemovedOptions::Cleared, None)] {
        let hub = Hub::with(|switches| switches.removed_options = switch);
        hub.handle.create_property("format", PropertyType::Enumeration, false);
        assert!(hub.handle.set_options("format", &["old", "new"]));
        let id = hub.create("a").await;
        assert_eq!(hub.update(&[set(id, "format", "old")]).await.status, 200);
        let options = json!({ "options": [{ "label": "New", "value": "new" }] });
        let changed = hub.send(Method::PATCH, "/crm/v3/properties/0-410/format", &options).await;
        assert_eq!(changed.status, 200);
        assert_eq!(hub.value(id, "format").as_deref(), left);
        assert_eq!(hub.update(&[set(id, "format", "old")]).await.errors()[0]["code"], "INVALID_OPTION");
        assert_eq!(hub.update(&[set(id, "hs_course_id", "x")]).await.status, 200, "other values can change");
    }
}

#[tokio::test]
async fn single_update_follows_the_same_rules() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    let change = async |path: String, properties: Value| {
        hub.send(Method::PATCH, &path, &json!({ "properties": properties })).await
    };
    let path = format!("{LIST}/{id}");
    assert_eq!(change(path.clone(), json!({ "hs_course_name": "" })).await.status, 400);
    assert_eq!(
        change(format!("{LIST}/a?idProperty={KEY}"), json!({ "hs_course_id": "x" })).await.status,
        200
    );
    assert_eq!(change(format!("{path}?idProperty=hs_object_id"), json!({})).await.status, 400);
    hub.archive(&[id]).await;
    for path in [format!("{path}?archived=true"), path] {
        assert_eq!(change(path, json!({ "hs_course_id": "y" })).await.status, 404);
    }
    assert_eq!(hub.inputs(UPDATE, &[set(id, "hs_course_id", "y")]).await.status, 207);
    assert!(hub.is_archived(id), "an update restores nothing");
}
