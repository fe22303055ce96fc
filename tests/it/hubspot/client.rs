//! The client at real sockets: the bytes of its requests, and how it reports each end of an exchange.

use std::sync::Arc;
use std::time::{Duration, Instant};

use course_sync::config::{self, ApiVersion, Credentials, SecretSource};
use course_sync::course::{Batch, CourseKey, HubSpotId};
use course_sync::hubspot::Client;
use course_sync::hubspot::api::decode;
use course_sync::hubspot::api::record_state::RecordState;
use course_sync::hubspot::api::response::{Body, Exchange, NoAnswer, NotSent, Unreadable};
use course_sync::telemetry::metrics::Metrics;
use serde_json::{Value, json};

use super::server::{Reaction, Server, http, json as json_answer};
use super::{UNIQUE_PROPERTY, batch, claimed};
use course_sync::course::Associations;

const TOKEN: &str = "pat-na1-sekret-0123456789";
const CREATED: &str = r#"{"status":"COMPLETE","results":[{"id":"101","properties":{"course_key":"A-1"}}]}"#;

pub fn settings(url: &str, credentials: Credentials) -> config::HubSpotConfig {
    config::HubSpotConfig {
        base_url: url.to_owned(),
        api_version: ApiVersion::V3,
        credentials: Some(credentials),
        unique_property: Some(UNIQUE_PROPERTY.to_owned()),
        connect_timeout: Duration::from_millis(500),
        request_timeout: Duration::from_secs(10),
    }
}

pub fn client_with(settings: &config::HubSpotConfig) -> Client {
    Client::new(settings, 4, Arc::new(Metrics::new())).unwrap()
}

pub fn token() -> Credentials {
    Credentials::AccessToken(SecretSource::value("hubspot.access_token", TOKEN))
}

fn client(url: &str) -> Client {
    client_with(&settings(url, token()))
}

pub fn one_course() -> Batch {
    batch(vec![claimed(1, "A-1", json!({"hs_course_name": "Algebra"}))], Some(UNIQUE_PROPERTY))
}

/// The result of one create request to a server that reacts like this.
async fn create_against(reaction: Reaction) -> (Exchange, Server) {
    let server = Server::always(reaction).await;
    let exchange = client(&server.url).write(&one_course()).await;
    assert!(!format!("{exchange:?}").contains("sekret"), "{exchange:?}");
    (exchange, server)
}

fn assert_matches_schema(definition: &str, body: &[u8]) {
    let schemas: Value = serde_json::from_str(include_str!("requests.schema.json")).unwrap();
    let body: Value = serde_json::from_slice(body).unwrap();
    jsonschema::validate(&schemas[definition], &body).unwrap();
}

