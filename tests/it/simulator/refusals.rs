//! Error responses, with HubSpot's messages.

use reqwest::Method;
use serde_json::{Value, json};
use simulator::CoursesState;

use super::{Answer, CREATE, Hub, TOKEN, course, raw, traced, with};

async fn send(hub: &Hub, text: &'static str) -> Answer {
    let request = hub.request(Method::POST, CREATE, TOKEN).header("content-type", "application/json");
    Answer::of(request.body(text), CREATE).await
}

#[tokio::test]
async fn batch_has_one_to_a_hundred_inputs() {
    let hub = Hub::new().await;
    let inputs: Vec<Value> = (0..101).map(|n| course(&n.to_string())).collect();
    let many = hub.create(&inputs).await;
    assert_eq!((many.status, &many.body["category"]), (400, &json!("VALIDATION_ERROR")));
    assert_eq!(
        many.message(),
        "The maximum number of inputs supported in a batch is 100. Please reduce the number of items and try \
         again"
    );
    let none = hub.create(&[]).await;
    assert_eq!((none.status, none.message()), (400, "Batch input provided should have at least one object."));
}

#[tokio::test]
async fn body_without_inputs_succeeds_and_does_nothing() {
    let hub = Hub::new().await;
    let answer = hub.post(CREATE, &course("a")).await;
    assert_eq!((answer.status, &answer.body["status"]), (201, &json!("COMPLETE")));
    assert!(answer.results().is_empty() && answer.body.get("errors").is_none());
    assert_eq!(hub.handle.summary().records, 0);
}

