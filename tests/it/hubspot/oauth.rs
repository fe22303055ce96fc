//! OAuth: access tokens are fetched and renewed with a refresh token.

use std::sync::Arc;
use std::time::{Duration, Instant};

use course_sync::config::{self, ApiVersion, Credentials, SecretSource};
use course_sync::hubspot::Client;
use course_sync::hubspot::api::response::{Exchange, NotSent};
use course_sync::telemetry::metrics::Metrics;
use tokio::sync::Notify;

use super::client::{client_with, one_course, settings};
use super::server::{Reaction, Request, Server, http, json};

const UNAUTHORIZED: &str = r#"{"status":"error","message":"The OAuth token used to make this call expired","category":"EXPIRED_AUTHENTICATION"}"#;

fn credentials() -> Credentials {
    Credentials::OAuth {
        client_id: "app-1".into(),
        client_secret: SecretSource::value("hubspot.oauth.client_secret", "sekret-of-the-app"),
        refresh_token: SecretSource::value("hubspot.oauth.refresh_token", "sekret&refresh=1"),
    }
}

fn client(server: &Server) -> Client {
    client_with(&settings(&server.url, credentials()))
}

fn is_token_request(request: &Request) -> bool {
    request.line == "POST /oauth/v1/token HTTP/1.1"
}

fn token_response(token: &str, lifetime: &str) -> Reaction {
    let body = format!(
        r#"{{"token_type":"bearer","refresh_token":"sekret","access_token":"{token}","expires_in":{lifetime}}}"#
    );
    Reaction::Respond(json("200 OK", &body))
}

