//! The endpoints about the account, tokens, the page and the control API.

use std::net::{Ipv4Addr, SocketAddr};

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Answer as Served, Fault, RecordLimit, Settings, Simulator};
use tokio::sync::oneshot;

use super::{Answer, CREATE, Hub, TOKEN, course, eventually, raw, with};
use crate::support::http::http_client;

async fn refresh(hub: &Hub, path: &str, fields: [(&str, &str); 4]) -> Answer {
    let form: Vec<String> = fields.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let request = hub.client.post(format!("{}{path}", hub.handle.url()));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form.join("&"));
    Answer::of(request, path).await
}

const GOOD: [(&str, &str); 4] = [
    ("grant_type", "refresh_token"),
    ("client_id", "simulator-client"),
    ("client_secret", "simulator-secret"),
    ("refresh_token", "simulator-refresh"),
];

#[tokio::test]
async fn account_details_and_usage_are_reported() {
    let hub = Hub::new().await;
    let details = hub.get("/account-info/v3/details").await;
    assert_eq!((details.status, &details.body["timeZone"]), (200, &json!("US/Eastern")));
    let listed = hub.get("/crm/v3/object-library/enablement").await;
    assert_eq!(listed.body["enablementByObjectTypeId"]["0-410"], true);
    assert_eq!(hub.get("/crm/v3/object-library/enablement/0-410").await.body["enablement"], true);
    let path = "/oauth/v2/private-apps/get/access-token-info";
    let info = hub.post(path, &json!({ "tokenKey": TOKEN })).await;
    assert_eq!((info.status, &info.body["hubId"]), (200, &details.body["portalId"]));
    assert!(info.body["scopes"].as_array().unwrap().contains(&json!("crm.objects.courses.write")));
    assert_eq!(hub.post(path, &json!({ "tokenKey": "pat-na1-other" })).await.status, 401);
}

#[tokio::test]
async fn each_refresh_issues_a_new_access_token() {
    let hub = Hub::new().await;
    let mut tokens = Vec::new();
    for path in ["/oauth/v1/token", "/oauth/2026-03/token"] {
        let grant = refresh(&hub, path, GOOD).await;
        assert_eq!((grant.status, &grant.body["expires_in"]), (200, &json!(1_800)));
        tokens.push(grant.body["access_token"].as_str().unwrap().to_owned());
    }
    assert_ne!(tokens[0], tokens[1]);
    let about = hub.get(&format!("/oauth/v1/access-tokens/{}", tokens[0])).await;
    assert_eq!((about.status, &about.body["token"]), (200, &json!(tokens[0])));
    let journal = serde_json::to_string(&hub.handle.journal()).unwrap();
    assert!(!journal.contains(&tokens[0]), "the journal holds no token");

    hub.handle.expire_tokens();
    let create = hub.request(Method::POST, CREATE, &tokens[1]).json(&json!({ "inputs": [course("a")] }));
    let late = Answer::of(create, CREATE).await;
    assert_eq!((late.status, &late.body["category"]), (401, &json!("EXPIRED_AUTHENTICATION")));
    assert!(late.message().starts_with("The OAuth token used to make this call expired "));
    assert!(late.message().ends_with(" second(s) ago."), "{}", late.message());
}

#[tokio::test]
async fn rejected_refresh_has_hubspots_error() {
    let hub = Hub::new().await;
    let cases = [
        ("refresh_token", "BAD_REFRESH_TOKEN", "missing or invalid refresh token"),
        ("client_id", "BAD_CLIENT_ID", "missing or invalid client id"),
        ("client_secret", "BAD_CLIENT_SECRET", "missing or invalid client secret"),
    ];
    for (field, status, message) in cases {
        let wrong = GOOD.map(|(name, value)| (name, if name == field { "wrong" } else { value }));
        let answer = refresh(&hub, "/oauth/v1/token", wrong).await;
        assert_eq!((answer.status, &answer.body["status"]), (400, &json!(status)));
        assert_eq!(answer.message(), message);
    }
}

