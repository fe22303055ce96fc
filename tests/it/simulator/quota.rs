//! Rate limits and their headers.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Behaviour, Limits, Settings};

use super::{Answer, CREATE, Hub, KEY, TOKEN, course};

async fn hub(limits: Limits) -> Hub {
    let behaviour = Behaviour { limits, ..Behaviour::default() };
    Hub::with(Settings { behaviour, unique_property: Some(KEY.to_owned()), ..Settings::default() }).await
}

fn rate<'a>(answer: &'a Answer, name: &str) -> Option<&'a str> {
    answer.header(&format!("x-hubspot-ratelimit-{name}"))
}

#[tokio::test]
async fn response_headers_show_remaining_quota() {
    let hub = Hub::new().await;
    let answer = hub.create(&[course("a")]).await;
    let names = ["daily", "daily-remaining", "interval-milliseconds", "max", "remaining", "secondly"];
    let found = names.map(|name| rate(&answer, name).unwrap());
    assert_eq!(found, ["1000000", "999999", "10000", "190", "189", "19"]);
    let next = hub.create(&[course("a")]).await;
    assert_eq!((next.status, rate(&next, "remaining")), (400, Some("188")), "a failed call counts");
    assert_eq!(rate(&next, "secondly-remaining"), Some("18"), "a tenth of what remains, no more");
    assert!(next.header("x-hubspot-correlation-id").is_some());
}

#[tokio::test]
async fn requests_beyond_the_interval_are_rejected_until_it_rolls_on() {
    let hub = hub(Limits { requests: 3, ..Limits::default() }).await;
    let mut statuses = Vec::new();
    let mut refused = None;
    for n in 0..5 {
        let answer = hub.create(&[course(&n.to_string())]).await;
        statuses.push(answer.status);
        refused = Some(answer);
    }
    assert_eq!(statuses, [201, 201, 201, 429, 429]);
    let refused = refused.unwrap();
    assert_eq!(refused.message(), "You have reached your ten_secondly_rolling limit.");
    assert_eq!(refused.body["errorType"], "RATE_LIMIT");
    assert_eq!(refused.body["policyName"], "TEN_SECONDLY_ROLLING");
    let group = refused.body["groupName"].as_str().unwrap();
    assert!(group.starts_with("publicapi:private_app-api-calls-ten-secondly:"));
    assert!(refused.header("retry-after").is_none(), "HubSpot sends none");
    assert_eq!(rate(&refused, "remaining"), Some("0"));
    assert_eq!(hub.handle.summary().records, 3);
    assert_eq!(hub.handle.summary().worst_window, 5, "the refused ones count");

    hub.handle.change_behaviour(|behaviour| {
        behaviour.limits.per_ms = 100;
        behaviour.refused_count = false;
    });
    let deadline = Instant::now() + Duration::from_secs(10);
    while hub.create(&[course("later")]).await.status != 201 {
        assert!(Instant::now() < deadline, "the window never rolled on");
    }
}

#[tokio::test]
async fn daily_limit_is_shared_by_all_tokens() {
    let hub = hub(Limits { daily: 5, ..Limits::default() }).await;
    hub.handle.spend_quota(4);
    let usage = hub.get("/account-info/v3/api-usage/daily/private-apps").await;
    assert_eq!(
        (&usage.body["results"][0]["currentUsage"], rate(&usage, "daily-remaining")),
        (&json!(5), Some("0"))
    );
    let refused = hub.create(&[course("a")]).await;
    assert_eq!((refused.status, refused.message()), (429, "You have reached your daily limit."));
    assert_eq!(refused.body["policyName"], "DAILY");
    assert!(refused.body.get("category").is_none() && refused.body["requestId"].is_string());
    hub.handle.reset_daily_quota();
    assert_eq!(hub.create(&[course("a")]).await.status, 201);
}

#[tokio::test]
async fn other_integration_can_exhaust_the_interval() {
    let hub = hub(Limits { requests: 10, ..Limits::default() }).await;
    hub.handle.spend_quota(9);
    let answer = hub.create(&[course("a")]).await;
    assert_eq!((answer.status, rate(&answer, "remaining")), (201, Some("0")));
    assert_eq!(hub.create(&[course("b")]).await.status, 429);
    assert_eq!(
        hub.handle.summary().worst_window,
        2,
        "requests of the other integration are not counted as the client's"
    );
}

#[tokio::test]
async fn oauth_has_no_daily_headers() {
    let hub = Hub::new().await;
    let form = "grant_type=refresh_token&client_id=simulator-client&client_secret=simulator-secret\
                &refresh_token=simulator-refresh";
    let request = hub.client.post(format!("{}/oauth/v1/token", hub.handle.url()));
    let request = request.header("content-type", "application/x-www-form-urlencoded").body(form);
    let grant = Answer::of(request, "/oauth/v1/token").await;
    let token = grant.body["access_token"].as_str().unwrap();
    let create = hub.request(Method::POST, CREATE, token).json(&json!({ "inputs": [course("a")] }));
    let answer = Answer::of(create, CREATE).await;
    assert_eq!((answer.status, rate(&answer, "remaining")), (201, Some("189")));
    assert_eq!((rate(&answer, "daily"), rate(&answer, "daily-remaining")), (None, None));
}

#[tokio::test]
async fn journal_lists_the_inputs_of_each_request() {
    let hub = Hub::new().await;
    let mut input = course("a");
    input["objectWriteTraceId"] = Value::from("17");
    let id = hub.create(&[input]).await.ids()["a"].clone();
    hub.read(&["a"]).await;
    let journal = hub.handle.journal();
    assert_eq!(journal.len(), 2);
    let seen = &journal[0].inputs[0];
    assert_eq!((seen.trace_id.as_deref(), seen.unique_value.as_deref()), (Some("17"), Some("a")));
    assert_eq!(seen.id.unwrap().to_string(), id);
    assert_eq!(journal[1].inputs[0].unique_value.as_deref(), Some("a"));
    assert!(journal.iter().all(|entry| entry.answered && entry.counted && entry.finished_us.is_some()));
    assert!(journal[0].received_us < journal[1].received_us);
    let (first, second) = (journal[0].token.as_deref(), journal[1].token.as_deref());
    assert!(first == second && first != Some(TOKEN));
}