#[tokio::test]
async fn a_create_request_has_the_documented_form() {
    let server = Server::always(Reaction::Respond(json_answer("201 Created", CREATED))).await;
    let as_written: Value = serde_json::from_str("19.90").unwrap();
    let mut linked =
        claimed(2, "B-2", json!({"n": as_written, "b": false, "gone": null, "t": "\u{2028}\"\\ü"}));
    linked.associations = Associations::parse(json!([{"to": {"id": "42"},
        "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 938}]}]))
    .unwrap();
    let batch = batch(vec![claimed(1, "A-1", json!({})), linked], Some(UNIQUE_PROPERTY));
    let exchange = client(&server.url).write(&batch).await;
    assert!(matches!(&exchange, Exchange::Answered { meta, body: Body::Batch(_) } if meta.status == 201));

    let [request] = &server.requests()[..] else { panic!("not one request") };
    assert_eq!(request.line, "POST /crm/v3/objects/0-410/batch/create HTTP/1.1");
    assert_eq!(request.header("authorization"), Some(format!("Bearer {TOKEN}").as_str()));
    assert_eq!(request.header("content-type"), Some("application/json"));
    assert_eq!(request.header("accept"), Some("application/json"));
    assert!(request.header("user-agent").unwrap().starts_with("course-sync/"));
    for absent in ["accept-encoding", "transfer-encoding", "referer", "expect", "cookie"] {
        assert_eq!(request.header(absent), None, "{absent}");
    }
    assert_matches_schema("create", &request.body);
    let body: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!(
        body["inputs"][1]["properties"],
        json!({"n": "19.90", "b": "false", "t": "\u{2028}\"\\ü", "course_key": "B-2"})
    );
    assert_ne!(body["inputs"][0]["objectWriteTraceId"], body["inputs"][1]["objectWriteTraceId"]);
}

#[tokio::test]
async fn a_read_request_has_the_documented_form() {
    let server =
        Server::always(Reaction::Respond(json_answer("200 OK", r#"{"status":"COMPLETE","results":[]}"#)))
            .await;
    let dated = config::HubSpotConfig {
        api_version: ApiVersion::Dated("2026-03".into()),
        ..settings(&server.url, token())
    };
    let asked = one_course();
    let keys = [&asked.courses()[0].key];
    for state in [RecordState::Archived, RecordState::Live] {
        client_with(&dated).read(&keys, UNIQUE_PROPERTY, state).await;
    }
    let requests = server.requests();
    let lines: Vec<_> = requests.iter().map(|request| request.line.as_str()).collect();
    assert_eq!(
        lines,
        [
            "POST /crm/objects/2026-03/0-410/batch/read?archived=true HTTP/1.1",
            "POST /crm/objects/2026-03/0-410/batch/read?archived=false HTTP/1.1"
        ]
    );
    for request in &requests {
        assert_matches_schema("read", &request.body);
        let body: Value = serde_json::from_slice(&request.body).unwrap();
        assert_eq!(
            (&body["idProperty"], &body["inputs"]),
            (&json!(UNIQUE_PROPERTY), &json!([{"id": "A-1"}]))
        );
    }
}

#[tokio::test]
async fn a_page_of_the_list_and_the_keys_of_records_have_the_documented_form() {
    let page =
        r#"{"results":[{"id":"101","properties":{"course_key":null}}],"paging":{"next":{"after":"101"}}}"#;
    let server = Server::always(Reaction::Respond(json_answer("200 OK", page))).await;
    let client = client(&server.url);
    let listed = client.list_records(Some("9"), &["course_key", "n"], RecordState::Live).await.value.unwrap();
    assert_eq!((listed.results.len(), listed.next()), (1, Some("101")));
    let (id, key) = (HubSpotId::parse("101").unwrap(), CourseKey::parse("A-1").unwrap());
    client.set_keys(&[(&id, &key)], UNIQUE_PROPERTY).await;
    let [list, update] = &server.requests()[..] else { panic!("not two requests") };
    assert_eq!(
        list.line,
        "GET /crm/v3/objects/0-410?limit=100&archived=false&properties=course%5Fkey,n&after=9 HTTP/1.1"
    );
    assert_eq!(update.line, "POST /crm/v3/objects/0-410/batch/update HTTP/1.1");
    let input =
        json!({ "id": "101", "properties": { UNIQUE_PROPERTY: "A-1" }, "objectWriteTraceId": "key:101" });
    assert_eq!(serde_json::from_slice::<Value>(&update.body).unwrap(), json!({ "inputs": [input] }));
}

#[tokio::test]
async fn a_request_to_an_unreachable_host_was_not_sent() {
    let refused = {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        format!("http://{}", listener.local_addr().unwrap())
    };
    let silent = Server::always(Reaction::Hang).await;
    let chatty = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let chatty_url = format!("https://{}", chatty.local_addr().unwrap());
    let chat = tokio::spawn(async move {
        let (mut stream, _) = chatty.accept().await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"SSH-2.0-OpenSSH_9.2\r\n").await.unwrap();
    });
    let tls_black_hole = silent.url.replace("http:", "https:");
    let unknown_host = "http://no-such-host.invalid".to_owned();
    for url in [refused, tls_black_hole, chatty_url, unknown_host] {
        let began = Instant::now();
        let exchange = client(&url).write(&one_course()).await;
        let Exchange::NotSent(NotSent::Unreachable(why)) = exchange else { panic!("{url}: {exchange:?}") };
        assert!(began.elapsed() < Duration::from_secs(5), "{url} took {:?}", began.elapsed());
        assert!(!why.contains("sekret") && !why.contains("http"), "{why}");
    }
    assert!(silent.requests().is_empty());
    chat.await.unwrap();
}

#[tokio::test]
async fn a_missing_response_is_a_timeout() {
    let server = Server::always(Reaction::Hang).await;
    let hasty = config::HubSpotConfig {
        request_timeout: Duration::from_millis(600),
        ..settings(&server.url, token())
    };
    let exchange = client_with(&hasty).write(&one_course()).await;
    assert!(matches!(exchange, Exchange::NoAnswer(NoAnswer::Timeout)), "{exchange:?}");
    assert_eq!(server.requests().len(), 1);
}

#[tokio::test]
async fn a_connection_lost_after_the_request_is_unknown_and_not_retried() {
    for reaction in [
        Reaction::Close,
        Reaction::Reset,
        Reaction::RespondAndClose(b"HTTP/1.1 20".to_vec()),
        Reaction::RespondAndClose(b"HTTP/1.1 201 Created\r\nContent-Le".to_vec()),
        Reaction::RespondAndClose(b"SSH-2.0-OpenSSH_9.2\r\n".to_vec()),
        Reaction::RespondAndClose(b"HTTP/1.1 201 Created\r\nno header at all\r\n\r\n".to_vec()),
    ] {
        let (exchange, server) = create_against(reaction).await;
        assert!(matches!(exchange, Exchange::NoAnswer(NoAnswer::Lost(_))), "{exchange:?}");
        assert_eq!(server.requests().len(), 1);
    }
}

#[tokio::test]
async fn a_lost_keep_alive_connection_is_not_retried() {
    for loss in [Reaction::Close, Reaction::Reset] {
        let response = Reaction::Respond(json_answer("201 Created", CREATED));
        let server =
            Server::start(move |before, _| if before == 0 { response.clone() } else { loss.clone() }).await;
        let client = client(&server.url);
        assert!(matches!(client.write(&one_course()).await, Exchange::Answered { .. }));
        let exchange = client.write(&one_course()).await;
        assert!(matches!(exchange, Exchange::NoAnswer(NoAnswer::Lost(_))), "{exchange:?}");
        let connections: Vec<_> = server.requests().iter().map(|request| request.connection).collect();
        assert_eq!(connections, [0, 0]);
    }
}

#[tokio::test]
async fn a_body_that_ends_early_is_reported_as_truncated() {
    let begun = |more: &str| {
        format!("HTTP/1.1 201 Created\r\n{more}\r\n\r\n{{\"status\":\"COMPLETE\",\"results\":[]}}")
            .into_bytes()
    };
    for reaction in [
        Reaction::RespondAndClose(begun("Content-Length: 5000")),
        Reaction::RespondAndClose(
            b"HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"sta\r\n".to_vec(),
        ),
    ] {
        let (exchange, _server) = create_against(reaction).await;
        let Exchange::Answered { meta, body: Body::Unreadable(Unreadable::Cut(_)) } = exchange else {
            panic!("{exchange:?}")
        };
        assert_eq!(meta.status, 201);
    }

    let server = Server::always(Reaction::Respond(begun("Content-Length: 5000"))).await;
    let hasty = config::HubSpotConfig {
        request_timeout: Duration::from_millis(600),
        ..settings(&server.url, token())
    };
    let exchange = client_with(&hasty).write(&one_course()).await;
    assert!(
        matches!(exchange, Exchange::Answered { body: Body::Unreadable(Unreadable::Cut(_)), .. }),
        "{exchange:?}"
    );
}

#[tokio::test]
async fn an_endless_body_is_abandoned() {
    let start = b"HTTP/1.1 201 Created\r\n\r\n".to_vec();
    let (exchange, server) = create_against(Reaction::RespondForever(start, vec![b' '; 64 * 1024])).await;
    assert!(
        matches!(exchange, Exchange::Answered { body: Body::Unreadable(Unreadable::TooLong), .. }),
        "{exchange:?}"
    );
    // The buffers of the sockets hold additional bytes.
    assert!(server.bytes_written() < decode::MAX_BODY_BYTES + 16 * 1024 * 1024, "{}", server.bytes_written());
}

#[tokio::test]
async fn a_stalled_large_response_does_not_delay_others() {
    let long = format!(
        r#"{{"status":"COMPLETE","results":[{{"id":"101","properties":{{"course_key":"A-1","text":"{}"}}}}]}}"#,
        "x".repeat(600 * 1024)
    );
    let whole = json_answer("201 Created", &long);
    let mut stalled = whole.clone();
    stalled.pop();
    let server = Server::start(move |before, _| {
        Reaction::Respond(if before == 0 { &stalled } else { &whole }.clone())
    })
    .await;
    let client = Arc::new(client(&server.url));
    let create = || {
        let client = client.clone();
        tokio::spawn(async move { client.write(&one_course()).await })
    };
    let stalled = create();
    server.wait_for_requests(1).await;
    let others: Vec<_> = (0..25).map(|_| create()).collect();
    for other in others {
        let exchange = other.await.unwrap();
        assert!(matches!(exchange, Exchange::Answered { body: Body::Batch(_), .. }), "{exchange:?}");
    }
    assert!(!stalled.is_finished(), "the stalled response ended early");
    stalled.abort();
}

#[tokio::test]
async fn redirects_are_not_followed_and_bodies_are_not_decompressed() {
    let elsewhere = Server::always(Reaction::Respond(json_answer("201 Created", CREATED))).await;
    for status in ["301 Moved", "302 Found", "303 See Other", "307 Temporary", "308 Permanent"] {
        let location = format!("Location: {}/\r\n", elsewhere.url);
        let (exchange, _server) = create_against(Reaction::Respond(http(status, &location, ""))).await;
        assert!(
            matches!(&exchange, Exchange::Answered { meta, .. } if meta.status / 100 == 3),
            "{exchange:?}"
        );
    }
    assert!(elsewhere.requests().is_empty());

    // `{}`, compressed with gzip.
    let packed = [0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3, 0xab, 0xae, 5, 0, 0x43, 0xbf, 0xa6, 0xa3, 2, 0, 0, 0];
    let (exchange, _server) =
        create_against(Reaction::Respond(http("201 Created", "Content-Encoding: gzip\r\n", packed))).await;
    assert!(
        matches!(exchange, Exchange::Answered { body: Body::Unreadable(Unreadable::Foreign(_)), .. }),
        "{exchange:?}"
    );
}

#[tokio::test]
async fn quota_headers_are_read_from_a_response_with_any_status() {
    let headers = "X-HubSpot-Correlation-Id: 01a0\r\nRetry-After: 5\r\nX-HubSpot-RateLimit-Max: 190\r\n\
        X-HubSpot-RateLimit-Remaining: many\r\nX-HubSpot-RateLimit-Daily-Remaining: 248705\r\nX-Junk: \u{fc}\r\n";
    let (exchange, _server) =
        create_against(Reaction::Respond(http("477 Migration in Progress", headers, ""))).await;
    let Exchange::Answered { meta, body: Body::Unreadable(Unreadable::Empty) } = exchange else {
        panic!("{exchange:?}")
    };
    assert_eq!((meta.status, meta.correlation_id.as_deref()), (477, Some("01a0")));
    assert_eq!(meta.retry_after, Some(Duration::from_secs(5)));
    assert_eq!((meta.quota.max, meta.quota.remaining), (Some(190), None));
    assert_eq!((meta.quota.daily, meta.quota.daily_remaining), (None, Some(248_705)));
}

#[tokio::test]
async fn a_token_file_is_read_for_every_request() {
    let server = Server::always(Reaction::Respond(json_answer("201 Created", CREATED))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    let source = SecretSource::file("hubspot.access_token", &path);
    let client = client_with(&settings(&server.url, Credentials::AccessToken(source)));
    for token in ["first-sekret\n", "second-sekret"] {
        std::fs::write(&path, token).unwrap();
        client.write(&one_course()).await;
    }
    let tokens: Vec<_> =
        server.requests().iter().map(|it| it.header("authorization").map(str::to_owned)).collect();
    assert_eq!(tokens, [Some("Bearer first-sekret".to_owned()), Some("Bearer second-sekret".to_owned())]);

    for accident in ["", "two sekret words", "sekr\u{e9}t"] {
        std::fs::write(&path, accident).unwrap();
        assert_not_sent_without_token(&client, &path).await;
    }
    std::fs::remove_file(&path).unwrap();
    assert_not_sent_without_token(&client, &path).await;
    assert_eq!(server.requests().len(), 2);
    assert!(!format!("{client:?}").contains("sekret"), "{client:?}");
}

async fn assert_not_sent_without_token(client: &Client, path: &std::path::Path) {
    let exchange = client.write(&one_course()).await;
    let Exchange::NotSent(NotSent::NoToken(why)) = exchange else { panic!("{exchange:?}") };
    assert!(why.contains("hubspot.access_token") && why.contains(path.to_str().unwrap()), "{why}");
    assert!(!why.contains("sekr"), "{why}");
}