#[tokio::test]
async fn dated_oauth_endpoints_follow_rfc_6749() {
    let hub = Hub::new().await;
    let wrong = GOOD.map(|(name, value)| (name, if name == "refresh_token" { "wrong" } else { value }));
    let both = refresh(&hub, "/oauth/2026-03/token", wrong).await;
    assert_eq!((both.status, &both.body["error"]), (400, &json!("invalid_grant")));
    assert_eq!(both.body["status"], "BAD_REFRESH_TOKEN");
    hub.handle.change_behaviour(|behaviour| behaviour.account.rfc6749_alone = true);
    let alone = refresh(&hub, "/oauth/2026-03/token", wrong).await;
    assert_eq!(alone.body["error_description"], "missing or invalid refresh token");
    assert_eq!((&alone.body["status"], &alone.body["message"]), (&Value::Null, &Value::Null));

    let grant = refresh(&hub, "/oauth/2026-03/token", GOOD).await;
    assert_eq!(grant.body["token_use"], "access_token");
    let token = grant.body["access_token"].as_str().unwrap();
    let path = "/oauth/2026-03/token/introspect";
    let ask = |token: &'static str| [GOOD[1], GOOD[2], ("token", token), ("token_type_hint", "access_token")];
    let known = refresh(&hub, path, ask(String::leak(token.to_owned()))).await;
    assert_eq!((known.status, &known.body["active"]), (200, &json!(true)));
    assert!(known.body["scopes"].as_array().unwrap().contains(&json!("crm.objects.courses.read")));
    let unknown = refresh(&hub, path, ask("another")).await;
    assert_eq!((unknown.status, &unknown.body), (200, &json!({ "active": false })));

    hub.handle.change_behaviour(|behaviour| behaviour.account.oauth_v1_gone = true);
    assert_eq!(refresh(&hub, "/oauth/v1/token", GOOD).await.status, 404);
    assert_eq!(hub.get(&format!("/oauth/v1/access-tokens/{token}")).await.status, 404);
    hub.handle.change_behaviour(|behaviour| behaviour.account.oauth_dated_gone = true);
    assert_eq!(refresh(&hub, "/oauth/2026-03/token", GOOD).await.status, 404);
    assert_eq!(refresh(&hub, path, ask("another")).await.status, 404);
}

#[tokio::test]
async fn record_limits_list_courses_if_enabled() {
    let hub = Hub::new().await;
    hub.create(&[course("a")]).await;
    for path in ["/crm/v3/limits/records", "/crm/limits/2026-03/records"] {
        hub.handle.change_behaviour(|behaviour| behaviour.account.record_limit = None);
        let types = hub.get(path).await.body["hubspotDefinedObjectTypes"].clone();
        assert!(types.as_array().unwrap().iter().all(|it| it["objectTypeId"] != "0-410"), "{types}");
        let limit = RecordLimit { limit: 200, others: 49 };
        hub.handle.change_behaviour(|behaviour| behaviour.account.record_limit = Some(limit));
        let types = hub.get(path).await.body["hubspotDefinedObjectTypes"].clone();
        let courses = types.as_array().unwrap().iter().find(|it| it["objectTypeId"] == "0-410").unwrap();
        let numbers = ["limit", "usage", "percentage"].map(|name| courses[name].as_u64());
        assert_eq!(numbers, [Some(200), Some(50), Some(25)]);
    }
    hub.handle.set_scopes(["crm.schemas.courses.read".to_owned()].into());
    assert_eq!(hub.get("/crm/v3/limits/records").await.status, 403);
}

#[tokio::test]
async fn page_escapes_values() {
    let hub = Hub::new().await;
    let nasty = "<script>alert(1)</script>";
    assert_eq!(hub.create(&[with(course("a"), "hs_course_name", nasty)]).await.status, 201);
    let (status, headers, text) = raw(hub.client.get(hub.handle.url())).await.unwrap();
    assert_eq!(status, 200);
    assert!(text.contains("&lt;script&gt;") && !text.contains(nasty));
    assert!(headers["content-security-policy"].to_str().unwrap().starts_with("default-src 'none'"));
}

