//! Credentials that are refused, replaced or expired: nothing is lost, and no restart is needed.

use course_sync::demo::postgres::{PostgresOptions, ThrowawayPostgres};
use simulator::{Answer, ErrorForm, Fault, Operation};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::mounted_secret::MountedSecret;
use crate::support::world::World;

/// Sets a retry interval so long that sending resumes in the test only because the credentials changed.
fn set_long_retry_interval(world: &mut World) {
    world.set("RETRY__INITIAL_INTERVAL", "1h");
    world.set("RETRY__MAX_INTERVAL", "1h");
}

fn use_oauth(world: &mut World, refresh_token: &MountedSecret) {
    world.settings.remove("HUBSPOT_ACCESS_TOKEN");
    world.set("HUBSPOT__OAUTH__CLIENT_ID", "simulator-client");
    world.set("HUBSPOT__OAUTH__CLIENT_SECRET", "simulator-secret");
    world.set("HUBSPOT__OAUTH__REFRESH_TOKEN_FILE", refresh_token.path().to_str().unwrap());
}

async fn readyz_body(daemon: &Daemon) -> String {
    let url = format!("{}/readyz", daemon.admin_url().await);
    http_get(url).await.expect("a response").text().await.expect("a body")
}

async fn wait_until_not_ready(daemon: &Daemon, reason: &str) {
    eventually(&format!("/readyz contains {reason:?}"), async || {
        let body = readyz_body(daemon).await;
        if body.contains(reason) { Ok(()) } else { Err(body) }
    })
    .await;
}

fn token_requests(world: &World) -> usize {
    world.hubspot.journal().iter().filter(|entry| entry.operation == Operation::TokenRefresh).count()
}

#[tokio::test]
async fn a_replaced_token_file_is_used_immediately() {
    let mut world = World::new().await;
    set_long_retry_interval(&mut world);
    let mut token = MountedSecret::new(&world.settings.remove("HUBSPOT_ACCESS_TOKEN").unwrap());
    world.settings.insert("HUBSPOT_ACCESS_TOKEN_FILE".into(), token.path().to_str().unwrap().into());
    let mut daemon = world.start_daemon();
    world.enqueue_many("A", 150).await;
    world.wait_until_all_are(&["synced"]).await;

    world.hubspot.set_token("pat-na1-second");
    world.enqueue_many("B", 150).await;
    daemon.wait_for_event("sending_blocked").await;
    wait_until_not_ready(&daemon, "\"token\"").await;
    token.replace_with("pat-na1-second");
    daemon.wait_for_event("credentials_changed").await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0));
}

#[tokio::test]
async fn an_expired_oauth_token_is_renewed() {
    let mut world = World::new().await;
    let refresh_token = MountedSecret::new("simulator-refresh");
    use_oauth(&mut world, &refresh_token);
    let mut daemon = world.start_daemon();
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 150).await;
        world.wait_until_all_are(&["synced"]).await;
        world.hubspot.expire_tokens();
    }
    assert!(daemon.stop().await.success());
    assert_eq!(token_requests(&world), 3);
    world.audit().await;
}

#[tokio::test]
async fn a_refused_grant_is_reported_with_a_fix_and_retried_once_fixed() {
    let mut world = World::new().await;
    set_long_retry_interval(&mut world);
    let mut refresh_token = MountedSecret::new("of-yesterday");
    use_oauth(&mut world, &refresh_token);
    world.enqueue_many("A", 50).await;
    let mut daemon = world.start_daemon();
    let blocked = daemon.wait_for_event("sending_blocked").await;
    let detail = blocked["detail"].as_str().expect("a detail");
    assert!(detail.contains("BAD_REFRESH_TOKEN missing or invalid refresh token"), "{blocked}");
    assert!(detail.contains("install the app again and set hubspot.oauth.refresh_token"), "{blocked}");
    wait_until_not_ready(&daemon, "BAD_REFRESH_TOKEN").await;
    refresh_token.replace_with("simulator-refresh");
    daemon.wait_for_event("credentials_changed").await;
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(token_requests(&world), 2);
}

#[tokio::test]
async fn a_removed_oauth_endpoint_is_replaced_and_logged_once() {
    let mut world = World::new().await;
    let refresh_token = MountedSecret::new("simulator-refresh");
    use_oauth(&mut world, &refresh_token);
    world.hubspot.change_behaviour(|behaviour| {
        behaviour.account.oauth_v1_gone = true;
        behaviour.account.rfc6749_alone = true;
    });
    let mut daemon = world.start_daemon();
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 50).await;
        world.wait_until_all_are(&["synced"]).await;
        world.hubspot.expire_tokens();
    }
    assert!(daemon.stop().await.success());
    let log = daemon.log();
    assert_eq!(daemon.events("token_endpoint_replaced").len(), 1, "{log}");
    let paths: Vec<_> = world.received(Operation::TokenRefresh).into_iter().map(|entry| entry.path).collect();
    assert_eq!(paths[..2], ["/oauth/v1/token", "/oauth/2026-03/token"]);
    assert!(paths[2..].iter().all(|path| path == "/oauth/2026-03/token"), "{paths:?}");
    world.audit().await;
}

