//! Batch create, upsert, update, archive; single records.

use std::collections::BTreeSet;

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, CREATE, Hub, KEY, TOKEN, course, traced, with};

#[tokio::test]
async fn batch_results_are_in_random_order() {
    let hub = Hub::new().await;
    let inputs: Vec<Value> = (0..50).map(|n| traced(&format!("k{n:02}"))).collect();
    let answer = hub.create(&inputs).await;
    assert_eq!(answer.status, 201, "{}", answer.text);
    assert_eq!(answer.body["status"], "COMPLETE");
    assert_eq!(answer.ids().len(), 50);
    let order: Vec<&str> =
        answer.results().iter().map(|result| result["properties"][KEY].as_str().unwrap()).collect();
    assert!(!order.is_sorted(), "results are not in request order");
    let by_key: Vec<String> = answer.ids().into_values().collect();
    assert!(!by_key.is_sorted(), "ids do not grow in input order");
    for result in answer.results() {
        assert_eq!(result["properties"]["hs_object_id"], result["id"]);
        assert_eq!(result["properties"]["hs_createdate"], result["createdAt"]);
        assert!(result.get("objectWriteTraceId").is_none(), "trace ids are not echoed");
    }
    let (status, headers) = (answer.status, &answer.headers);
    assert!(status == 201 && headers.contains_key("x-hubspot-correlation-id"));
}

#[tokio::test]
async fn both_forms_of_paths_and_the_type_name_work() {
    let hub = Hub::new().await;
    for (n, path) in
        [CREATE, "/crm/objects/2026-03/0-410/batch/create", "/crm/v3/objects/courses/batch/create"]
            .into_iter()
            .enumerate()
    {
        let answer = hub.post(path, &json!({ "inputs": [course(&n.to_string())], "junk": true })).await;
        assert_eq!(answer.status, 201, "{path}: {}", answer.text);
    }
    assert_eq!(hub.handle.summary().records, 3);
}

#[tokio::test]
async fn without_trace_ids_one_invalid_input_rejects_the_batch() {
    let hub = Hub::new().await;
    let answer = hub.create(&[course("a"), with(course("b"), "missing", "x")]).await;
    assert_eq!(answer.status, 400);
    assert_eq!(answer.body["category"], "VALIDATION_ERROR");
    assert_eq!(
        answer.body["errors"],
        json!([{ "message": "Property \"missing\" does not exist", "code": "PROPERTY_DOESNT_EXIST",
                 "context": { "propertyName": ["missing"] } }])
    );
    assert!(answer.message().starts_with(
        "Property values were not valid: [{\"isValid\":false,\"message\":\"Property \\\"missing\\\" does not \
         exist\",\"error\":\"PROPERTY_DOESNT_EXIST\",\"name\":\"missing\",\"localizedErrorMessage\":"
    ));
    assert_eq!(answer.body["correlationId"], answer.header("x-hubspot-correlation-id").unwrap());
    assert_eq!(hub.handle.summary().records, 0, "nothing was written");
}

#[tokio::test]
async fn with_unique_trace_ids_valid_inputs_are_created() {
    let hub = Hub::new().await;
    let answer = hub.create(&[traced("a"), with(traced("b"), "missing", "x"), traced("c")]).await;
    assert_eq!(answer.status, 207);
    assert_eq!(answer.ids().into_keys().collect::<Vec<_>>(), ["a", "c"]);
    assert_eq!(answer.body["numErrors"], 1);
    let error = &answer.body["errors"][0];
    assert_eq!(error["context"], json!({ "objectWriteTraceId": ["trace-b"] }));
    assert_eq!(error["category"], "VALIDATION_ERROR");
    assert!(error.get("errors").is_none() && error.get("links").is_none());
    assert!(error["message"].as_str().unwrap().contains("\"error\":\"PROPERTY_DOESNT_EXIST\""));

    let all_bad = hub.create(&[with(traced("d"), "missing", "x")]).await;
    assert_eq!((all_bad.status, all_bad.results().len()), (207, 0));
}

#[tokio::test]
async fn repeated_or_missing_trace_id_rejects_the_batch() {
    let hub = Hub::new().await;
    let bad = with(traced("b"), "missing", "x");
    let mut twin = traced("a");
    twin["objectWriteTraceId"] = bad["objectWriteTraceId"].clone();
    assert_eq!(hub.create(&[twin, bad.clone()]).await.status, 400);
    assert_eq!(hub.create(&[course("a"), bad]).await.status, 400);
    assert_eq!(hub.handle.summary().records, 0);
}

#[tokio::test]
async fn create_is_not_idempotent_but_unique_values_are_enforced() {
    let hub = Hub::new().await;
    let nameless = json!({ "properties": { "hs_course_name": "Twice" } });
    assert_eq!(hub.create(std::slice::from_ref(&nameless)).await.status, 201);
    assert_eq!(hub.create(&[nameless]).await.status, 201);
    assert_eq!(hub.handle.summary().duplicates_by_name, 1);

    let holder = hub.create(&[traced("a")]).await.ids()["a"].clone();
    let whole = hub.create(&[course("a")]).await;
    assert_eq!((whole.status, &whole.body["category"]), (400, &json!("VALIDATION_ERROR")));
    let partial = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!(partial.status, 207);
    for message in [whole.message(), partial.body["errors"][0]["message"].as_str().unwrap()] {
        assert!(message.starts_with("Cannot set PropertyValueCoordinates{portalId="), "{message}");
        assert!(message.contains("propertyName=course_key, value=a} on "), "{message}");
        assert!(message.ends_with(&format!(". {holder} already has that value.")), "{message}");
        let half_made = message.split("} on ").nth(1).unwrap().split('.').next().unwrap();
        assert_ne!(half_made, holder);
        assert!(hub.handle.records().iter().all(|record| record.id.to_string() != half_made));
    }
}