#[tokio::test]
async fn non_string_values_and_invalid_json_are_rejected() {
    let hub = Hub::new().await;
    let number = send(&hub, r#"{"inputs":[{"properties":{"hs_course_name":5}}]}"#).await;
    assert_eq!(number.status, 400);
    assert!(number.message().starts_with("Invalid input JSON on line 1, column "), "{}", number.message());
    assert!(number.message().contains("Cannot deserialize value of type `java.lang.String` from Integer"));
    assert!(number.body.get("category").is_none());
    let null = send(&hub, r#"{"inputs":[{"properties":{"hs_course_name":null}}]}"#).await;
    assert!(null.message().starts_with("Invalid input JSON"), "{}", null.message());
    let array = send(&hub, "{\"inputs\":[\n[1]]}").await;
    assert!(array.message().contains(
        "Cannot deserialize value of type \
         `com.hubspot.inbounddb.publicobject.core.v2.SimplePublicObjectBatchInput$Json` from Array value \
         (token `JsonToken.START_ARRAY`)"
    ));
    let broken = send(&hub, "{\"inputs\":").await;
    assert!(broken.message().starts_with("Invalid input JSON on line 1"), "{}", broken.message());
    let without = send(&hub, r#"{"inputs":[{"associations":[]}]}"#).await;
    assert_eq!((without.status, without.message()), (400, "Some required fields were not set: [properties]"));
    let untyped = hub.request(Method::POST, CREATE, TOKEN).body("{}");
    assert_eq!(raw(untyped).await.unwrap().0, 415);
}

#[tokio::test]
async fn course_without_name_is_rejected() {
    let hub = Hub::new().await;
    for properties in [json!({}), json!({ "hs_course_name": "" })] {
        let answer = hub.create(&[json!({ "properties": properties })]).await;
        assert_eq!(answer.status, 400);
        assert_eq!(answer.message(), "Error creating COURSE. Some required properties were not set.");
        assert_eq!(answer.body["context"], json!({ "properties": ["hs_course_name"] }));
    }
}

#[tokio::test]
async fn later_versions_report_missing_properties_with_a_code() {
    let hub = Hub::new().await;
    let inputs = json!({ "inputs": [{ "properties": {} }] });
    let answer = hub.post("/crm/objects/2026-09/0-410/batch/create", &inputs).await;
    assert_eq!(
        (answer.status, &answer.body["errors"][0]["code"]),
        (400, &json!("MISSING_REQUIRED_PROPERTY"))
    );
    assert_eq!(answer.body["errors"][0]["message"], "A value for hs_course_name must be provided");
}

#[tokio::test]
async fn values_are_validated_against_their_property() {
    let hub = Hub::new().await;
    let long = "x".repeat(65_537);
    let cases = [
        (
            "hs_enrollment_capacity",
            "many",
            "INVALID_INTEGER",
            "hs_enrollment_capacity was not a valid number",
        ),
        ("hs_pipeline_stage", "X", "INVALID_OPTION", "X was not one of the allowed options: [3e1a235d-"),
        (
            "hs_object_id",
            "1",
            "READ_ONLY_VALUE",
            "\"hs_object_id\" is a read only property; its value cannot",
        ),
        ("hs_course_id", long.as_str(), "INVALID_LENGTH", "Property value for \"hs_course_id\" is too long"),
    ];
    for (property, value, code, message) in cases {
        let answer = hub.create(&[with(course("a"), property, value)]).await;
        assert_eq!(answer.status, 400);
        let detail = &answer.body["errors"][0];
        assert_eq!((&detail["code"], &detail["context"]["propertyName"]), (&json!(code), &json!([property])));
        assert!(detail["message"].as_str().unwrap().starts_with(message), "{detail}");
    }
    let fits = with(course("a"), "hs_course_description", &"x".repeat(65_536));
    assert_eq!(hub.create(&[fits]).await.status, 201);
}

#[tokio::test]
async fn error_response_lists_only_some_errors() {
    let hub = Hub::new().await;
    let inputs: Vec<Value> =
        (0..4).map(|n| with(course(&n.to_string()), &format!("missing_{n}"), "x")).collect();
    let answer = hub.create(&inputs).await;
    assert_eq!(answer.body["errors"].as_array().unwrap().len(), 3);
    assert_eq!(answer.message().matches("PROPERTY_DOESNT_EXIST").count(), 4);
}

#[tokio::test]
async fn associations_must_refer_to_known_records() {
    let hub = Hub::new().await;
    let tied = |id: &str, kind: u32| {
        let mut input = traced(id);
        input["associations"] = json!([{ "to": { "id": id }, "types": [
            { "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": kind }] }]);
        input
    };
    assert_eq!(hub.create(&[tied("101", 860)]).await.status, 201);
    hub.handle.change_behaviour(|behaviour| behaviour.association_targets = Some(["7".to_owned()].into()));
    for input in [tied("102", 860), tied("7", 1), tied("abc", 860)] {
        let answer = hub.create(&[input]).await;
        assert_eq!(answer.status, 207);
        let error = &answer.body["errors"][0];
        assert_eq!(error["message"], "one or more associations are not valid");
        assert!(error["subCategory"].is_string(), "contrary to the documentation");
    }
}

#[tokio::test]
async fn unknown_object_type_is_400_without_category() {
    let hub = Hub::new().await;
    let cases = [
        ("widgets", "Unable to infer object type from: widgets"),
        ("0-9999", "Invalid object or event type id: 0-9999"),
    ];
    for (kind, message) in cases {
        let answer =
            hub.post(&format!("/crm/v3/objects/{kind}/batch/create"), &json!({ "inputs": [] })).await;
        assert_eq!((answer.status, answer.message()), (400, message));
        assert!(answer.body.get("category").is_none());
    }
}

#[tokio::test]
async fn unknown_url_is_html_or_an_empty_body() {
    let hub = Hub::new().await;
    let page = hub.get("/crm/v3/objects/0-410/batch/merge/now").await;
    assert_eq!(page.status, 404);
    assert!(page.text.contains("<title>Error 404"), "{}", page.text);
    let bare = hub.request(Method::GET, "/nowhere", TOKEN).header("accept", "application/json");
    let (status, _, text) = raw(bare).await.unwrap();
    assert_eq!((status, text.as_str()), (404, ""));
    assert_eq!(hub.get(CREATE).await.status, 405);
}

#[tokio::test]
async fn invalid_tokens_are_rejected_with_hubspots_errors() {
    let hub = Hub::new().await;
    let send = async |token: &str| {
        Answer::of(hub.request(Method::POST, CREATE, token).json(&json!({ "inputs": [course("a")] })), CREATE)
            .await
    };
    let unknown = send("pat-na1-revoked").await;
    assert_eq!((unknown.status, &unknown.body["category"]), (401, &json!("INVALID_AUTHENTICATION")));
    assert!(
        unknown.message().starts_with("Authentication credentials not found. This API supports OAuth 2.0")
    );
    let garbage = send("nonsense").await;
    assert_eq!((garbage.status, &garbage.body["category"]), (401, &json!("EXPIRED_AUTHENTICATION")));
    assert_eq!(garbage.body["context"], json!({ "expire time": ["1970-01-01T00:00:00Z"] }));
    assert!(garbage.message().ends_with(" day(s) ago."), "{}", garbage.message());
    hub.handle.set_token("pat-na1-new");
    assert_eq!(send(TOKEN).await.status, 401);
    assert_eq!(send("pat-na1-new").await.status, 201);
    assert_eq!(hub.handle.summary().worst_window, 1, "only the good one belongs to the account");
    let shown = serde_json::to_string(&hub.handle.journal()).unwrap();
    assert!(!shown.contains("pat-na1"), "the journal holds no token");
}

#[tokio::test]
async fn missing_scopes_are_listed() {
    let hub = Hub::new().await;
    hub.handle.set_scopes(["crm.objects.courses.read".to_owned()].into());
    let answer = hub.create(&[course("a")]).await;
    assert_eq!((answer.status, &answer.body["category"]), (403, &json!("MISSING_SCOPES")));
    assert_eq!(
        answer.message(),
        "This app hasn't been granted all required scopes to make this call. Read more about required scopes \
         here: https://developers.hubspot.com/scopes."
    );
    assert_eq!(
        answer.body["errors"][0],
        json!({ "message": "One or more of the following scopes are required.",
                "context": { "requiredGranularScopes": ["crm.objects.courses.write"] } })
    );
    assert_eq!(answer.body["links"]["scopes"], "https://developers.hubspot.com/scopes");
    assert_eq!(hub.read(&["a"]).await.status, 207, "reading is granted");
}

#[tokio::test]
async fn disabled_courses_fail_in_both_forms() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.courses = CoursesState::Forbidden);
    assert_eq!(hub.create(&[course("a")]).await.status, 403);
    hub.handle.change_behaviour(|behaviour| behaviour.courses = CoursesState::Unknown);
    let answer = hub.create(&[course("a")]).await;
    assert_eq!((answer.status, answer.message()), (400, "Unable to infer object type from: 0-410"));
    let listed = hub.get("/crm/v3/object-library/enablement").await;
    assert_eq!(listed.body["enablementByObjectTypeId"]["0-410"], false);
}