#[tokio::test]
async fn an_rfc_6749_error_is_reported_and_not_retried_quickly() {
    let mut world = World::new().await;
    let mut refresh_token = MountedSecret::new("of-yesterday");
    use_oauth(&mut world, &refresh_token);
    world.set("HUBSPOT__API_VERSION", "2026-03");
    world.set("RETRY__MAX_INTERVAL", "200ms");
    world.hubspot.change_behaviour(|behaviour| behaviour.account.rfc6749_alone = true);
    world.enqueue_many("A", 50).await;
    let mut daemon = world.start_daemon();
    wait_until_not_ready(
        &daemon,
        "400 invalid_grant missing or invalid refresh token; the refresh token is no longer valid",
    )
    .await;
    // The daemon has retried several times by then.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(token_requests(&world), 1);
    refresh_token.replace_with("simulator-refresh");
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(token_requests(&world), 2);
    assert!(!daemon.log().contains("of-yesterday"), "{}", daemon.log());
    world.audit().await;
}

#[tokio::test]
async fn an_unavailable_token_endpoint_is_retried() {
    let mut world = World::new().await;
    let refresh_token = MountedSecret::new("simulator-refresh");
    use_oauth(&mut world, &refresh_token);
    let down = Answer::Error { status: 503, body: ErrorForm::Html, retry_after: None };
    for answer in [down, Answer::Reset, Answer::Garbage] {
        world.hubspot.add_fault(Fault::new(answer).on(Operation::TokenRefresh).times(1));
    }
    world.enqueue_many("A", 150).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0 && row.error.is_none()));
    assert!(world.sends_per_course().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_changed_database_password_is_used_for_new_connections() {
    let cluster =
        ThrowawayPostgres::start(PostgresOptions { listen_tcp: true, ..PostgresOptions::default() })
            .await
            .unwrap();
    let mut world = World::new().await;
    world.use_cluster(&cluster.url("postgres"));
    let old_url = cluster.tcp_url("postgres");
    let mut url = MountedSecret::new(&old_url);
    world.settings.remove("DATABASE_URL");
    world.settings.insert("DATABASE_URL_FILE".into(), url.path().to_str().unwrap().into());
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 10).await;
    world.wait_until_all_are(&["synced"]).await;

    sqlx::raw_sql(
        "alter role course_sync password 'of-today';
         select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'course-sync'",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.enqueue_many("B", 10).await;
    wait_until_not_ready(&daemon, "password authentication failed").await;
    daemon.wait_for_event("database_unavailable").await;
    let password = old_url.split([':', '@']).nth(2).unwrap();
    url.replace_with(&old_url.replace(password, "of-today"));
    world.wait_until_all_are(&["synced"]).await;
    daemon.wait_for_event("database_recovered").await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.events("database_unavailable").len(), 1, "{}", daemon.log());
    world.audit().await;
    drop(world);
    cluster.stop().await.unwrap();
}

#[tokio::test]
async fn a_changed_password_file_is_read_for_new_connections() {
    let cluster =
        ThrowawayPostgres::start(PostgresOptions { listen_tcp: true, ..PostgresOptions::default() })
            .await
            .unwrap();
    let mut world = World::new().await;
    world.use_cluster(&cluster.url("postgres"));
    let url = cluster.tcp_url("postgres");
    let password = url.split([':', '@']).nth(2).unwrap();
    world.settings.insert("DATABASE_URL".into(), url.replace(&format!(":{password}@"), "@"));
    // Only its owner may read it.
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), format!("*:*:*:*:{password}\n")).unwrap();
    world.settings.insert("PGPASSFILE".into(), file.path().display().to_string());
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    world.enqueue_many("A", 10).await;
    world.wait_until_all_are(&["synced"]).await;

    let change = "alter role course_sync password 'of-today';
         select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'course-sync'";
    sqlx::raw_sql(change).execute(world.pool()).await.unwrap();
    world.enqueue_many("B", 10).await;
    wait_until_not_ready(&daemon, "password authentication failed").await;
    std::fs::write(file.path(), "*:*:*:*:of-today\n").unwrap();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains("of-today"), "{}", daemon.log());
    world.audit().await;
    drop(world);
    cluster.stop().await.unwrap();
}