#[tokio::test]
async fn duplicate_unique_value_in_a_batch_is_created_once() {
    let hub = Hub::new().await;
    let mut twin = traced("a");
    twin["objectWriteTraceId"] = json!("other");
    let answer = hub.create(&[traced("a"), twin.clone()]).await;
    assert_eq!((answer.status, answer.results().len()), (207, 1));
    assert_eq!(answer.body["errors"][0]["context"]["objectWriteTraceId"], json!(["other"]));
    assert_eq!(hub.create(&[course("b"), course("b")]).await.status, 400);
    assert_eq!(hub.handle.summary().records, 1);
}

#[tokio::test]
async fn upsert_creates_or_updates() {
    let hub = Hub::new().await;
    let id = hub.create(&[traced("a")]).await.ids()["a"].clone();
    let upsert = |key: &str| {
        json!({ "id": key, "idProperty": KEY, "objectWriteTraceId": key,
                "properties": { "hs_course_name": "New name", KEY: key } })
    };
    let path = "/crm/v3/objects/0-410/batch/upsert";
    let answer = hub.post(path, &json!({ "inputs": [upsert("a"), upsert("b")] })).await;
    assert_eq!(answer.status, 200, "{}", answer.text);
    let made: BTreeSet<(String, bool)> = answer
        .results()
        .iter()
        .map(|result| {
            (result["properties"][KEY].as_str().unwrap().to_owned(), result["new"].as_bool().unwrap())
        })
        .collect();
    assert_eq!(made, BTreeSet::from([("a".to_owned(), false), ("b".to_owned(), true)]));
    assert_eq!(answer.ids()["a"], id);

    let twice = hub.post(path, &json!({ "inputs": [upsert("a"), upsert("a")] })).await;
    assert_eq!(twice.status, 400);
    assert_eq!(twice.message(), "Duplicate IDs found in batch input: [a]. IDs must be unique");
    assert_eq!(twice.body["context"], json!({ "ids": ["a"] }));

    let mut loose = upsert("c");
    loose["idProperty"] = json!("hs_course_id");
    let refused = hub.post(path, &json!({ "inputs": [loose] })).await;
    assert_eq!(refused.status, 400);
    assert!(refused.message().starts_with("Unable to perform update/upsert by non-unique 0-410 property"));
}

#[tokio::test]
async fn records_are_updated_and_archived() {
    let hub = Hub::new().await;
    let id = hub.create(&[traced("a")]).await.ids()["a"].clone();
    let update = json!({ "inputs": [{ "id": id, "properties": { "hs_course_id": "c-1" } }] });
    let changed = hub.post("/crm/v3/objects/0-410/batch/update", &update).await;
    assert_eq!((changed.status, &changed.results()[0]["properties"]["hs_course_id"]), (200, &json!("c-1")));

    let path = format!("/crm/v3/objects/0-410/{id}");
    let change =
        hub.request(Method::PATCH, &path, TOKEN).json(&json!({ "properties": { "hs_course_id": "" } }));
    let patched = Answer::of(change, &path).await;
    assert_eq!((patched.status, &patched.body["properties"]["hs_course_id"]), (200, &json!("")));

    let deleted = Answer::of(hub.request(Method::DELETE, &path, TOKEN), &path).await;
    assert_eq!((deleted.status, deleted.text.as_str()), (204, ""));
    let gone = hub.get(&path).await;
    assert_eq!((gone.status, gone.message()), (404, "resource not found"));
    assert_eq!(hub.get(&format!("{path}?archived=true")).await.body["archived"], true);
    assert_eq!((hub.handle.summary().records, hub.handle.summary().archived), (0, 1));

    let single = hub.post("/crm/v3/objects/0-410", &course("b")).await;
    assert_eq!((single.status, &single.body["properties"][KEY]), (201, &json!("b")));
    let inputs = json!({ "inputs": [{ "id": single.body["id"] }] });
    assert_eq!(hub.post("/crm/v3/objects/0-410/batch/archive", &inputs).await.status, 204);
    assert_eq!(hub.handle.summary().archived, 2);
}

#[tokio::test]
async fn concurrent_batches_lose_and_duplicate_nothing() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| {
        behaviour.latency.min_ms = 20;
        behaviour.latency.max_ms = 60;
    });
    let batches = (0..40).map(|batch| {
        let inputs: Vec<Value> = (0..100).map(|n| traced(&format!("{batch}-{n}"))).collect();
        hub.request(Method::POST, CREATE, TOKEN).json(&json!({ "inputs": inputs }))
    });
    let sending: Vec<_> = batches.map(|request| tokio::spawn(Answer::of(request, CREATE))).collect();
    let mut ids = BTreeSet::new();
    for sent in sending {
        ids.extend(sent.await.unwrap().ids().into_values());
    }
    let summary = hub.handle.summary();
    assert_eq!((ids.len(), summary.records, summary.duplicates_by_unique), (4_000, 4_000, 0));
    assert_eq!((summary.worst_window, summary.open), (40, 0));
    assert!(summary.max_open > 1, "they overlapped");
}