#[tokio::test]
async fn control_api_has_the_same_effects_as_the_handle() {
    let hub = Hub::new().await;
    let call = async |method: Method, path: &str, body: Value| {
        let request = hub.client.request(method, format!("{}/_simulator/{path}", hub.handle.url()));
        let (status, _, text) = raw(request.json(&body)).await.unwrap();
        (status, serde_json::from_str::<Value>(&text).unwrap_or(Value::Null))
    };
    let (status, behaviour) = call(Method::PUT, "behaviour", json!({ "echo_trace_ids": true })).await;
    assert_eq!((status, &behaviour["echo_trace_ids"]), (200, &json!(true)));
    assert!(hub.handle.behaviour().echo_trace_ids);
    assert_eq!(call(Method::PUT, "behaviour", json!({ "unheard_of": 1 })).await.0, 400);

    let fault = json!({ "on": { "operation": "batch_create", "nth": 2 }, "times": 1,
                        "answer": { "error": { "status": 500 } } });
    assert_eq!(call(Method::POST, "faults", fault).await.0, 201);
    let listed = call(Method::GET, "faults", Value::Null).await.1;
    let listed: Vec<Fault> = serde_json::from_value(listed).unwrap();
    assert_eq!(listed, hub.handle.faults());
    assert_eq!(call(Method::DELETE, "faults", Value::Null).await.0, 204);

    assert_eq!(call(Method::POST, "neighbour", json!({ "requests": 3 })).await.0, 204);
    hub.create(&[course("a")]).await;
    let summary = call(Method::GET, "summary", Value::Null).await.1;
    assert_eq!((&summary["records"], &summary["worst_window"]), (&json!(1), &json!(1)));
    assert_eq!(summary["used_today"], 4);
    assert_eq!(call(Method::GET, "records", Value::Null).await.1[0]["properties"]["course_key"], "a");
    assert_eq!(call(Method::GET, "journal", Value::Null).await.1[0]["operation"], "batch_create");

    assert_eq!(call(Method::PUT, "scopes", json!({ "scopes": [] })).await.0, 204);
    assert_eq!(hub.create(&[course("b")]).await.status, 403);
    assert_eq!(call(Method::PUT, "token", json!({ "token": "pat-na1-new" })).await.0, 204);
    assert_eq!(hub.create(&[course("b")]).await.status, 401);
    assert_eq!(call(Method::POST, "midnight", json!({})).await.0, 204);
    assert_eq!(call(Method::POST, "reset", json!({})).await.0, 204);
    assert_eq!((hub.handle.summary().records, hub.handle.summary().requests), (0, 0));
}

#[tokio::test]
async fn stop_closes_connections_and_restart_keeps_records() {
    let anywhere = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let simulator = Simulator::bind(anywhere, Settings::default()).await.unwrap();
    let (url, handle) = (simulator.url(), simulator.handle());
    handle.create_record([("hs_course_name".to_owned(), "Kept".to_owned())].into());
    handle.add_fault(Fault::new(Served::Hang).times(1));
    let (stop, stopped) = oneshot::channel::<()>();
    let serving = tokio::spawn(simulator.serve(async move { stopped.await.unwrap() }));
    let client = http_client();
    let ask = || client.get(format!("{url}/crm/v3/objects/0-410")).bearer_auth(TOKEN).send();
    let hanging = tokio::spawn(ask());
    eventually("a request hangs", || handle.summary().open == 1).await;
    stop.send(()).unwrap();
    serving.await.unwrap().unwrap();
    assert!(hanging.await.unwrap().is_err());
    eventually("it is given up", || handle.summary().open == 0).await;
    assert!(ask().await.unwrap_err().is_connect());

    let again = Simulator::rebind(handle).await.unwrap();
    let serving = tokio::spawn(again.serve(std::future::pending()));
    let listed: Value = serde_json::from_str(&ask().await.unwrap().text().await.unwrap()).unwrap();
    assert_eq!(listed["results"][0]["properties"]["hs_course_name"], "Kept");
    serving.abort();
}
