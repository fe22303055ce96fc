//! Faults that depend on the content or size of a request, for every operation.

use reqwest::{Method, redirect};
use serde_json::{Value, json};
use simulator::{Answer as Served, Commit, ErrorForm, Fault, Operation};

use super::{CREATE, Hub, KEY, READ, TOKEN, course, raw, traced, with};
use crate::support::http::http_client_builder;

const FIREWALL_PAGE: &str = "<!DOCTYPE html><html><head><title>Attention Required!</title></head></html>";

fn linked(key: &str, record: &str) -> Value {
    let mut input = traced(key);
    input["associations"] = json!([{ "to": { "id": record }, "types": [
        { "associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 860 }] }]);
    input
}

/// The status of a request, whatever its body is.
async fn status(hub: &Hub, method: Method, path: &str, body: &Value) -> u16 {
    let request = hub.request(method, path, TOKEN);
    let request = if body.is_null() { request } else { request.json(body) };
    raw(request).await.unwrap().0
}

#[tokio::test]
async fn firewall_fault_blocks_one_description() {
    let hub = Hub::new().await;
    let answer = Served::Literal {
        status: 403,
        headers: [("Server", "cloudflare"), ("CF-RAY", "8a1b2c3d4e5f-FRA")]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
            .into(),
        body: FIREWALL_PAGE.to_owned(),
    };
    hub.handle.add_fault(Fault::new(answer).property("hs_course_description", "union select"));

    let blocked = with(traced("a"), "hs_course_description", "1 union select 2");
    let (status, headers, text) = raw(hub
        .request(Method::POST, CREATE, TOKEN)
        .json(&json!({ "inputs": [traced("b"), blocked.clone()] })))
    .await
    .unwrap();
    assert_eq!((status, text.as_str()), (403, FIREWALL_PAGE));
    assert_eq!(headers["content-type"], "text/html;charset=utf-8");
    assert_eq!(headers["server"], "cloudflare");
    let of_hubspot = headers.keys().filter(|name| name.as_str().starts_with("x-hubspot")).count();
    assert_eq!(of_hubspot, 0, "the edge knows no correlation id: {headers:?}");

    assert_eq!(hub.create(&[with(traced("b"), "hs_course_name", "union select")]).await.status, 201);
    assert_eq!(hub.handle.summary().records, 1);
    assert_eq!(hub.handle.journal()[0].inputs.len(), 2, "the journal lists what was blocked");
}

#[tokio::test]
async fn fault_applies_to_an_association() {
    let hub = Hub::new().await;
    let body = json!({ "status": "error", "category": "OBJECT_NOT_FOUND", "message": "resource not found",
                       "correlationId": "dc49c0a8-0000-4000-8000-000000000000" });
    hub.handle.add_fault(Fault::new(Served::literal(404, body.to_string())).association("777"));
    let refused = hub.create(&[linked("a", "101"), linked("b", "777")]).await;
    assert_eq!((refused.status, &refused.body), (404, &body));
    assert_eq!(hub.create(&[linked("a", "101"), traced("777")]).await.status, 201);
}

#[tokio::test]
async fn fault_applies_to_one_id_in_all_operations() {
    let hub = Hub::new().await;
    let id = hub.create(&[traced("bad"), traced("good")]).await.ids()["bad"].clone();
    let inputs = |id: &str| json!({ "idProperty": KEY, "inputs": [{ "id": id, "properties": {}, "idProperty": KEY }] });
    let objects = "/crm/v3/objects/0-410";
    let search = |key: &str| json!({ "filterGroups": [{ "filters": [{ "propertyName": KEY, "operator": "EQ", "value": key }] }] });
    let by_key = |key: &str| format!("{objects}/{key}?idProperty={KEY}");
    hub.handle.add_fault(Fault::new(Served::literal(500, "")).id("bad"));
    hub.handle.add_fault(Fault::new(Served::literal(500, "")).id(&id));
    hub.handle.add_fault(Fault::new(Served::literal(500, "")).on(Operation::Search).property(KEY, "bad"));
    hub.handle.add_fault(Fault::new(Served::literal(500, "")).id("Course by its name"));

    for (method, path, failing, fine) in [
        (
            Method::POST,
            CREATE.to_owned(),
            json!({ "inputs": [course("bad")] }),
            json!({ "inputs": [course("new")] }),
        ),
        (
            Method::POST,
            CREATE.to_owned(),
            json!({ "inputs": [course("by its name")] }),
            json!({ "inputs": [course("by its")] }),
        ),
        (Method::POST, objects.to_owned(), course("bad"), course("single")),
        (Method::POST, READ.to_owned(), inputs("bad"), inputs("good")),
        (Method::POST, format!("{objects}/batch/upsert"), inputs("bad"), inputs("good")),
        (Method::POST, format!("{objects}/batch/update"), inputs("bad"), inputs("good")),
        (
            Method::POST,
            format!("{objects}/batch/archive"),
            json!({ "inputs": [{ "id": id }] }),
            json!({ "inputs": [{ "id": "1" }] }),
        ),
        (Method::POST, format!("{objects}/search"), search("bad"), search("good")),
    ] {
        assert_eq!(status(&hub, method.clone(), &path, &failing).await, 500, "{path} {failing}");
        assert!(status(&hub, method, &path, &fine).await < 300, "{path} {fine}");
    }
    for path in [by_key("bad"), format!("{objects}/{id}")] {
        assert_eq!(status(&hub, Method::GET, &path, &Value::Null).await, 500, "{path}");
        assert_eq!(status(&hub, Method::PATCH, &path, &json!({ "properties": {} })).await, 500, "{path}");
        assert_eq!(status(&hub, Method::DELETE, &path, &Value::Null).await, 500, "{path}");
    }
    assert_eq!(status(&hub, Method::GET, &by_key("good"), &Value::Null).await, 200);
    assert_eq!(status(&hub, Method::GET, objects, &Value::Null).await, 200, "a list has no inputs");
}

#[tokio::test]
async fn fault_applies_to_a_property_definition() {
    let hub = Hub::new().await;
    let answer = Served::Error { status: 401, body: ErrorForm::Empty, retry_after: None };
    hub.handle.add_fault(Fault::new(answer).id(KEY));
    let path = format!("/crm/v3/properties/0-410/{KEY}");
    assert_eq!(status(&hub, Method::GET, &path, &Value::Null).await, 401);
    assert_eq!(hub.get("/crm/v3/properties/0-410/hs_course_id").await.status, 200);
    assert_eq!(hub.get("/crm/v3/properties/0-410").await.status, 200);
}

#[tokio::test]
async fn fault_applies_to_large_requests_only() {
    let hub = Hub::new().await;
    let timeout = Served::Error { status: 504, body: ErrorForm::Html, retry_after: None };
    hub.handle.add_fault(Fault::new(timeout).more_than(2).committing(Commit::Yes));
    let batch = [traced("a"), traced("b"), traced("c")];
    assert_eq!(hub.create(&batch).await.status, 504);
    assert_eq!(hub.handle.summary().records, 3, "created all the same");
    assert_eq!(hub.create(&[traced("d"), traced("e")]).await.status, 201);
    assert_eq!(hub.read(&["a", "b", "c"]).await.status, 504, "reads as well");
    assert_eq!(hub.read(&["a", "b"]).await.status, 200);

    hub.handle.clear_faults();
    let single = Served::Error { status: 502, body: ErrorForm::Empty, retry_after: None };
    hub.handle.add_fault(Fault::new(single).on(Operation::BatchRead).at_most(1));
    assert_eq!(hub.read(&["a"]).await.status, 502);
    assert_eq!(hub.read(&["a", "b"]).await.status, 200);
}

#[tokio::test]
async fn literal_answer_can_be_empty_or_html() {
    let hub = Hub::new().await;
    for (body, kind) in [("", None), ("<html></html>", Some("text/html;charset=utf-8"))] {
        hub.handle.add_fault(Fault::new(Served::literal(400, body)).property("hs_course_name", "x").times(1));
        let request = json!({ "inputs": [course("a"), with(course("b"), "hs_course_name", "x")] });
        let (status, headers, text) =
            raw(hub.request(Method::POST, CREATE, TOKEN).json(&request)).await.unwrap();
        assert_eq!((status, text.as_str()), (400, body));
        assert_eq!(headers.get("content-type").map(|kind| kind.to_str().unwrap()), kind);
    }
}

#[tokio::test]
async fn wrong_region_and_redirect_can_be_simulated() {
    let hub = Hub::new().await;
    let region = json!({ "status": "error", "correctHublet": "eu1",
        "message": "Hub 12345 is unknown to this Hublet, but it appears to exist in Hublet eu1" });
    hub.handle.add_fault(Fault::new(Served::literal(488, region.to_string())).times(1));
    let location = "https://api-eu1.hubapi.com/crm/v3/objects/0-410/batch/create";
    let headers = [("Location".to_owned(), location.to_owned())].into();
    hub.handle.add_fault(Fault::new(Served::Literal { status: 307, headers, body: String::new() }));

    let client = http_client_builder().redirect(redirect::Policy::none()).build().unwrap();
    let send = || {
        let request = client.post(format!("{}{CREATE}", hub.handle.url())).bearer_auth(TOKEN);
        raw(request.json(&json!({ "inputs": [traced("a")] })))
    };
    let (status, _, text) = send().await.unwrap();
    assert_eq!((status, serde_json::from_str::<Value>(&text).unwrap()), (488, region));
    let (status, headers, text) = send().await.unwrap();
    assert_eq!((status, headers["location"].to_str().unwrap(), text.as_str()), (307, location, ""));
    assert_eq!(hub.handle.summary().records, 0);
}

#[tokio::test]
async fn control_api_accepts_all_conditions() {
    let hub = Hub::new().await;
    let url = format!("{}/_simulator/faults", hub.handle.url());
    let add = async |fault: Value| hub.client.post(&url).json(&fault).send().await.unwrap().status().as_u16();
    let fault = json!({
        "on": { "operation": "batch_create", "association": "777",
                "property": { "name": "hs_course_name", "contains": "Course" }, "more_than": 1, "at_most": 50 },
        "answer": { "literal": { "status": 403, "headers": { "CF-RAY": "1" }, "body": "<html>blocked</html>" } }
    });
    assert_eq!(add(fault).await, 201);
    assert_eq!(hub.create(&[linked("a", "777")]).await.status, 201, "one input is not more than one");
    assert_eq!(hub.create(&[linked("b", "777"), traced("c")]).await.text, "<html>blocked</html>");

    let page = hub.client.get(hub.handle.url()).send().await.unwrap().text().await.unwrap();
    assert!(page.contains("more_than"), "the page lists the rule");
    for on in [json!({ "propety": {} }), json!({ "property": { "name": "a", "equals": "b" } })] {
        assert_eq!(add(json!({ "on": on, "answer": "hang" })).await, 422, "{on}");
    }
}
