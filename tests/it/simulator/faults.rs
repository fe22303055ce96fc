//! Faults, and the records that they leave behind.

use std::time::{Duration, Instant};

use reqwest::Method;
use serde_json::{Value, json};
use simulator::{Answer as Served, Commit, Dialect, ErrorForm, Fault, Operation};

use super::{CREATE, Hub, TOKEN, course, eventually, raw, traced};

/// One create request under a fault; what the client saw, if it got that far.
async fn under(hub: &Hub, fault: Fault) -> reqwest::Result<(u16, reqwest::header::HeaderMap, String)> {
    hub.handle.add_fault(fault.on(Operation::BatchCreate).times(1));
    let body = json!({ "inputs": [traced("a"), traced("b")] });
    raw(hub.request(Method::POST, CREATE, TOKEN).json(&body)).await
}

fn records(hub: &Hub) -> usize {
    hub.handle.summary().records
}

#[tokio::test]
async fn rate_limit_has_each_format() {
    let cases = [
        (Dialect::Daily, "daily", "policyName", "DAILY"),
        (Dialect::TenSecondlyRolling, "ten_secondly_rolling", "policyName", "TEN_SECONDLY_ROLLING"),
        (Dialect::Secondly, "secondly", "category", "RATE_LIMITS"),
    ];
    let hub = Hub::new().await;
    for (dialect, word, member, value) in cases {
        for retry_after in [None, Some(3)] {
            let fault = Fault::new(Served::RateLimited { dialect, retry_after });
            let (status, headers, text) = under(&hub, fault).await.unwrap();
            let body: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(status, 429);
            assert_eq!(body["message"], format!("You have reached your {word} limit."));
            assert_eq!(body[member], value);
            let header = headers.get("retry-after").map(|value| value.to_str().unwrap());
            assert_eq!(header, retry_after.map(|_| "3"));
        }
    }
    assert_eq!(records(&hub), 0);
}

#[tokio::test]
async fn error_status_can_hide_a_commit() {
    for (status, body, commit, expected) in [
        (500, ErrorForm::Json, Commit::Yes, 2),
        (500, ErrorForm::Json, Commit::No, 0),
        (502, ErrorForm::Html, Commit::Yes, 2),
        (524, ErrorForm::Html, Commit::No, 0),
        (423, ErrorForm::Json, Commit::No, 0),
        (503, ErrorForm::Empty, Commit::No, 0),
        (477, ErrorForm::Json, Commit::No, 0),
    ] {
        let hub = Hub::new().await;
        let fault = Fault::new(Served::Error { status, body, retry_after: Some(7) }).committing(commit);
        let (seen, headers, text) = under(&hub, fault).await.unwrap();
        assert_eq!((seen, headers["retry-after"].to_str().unwrap()), (status, "7"));
        assert_eq!(text.starts_with('<'), body == ErrorForm::Html);
        assert_eq!(headers.contains_key("x-hubspot-ratelimit-remaining"), body != ErrorForm::Html);
        assert_eq!(records(&hub), expected, "{status} {commit:?}");
    }
}

#[tokio::test]
async fn literal_answer_is_unchanged() {
    let hub = Hub::new().await;
    let answer = Served::Literal {
        status: 477,
        headers: [("Retry-After".to_owned(), "86400".to_owned())].into(),
        body: "{\"odd\":true}".to_owned(),
    };
    let (status, headers, text) = under(&hub, Fault::new(answer)).await.unwrap();
    assert_eq!((status, text.as_str(), &headers["retry-after"] == "86400"), (477, "{\"odd\":true}", true));
}

#[tokio::test]
async fn hanging_request_commits_after_the_client_disconnected() {
    for (commit, expected) in [(Commit::No, 0), (Commit::Yes, 2), (Commit::Late { after_ms: 1_000 }, 2)] {
        let hub = Hub::new().await;
        hub.handle.add_fault(Fault::new(Served::Hang).committing(commit));
        let body = json!({ "inputs": [traced("a"), traced("b")] });
        let request = hub.request(Method::POST, CREATE, TOKEN).json(&body);
        let error = raw(request.timeout(Duration::from_millis(150))).await.unwrap_err();
        assert!(error.is_timeout());
        if matches!(commit, Commit::Late { .. }) {
            assert_eq!(records(&hub), 0, "not yet");
        }
        eventually("the commit", || records(&hub) == expected).await;
        eventually("it is journalled as given up", || {
            hub.handle.journal().iter().all(|entry| entry.finished_us.is_some() && !entry.answered)
        })
        .await;
        let made = hub.handle.journal()[0].inputs.iter().filter(|input| input.id.is_some()).count();
        assert_eq!(made, expected, "the journal knows what was made");
    }
}

#[tokio::test]
async fn connection_can_be_reset_or_closed() {
    for (answer, commit, expected) in [
        (Served::ResetUnread, Commit::No, 0),
        (Served::Reset, Commit::No, 0),
        (Served::Reset, Commit::Yes, 2),
        (Served::Close, Commit::Yes, 2),
    ] {
        let hub = Hub::new().await;
        let error = under(&hub, Fault::new(answer.clone()).committing(commit)).await.unwrap_err();
        assert!(!error.is_connect() && !error.is_timeout(), "{answer:?}: {error:?}");
        let reset = format!("{error:?}").contains("ConnectionReset");
        assert_eq!(reset, answer != Served::Close, "{answer:?}: {error:?}");
        assert_eq!(records(&hub), expected, "{answer:?}");
        assert!(!hub.handle.journal()[0].answered);
        assert_eq!(hub.create(&[course("c")]).await.status, 201, "the next one is fine");
    }
}

