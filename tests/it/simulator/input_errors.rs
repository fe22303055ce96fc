//! Errors for selected inputs of requests that are otherwise executed.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Answer as Served, Fault, Operation};

use super::{Answer, CREATE, Hub, KEY, TOKEN, course, raw, traced, with};

fn error(category: &str, message: &str) -> Value {
    json!({ "status": "error", "category": category, "message": message, "context": {} })
}

fn named(mut error: Value, key: &str) -> Value {
    error["context"]["objectWriteTraceId"] = json!([format!("trace-{key}")]);
    error
}

#[tokio::test]
async fn selected_inputs_fail_and_the_others_are_created() {
    for category in
        ["RATE_LIMITS", "INTERNAL_ERROR", "SERVICE_UNAVAILABLE", "VALIDATION_ERROR", "MISSING_SCOPES"]
    {
        let hub = Hub::new().await;
        let error = error(category, "Please try again later");
        let fault = Fault::new(Served::input_error(error.clone()));
        hub.handle.add_fault(fault.on(Operation::BatchCreate).property("hs_course_id", "late").times(1));

        let answer = hub.create(&[traced("a"), with(traced("b"), "hs_course_id", "late")]).await;
        assert_eq!((answer.status, &answer.body["numErrors"]), (207, &json!(1)));
        assert_eq!(answer.ids().into_keys().collect::<Vec<_>>(), ["a"]);
        assert_eq!(answer.body["errors"], json!([named(error, "b")]));
        assert_eq!(hub.handle.summary().records, 1);
        let made: Vec<bool> = hub.handle.journal()[0].inputs.iter().map(|input| input.id.is_some()).collect();
        assert_eq!(made, [true, false], "the journal knows what was created");

        let again = hub.create(&[with(traced("b"), "hs_course_id", "late")]).await;
        assert_eq!(again.status, 201, "the key is free");
    }
}

#[tokio::test]
async fn inputs_are_selected_by_association_and_id() {
    let hub = Hub::new().await;
    let scope = error("MISSING_SCOPES", "No permission for this association");
    hub.handle.add_fault(Fault::new(Served::input_error(scope)).association("777").times(1));
    let mut linked = traced("b");
    linked["associations"] = json!([{ "to": { "id": "777" }, "types": [
        { "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 860 }] }]);
    let answer = hub.create(&[traced("a"), linked]).await;
    assert_eq!(answer.body["errors"][0]["context"]["objectWriteTraceId"], json!(["trace-b"]));

    hub.handle.add_fault(Fault::new(Served::input_error(error("INTERNAL_ERROR", "internal error"))).id("c"));
    let answer = hub.create(&[traced("c"), traced("cc")]).await;
    assert_eq!(answer.body["errors"][0]["context"]["objectWriteTraceId"], json!(["trace-c"]));
    assert_eq!(answer.ids().into_keys().collect::<Vec<_>>(), ["cc"]);
}

#[tokio::test]
async fn all_inputs_can_fail_with_the_same_error() {
    let hub = Hub::new().await;
    let error = error("VALIDATION_ERROR", "Record limit reached for COURSE");
    hub.handle.add_fault(Fault::new(Served::input_error(error.clone())).on(Operation::BatchCreate));
    let answer = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!((answer.status, answer.results().len()), (207, 0));
    assert_eq!(answer.body["errors"], json!([named(error.clone(), "a"), named(error.clone(), "b")]));

    let whole = hub.create(&[course("a"), course("b")]).await;
    assert_eq!((whole.status, whole.message()), (400, "Record limit reached for COURSE"));
    assert_eq!(whole.body["correlationId"], whole.header("x-hubspot-correlation-id").unwrap());
    assert_eq!(hub.handle.summary().records, 0);
}

#[tokio::test]
async fn input_can_have_both_result_and_error() {
    let hub = Hub::new().await;
    let error = error("VALIDATION_ERROR", "The association could not be created");
    let answer = Served::InputError { error: error.clone(), commit: true, named: true };
    hub.handle.add_fault(Fault::new(answer).id("b"));
    let answer = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!((answer.status, answer.ids().len()), (207, 2));
    assert_eq!(answer.body["errors"], json!([named(error, "b")]));
    assert_eq!(hub.handle.summary().records, 2);
}

#[tokio::test]
async fn error_can_omit_its_input() {
    let hub = Hub::new().await;
    let error = error("INTERNAL_ERROR", "internal error");
    let answer = Served::InputError { error: error.clone(), commit: false, named: false };
    hub.handle.add_fault(Fault::new(answer).id("b"));
    let answer = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!(answer.body["errors"], json!([error.clone()]));

    hub.handle.clear_faults();
    hub.handle.change_behaviour(|behaviour| behaviour.name_inputs = false);
    hub.handle.add_fault(Fault::new(Served::input_error(error.clone())).id("d"));
    let answer = hub.create(&[traced("c"), traced("d")]).await;
    assert_eq!(answer.body["errors"], json!([error]), "the switch for all errors counts, too");
}

#[tokio::test]
async fn error_object_is_unchanged() {
    let hub = Hub::new().await;
    let error = json!({ "category": "VALIDATION_ERROR", "message": "odd", "subCategory": { "any": 1 },
                        "errors": [{ "message": "odd", "code": "NEW_CODE", "context": { "propertyName": ["p"] } }],
                        "context": { "extra": ["x"] } });
    let body = json!({ "answer": { "input_error": { "error": error } }, "on": { "id": "a" } });
    let url = format!("{}/_simulator/faults", hub.handle.url());
    assert_eq!(hub.client.post(url).json(&body).send().await.unwrap().status(), 201);
    let request = hub.request(Method::POST, CREATE, TOKEN).json(&json!({ "inputs": [traced("a")] }));
    let (status, _, text) = raw(request).await.unwrap();
    let answer: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, &answer["errors"]), (207, &json!([named(error, "a")])));
}

#[tokio::test]
async fn upserts_and_reads_can_have_input_errors() {
    let hub = Hub::new().await;
    hub.create(&[traced("a"), traced("b")]).await;
    let error = error("INTERNAL_ERROR", "internal error");
    hub.handle.add_fault(Fault::new(Served::input_error(error.clone())).id("b"));

    let read = hub.read(&["a", "b", "c"]).await;
    assert_eq!((read.status, read.ids().len(), &read.body["numErrors"]), (207, 1, &json!(2)));
    assert_eq!(read.body["errors"][0]["context"], json!({ "ids": ["c"] }));
    assert_eq!(read.body["errors"][1]["category"], "INTERNAL_ERROR");
    assert_eq!(read.body["errors"][1]["context"], json!({ "ids": ["b"] }));

    let input = |key: &str| {
        json!({ "id": key, "idProperty": KEY, "objectWriteTraceId": format!("trace-{key}"),
                "properties": { "hs_course_name": "New name", KEY: key } })
    };
    let path = "/crm/v3/objects/0-410/batch/upsert";
    let request = hub.request(Method::POST, path, TOKEN).json(&json!({ "inputs": [input("a"), input("b")] }));
    let upsert = Answer::of(request, path).await;
    assert_eq!((upsert.status, upsert.ids().into_keys().collect::<Vec<_>>()), (207, vec!["a".to_owned()]));
    assert_eq!(upsert.body["errors"], json!([named(error, "b")]));
}