fn create_response() -> Reaction {
    Reaction::Respond(json("201 Created", r#"{"status":"COMPLETE","results":[{"id":"1"}]}"#))
}

/// A server that issues the tokens `sekret-0`, `sekret-1`, … with this lifetime and accepts every create.
async fn token_server(lifetime: &'static str) -> Server {
    Server::start(move |before, request| {
        if is_token_request(request) {
            token_response(&format!("sekret-{before}"), lifetime)
        } else {
            create_response()
        }
    })
    .await
}

/// The number of token requests and of other requests.
fn count_requests(server: &Server) -> (usize, usize) {
    let requests = server.requests();
    let tokens = requests.iter().filter(|request| is_token_request(request)).count();
    (tokens, requests.len() - tokens)
}

#[tokio::test]
async fn concurrent_requests_fetch_one_token() {
    let server = token_server("1800").await;
    let client = Arc::new(client(&server));
    let sending: Vec<_> = (0..10)
        .map(|_| {
            let client = client.clone();
            tokio::spawn(async move { client.write(&one_course()).await })
        })
        .collect();
    for sent in sending {
        assert!(matches!(sent.await.unwrap(), Exchange::Answered { .. }));
    }
    assert_eq!(count_requests(&server), (1, 10));
    let (token, creates) = server.requests().split_first().map(|(a, b)| (a.clone(), b.to_vec())).unwrap();
    assert_eq!(token.header("content-type"), Some("application/x-www-form-urlencoded"));
    assert_eq!(
        String::from_utf8(token.body).unwrap(),
        "grant_type=refresh_token&client_id=app-1&client_secret=sekret-of-the-app&refresh_token=sekret%26refresh%3D1"
    );
    assert!(creates.iter().all(|create| create.header("authorization") == Some("Bearer sekret-0")));
    assert!(!format!("{client:?}").contains("sekret"), "{client:?}");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_expires() {
    let server = token_server("1").await;
    let client = client(&server);
    let deadline = Instant::now() + Duration::from_secs(10);
    while count_requests(&server).0 < 2 {
        assert!(Instant::now() < deadline, "no second token was fetched");
        client.write(&one_course()).await;
    }
}

#[tokio::test]
async fn an_excessive_lifetime_is_capped() {
    let server = token_server("18446744073709551615").await;
    let client = client(&server);
    for _ in 0..2 {
        assert!(matches!(client.write(&one_course()).await, Exchange::Answered { .. }));
    }
    assert_eq!(count_requests(&server), (1, 2));
}

#[tokio::test]
async fn a_refused_token_is_replaced_and_a_late_refusal_keeps_the_new_one() {
    let late = Arc::new(Notify::new());
    let word = late.clone();
    let server = Server::start(move |before, request| match (before, request.header("authorization")) {
        _ if is_token_request(request) => token_response(&format!("sekret-{before}"), "1800"),
        (1, _) => Reaction::RespondAfter(word.clone(), json("401 Unauthorized", UNAUTHORIZED)),
        (_, Some("Bearer sekret-0")) => Reaction::Respond(json("401 Unauthorized", UNAUTHORIZED)),
        _ => create_response(),
    })
    .await;
    let client = Arc::new(client(&server));
    let status = |exchange| match exchange {
        Exchange::Answered { meta, .. } => meta.status,
        other => panic!("{other:?}"),
    };
    let slow = tokio::spawn({
        let client = client.clone();
        async move { client.write(&one_course()).await }
    });
    server.wait_for_requests(2).await;
    assert_eq!(status(client.write(&one_course()).await), 401);
    assert_eq!(status(client.write(&one_course()).await), 201);
    late.notify_one();
    assert_eq!(status(slow.await.unwrap()), 401);
    assert_eq!(status(client.write(&one_course()).await), 201);
    assert_eq!(count_requests(&server).0, 2);
}

#[tokio::test]
async fn a_refused_grant_is_reported_with_the_message_of_hubspot() {
    for (status, body, words) in [
        (
            "400 Bad Request",
            r#"{"status":"BAD_REFRESH_TOKEN","message":"missing or invalid refresh token"}"#,
            "400 BAD_REFRESH_TOKEN missing or invalid refresh token; the refresh token is no longer valid: install the app again",
        ),
        (
            "400 Bad Request",
            r#"{"status":"BAD_HUB","message":"missing or unknown hub id","error":"access_denied"}"#,
            "400 access_denied BAD_HUB missing or unknown hub id; the app is no longer installed in the account",
        ),
        (
            "400 Bad Request",
            r#"{"status":"BAD_CLIENT_ID","message":"missing or invalid client id","error":"invalid_client"}"#,
            "BAD_CLIENT_ID missing or invalid client id; check hubspot.oauth.client_id",
        ),
        (
            "401 Unauthorized",
            r#"{"error":"invalid_client","error_description":"unknown client sekret-of-the-app"}"#,
            "401 invalid_client unknown client [redacted]; check hubspot.oauth.client_id and hubspot.oauth.client_secret",
        ),
        ("401 Unauthorized", "", "401 without a readable reason"),
        ("200 OK", r#"{"token_type":"bearer"}"#, "the response contains none"),
        ("200 OK", "<html>", "the response contains none"),
        ("302 Found", "", "302"),
    ] {
        let server = Server::always(Reaction::Respond(json(status, body))).await;
        let exchange = client(&server).write(&one_course()).await;
        let Exchange::NotSent(NotSent::NoToken(why)) = exchange else { panic!("{exchange:?}") };
        assert!(why.contains(words), "{why}");
        assert!(!why.contains("sekret"), "{why}");
        assert_eq!(count_requests(&server), (1, 0), "{words}");
    }
}

/// A server that has only these versions of the token endpoint.
async fn server_with_endpoints(existing: &'static [&'static str], gone: &'static str) -> Server {
    Server::start(move |before, request| {
        let path = request.line.split(' ').nth(1).unwrap();
        if !path.starts_with("/oauth/") {
            // The token is refused, so that the next request fetches another one.
            Reaction::Respond(json("401 Unauthorized", UNAUTHORIZED))
        } else if existing.contains(&path) {
            token_response(&format!("sekret-{before}"), "1800")
        } else {
            Reaction::Respond(http(gone, "", ""))
        }
    })
    .await
}

fn paths(server: &Server) -> Vec<String> {
    let of = |request: &Request| request.line.split(' ').nth(1).unwrap().to_owned();
    server.requests().iter().map(of).filter(|path| path.starts_with("/oauth/")).collect()
}

#[tokio::test]
async fn the_token_endpoint_follows_the_version_and_falls_back_once() {
    const V1: &str = "/oauth/v1/token";
    const OLD: &str = "/oauth/2026-03/token";
    const NEW: &str = "/oauth/2026-09/token";
    let dated = ApiVersion::Dated("2026-09".into());
    for (version, existing, gone, expected) in [
        (ApiVersion::V3, &[V1, OLD][..], "404 Not Found", &[V1, V1][..]),
        (ApiVersion::V3, &[OLD][..], "404 Not Found", &[V1, OLD, OLD][..]),
        (ApiVersion::V3, &[OLD][..], "410 Gone", &[V1, OLD, OLD][..]),
        (dated.clone(), &[V1, NEW][..], "404 Not Found", &[NEW, NEW][..]),
        (dated.clone(), &[V1][..], "404 Not Found", &[NEW, V1, V1][..]),
    ] {
        let server = server_with_endpoints(existing, gone).await;
        let client = client_with(&config::HubSpotConfig {
            api_version: version,
            ..settings(&server.url, credentials())
        });
        assert!(matches!(client.write(&one_course()).await, Exchange::Answered { .. }));
        // The second token request shows which endpoint is remembered.
        assert!(matches!(client.write(&one_course()).await, Exchange::Answered { .. }));
        assert_eq!(paths(&server), expected);
    }
    let server = server_with_endpoints(&[], "404 Not Found").await;
    let exchange = client(&server).write(&one_course()).await;
    let Exchange::NotSent(NotSent::NoToken(why)) = exchange else { panic!("{exchange:?}") };
    assert!(why.contains("neither /oauth/v1/token nor /oauth/2026-03/token exists"), "{why}");
}

#[tokio::test]
async fn a_refusal_that_needs_an_operator_is_not_retried_until_the_credentials_change() {
    let body = r#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked","status":"BAD_REFRESH_TOKEN","message":"old"}"#;
    let server = Server::always(Reaction::Respond(json("400 Bad Request", body))).await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("refresh");
    std::fs::write(&path, "sekret-of-yesterday").unwrap();
    let credentials = Credentials::OAuth {
        client_id: "app-1".into(),
        client_secret: SecretSource::value("hubspot.oauth.client_secret", "sekret-of-the-app"),
        refresh_token: SecretSource::file("hubspot.oauth.refresh_token", &path),
    };
    let client = client_with(&settings(&server.url, credentials));
    for _ in 0..5 {
        let exchange = client.write(&one_course()).await;
        let Exchange::NotSent(NotSent::NoToken(why)) = exchange else { panic!("{exchange:?}") };
        assert!(
            why.contains("invalid_grant BAD_REFRESH_TOKEN refresh token is invalid, expired or revoked"),
            "{why}"
        );
        assert!(why.contains("install the app again"), "{why}");
    }
    assert_eq!(count_requests(&server), (1, 0));
    std::fs::write(&path, "sekret-of-today").unwrap();
    client.write(&one_course()).await;
    assert_eq!(count_requests(&server), (2, 0), "changed credentials are used immediately");
}

#[tokio::test]
async fn a_rotated_refresh_token_is_used() {
    let server = Server::start(move |before, request| {
        if !is_token_request(request) {
            return Reaction::Respond(json("401 Unauthorized", UNAUTHORIZED));
        }
        let reply =
            format!(r#"{{"refresh_token":"next-{before}","access_token":"sekret","expires_in":1800}}"#);
        Reaction::Respond(json("200 OK", &reply))
    })
    .await;
    let client = client(&server);
    for _ in 0..3 {
        client.write(&one_course()).await;
    }
    let shown: Vec<_> = server
        .requests()
        .iter()
        .filter(|request| is_token_request(request))
        .map(|request| String::from_utf8(request.body.clone()).unwrap())
        .map(|form| form.rsplit_once('=').unwrap().1.to_owned())
        .collect();
    assert_eq!(shown, ["sekret%26refresh%3D1", "next-0", "next-2"]);
    assert!(!client.has_new_credentials(), "no other credentials were configured");
}

#[tokio::test]
async fn an_error_of_the_token_endpoint_counts_as_unreachable() {
    for reaction in [
        Reaction::Respond(json("400 Bad Request", r#"{"error":"temporarily_unavailable"}"#)),
        Reaction::Respond(json("429 Too Many Requests", r#"{"status":"error","message":"slow down"}"#)),
        Reaction::Respond(http("503 Service Unavailable", "", "<html>")),
        Reaction::Close,
        Reaction::Hang,
    ] {
        let server = Server::always(reaction).await;
        let hasty = config::HubSpotConfig {
            request_timeout: Duration::from_secs(1),
            ..settings(&server.url, credentials())
        };
        let began = Instant::now();
        let exchange = client_with(&hasty).write(&one_course()).await;
        assert!(matches!(exchange, Exchange::NotSent(NotSent::Unreachable(_))), "{exchange:?}");
        assert!(began.elapsed() < Duration::from_secs(1), "{:?}", began.elapsed());
        assert_eq!(count_requests(&server), (1, 0));
        assert!(!format!("{exchange:?}").contains("sekret"), "{exchange:?}");
    }
}

#[tokio::test]
async fn a_token_request_is_counted() {
    let server = token_server("1800").await;
    let metrics = Arc::new(Metrics::new());
    let client = Client::new(&settings(&server.url, credentials()), 4, metrics.clone()).unwrap();
    client.write(&one_course()).await;
    let text = metrics.encode(false);
    let line = text.lines().find(|line| {
        line.starts_with("course_sync_requests_total") && line.contains("token") && line.contains("\"ok\"")
    });
    assert!(line.is_some_and(|line| line.ends_with(" 1")), "{line:?}");
}