#[tokio::test]
async fn response_can_be_cut() {
    let hub = Hub::new().await;
    hub.handle.add_fault(Fault::new(Served::Cut { at: 40 }).times(1));
    let request = hub.request(Method::POST, CREATE, TOKEN).json(&json!({ "inputs": [traced("a")] }));
    let mut response = request.send().await.unwrap();
    let promised = response.content_length().unwrap();
    let mut read = 0;
    let end = loop {
        match response.chunk().await {
            Ok(Some(chunk)) => read += chunk.len(),
            end => break end,
        }
    };
    assert!(end.is_err(), "the connection broke off");
    assert!(read == 40 && promised > 40, "{read} of {promised}");
    assert_eq!((records(&hub), hub.handle.summary().unanswered), (1, 1));
}

#[tokio::test]
async fn response_can_be_slow_or_delayed() {
    let hub = Hub::new().await;
    let start = Instant::now();
    let (status, _, text) =
        under(&hub, Fault::new(Served::Trickle { bytes: 100, every_ms: 20 })).await.unwrap();
    assert_eq!(status, 201);
    assert!(serde_json::from_str::<Value>(&text).is_ok(), "whole in the end");
    assert!(start.elapsed() >= Duration::from_millis(60));

    let start = Instant::now();
    let (status, ..) = under(&hub, Fault::new(Served::Real).after_ms(120)).await.unwrap();
    assert_eq!(status, 207, "the real answer: both keys are taken");
    assert!(start.elapsed() >= Duration::from_millis(120));
}

#[tokio::test]
async fn response_can_be_huge() {
    let hub = Hub::new().await;
    let bytes = 5 * 1024 * 1024;
    let (status, _, text) = under(&hub, Fault::new(Served::Huge { bytes })).await.unwrap();
    assert_eq!((status, text.len()), (201, 5 * 1024 * 1024));
    assert!(serde_json::from_str::<Value>(&text).is_err());
}

#[tokio::test]
async fn success_status_can_have_an_invalid_body() {
    let hub = Hub::new().await;
    for (answer, parses) in
        [(Served::Garbage, false), (Served::BrokenJson, false), (Served::EmptyBody, false)]
    {
        let (status, _, text) = under(&hub, Fault::new(answer).committing(Commit::Yes)).await.unwrap();
        assert_eq!((status, serde_json::from_str::<Value>(&text).is_ok()), (201, parses));
    }
    assert_eq!(records(&hub), 2);
}

#[tokio::test]
async fn response_can_misreport_results() {
    type Check = fn(&Value) -> bool;
    let ids = |body: &Value| -> Vec<String> {
        body["results"].as_array().unwrap().iter().map(|r| r["id"].as_str().unwrap().to_owned()).collect()
    };
    let cases: [(Served, usize, Check); 4] = [
        (Served::Patched(json!({ "status": "PENDING" })), 2, |body| body["status"] == "PENDING"),
        (Served::DropResults(1), 1, |_| true),
        (Served::DuplicateResult, 3, |_| true),
        (Served::ForeignResult, 3, |body| body["results"][2]["id"] == "1"),
    ];
    for (answer, results, check) in cases {
        let hub = Hub::new().await;
        let (status, _, text) = under(&hub, Fault::new(answer.clone())).await.unwrap();
        let body: Value = serde_json::from_str(&text).unwrap();
        assert_eq!((status, ids(&body).len()), (201, results), "{answer:?}");
        assert!(check(&body), "{answer:?}: {body}");
        assert_eq!(records(&hub), 2);
    }
    let hub = Hub::new().await;
    hub.create(&[traced("a")]).await;
    let (status, _, text) =
        under(&hub, Fault::new(Served::Patched(json!({ "errors": null })))).await.unwrap();
    let body: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((status, body.get("errors"), ids(&body).len()), (207, None, 1));
}

#[tokio::test]
async fn fault_for_one_course_fails_only_its_batch() {
    let hub = Hub::new().await;
    let error = Served::Error { status: 500, body: ErrorForm::Json, retry_after: None };
    hub.handle.add_fault(Fault::new(error).containing("Course poison"));
    assert_eq!(hub.create(&[traced("a"), traced("poison")]).await.status, 500);
    assert_eq!(hub.create(&[traced("a"), traced("b")]).await.status, 201);
    assert_eq!(hub.create(&[traced("poison")]).await.status, 500);
    assert_eq!(records(&hub), 2);
}

#[tokio::test]
async fn seed_determines_probability() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let hub = Hub::new().await;
        let error = Served::Error { status: 503, body: ErrorForm::Html, retry_after: None };
        hub.handle.add_fault(Fault::new(error).with_probability(0.5));
        let mut statuses = Vec::new();
        for n in 0..12 {
            statuses.push(hub.create(&[traced(&n.to_string())]).await.status);
        }
        assert!(statuses.contains(&503) && statuses.contains(&201));
        runs.push(statuses);
    }
    assert_eq!(runs[0], runs[1]);
}

#[tokio::test]
async fn request_completes_when_the_client_disconnects() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| {
        behaviour.latency.min_ms = 400;
        behaviour.latency.max_ms = 400;
    });
    let request = hub.request(Method::POST, CREATE, TOKEN).json(&json!({ "inputs": [traced("a")] }));
    assert!(raw(request.timeout(Duration::from_millis(100))).await.unwrap_err().is_timeout());
    eventually("the record", || records(&hub) == 1).await;
    assert_eq!(hub.handle.summary().unanswered, 1);
}
