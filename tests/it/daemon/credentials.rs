//! Tokens and passwords that are refused, swapped, run out: nothing is lost and nobody restarts anything.

use course_sync::demo::postgres::{Options, ThrowawayPostgres};
use course_sync::simulator::{Answer, ErrorForm, Fault, Operation};

use crate::support::daemon::Daemon;
use crate::support::eventually::eventually;
use crate::support::mounted::Mounted;
use crate::support::world::World;

/// What stops the account is then tried again after half an hour at the earliest, unless something was
/// done about it.
fn patient(world: &mut World) {
    world.set("RETRY__INITIAL_INTERVAL", "1h");
    world.set("RETRY__MAX_INTERVAL", "1h");
}

fn by_oauth(world: &mut World, refresh_token: &Mounted) {
    world.settings.remove("HUBSPOT_ACCESS_TOKEN");
    world.set("HUBSPOT__OAUTH__CLIENT_ID", "simulator-client");
    world.set("HUBSPOT__OAUTH__CLIENT_SECRET", "simulator-secret");
    world.set("HUBSPOT__OAUTH__REFRESH_TOKEN_FILE", refresh_token.path().to_str().unwrap());
}

async fn readyz(daemon: &Daemon) -> String {
    let url = format!("{}/readyz", daemon.admin().await);
    reqwest::get(url).await.expect("an answer").text().await.expect("a body")
}

async fn is_not_ready(daemon: &Daemon, because: &str) {
    eventually(&format!("/readyz tells of {because:?}"), async || {
        let told = readyz(daemon).await;
        if told.contains(because) { Ok(()) } else { Err(told) }
    })
    .await;
}

fn tokens_asked_for(world: &World) -> usize {
    world.hubspot.journal().iter().filter(|entry| entry.operation == Operation::TokenRefresh).count()
}

#[tokio::test]
async fn a_token_that_is_swapped_in_the_middle_of_the_work_is_used_at_once() {
    let mut world = World::new().await;
    patient(&mut world);
    let mut token = Mounted::new(&world.settings.remove("HUBSPOT_ACCESS_TOKEN").unwrap());
    world.settings.insert("HUBSPOT_ACCESS_TOKEN_FILE".into(), token.path().to_str().unwrap().into());
    let mut daemon = world.daemon();
    world.enqueue_many("A", 150).await;
    world.all_are(&["synced"]).await;

    world.hubspot.set_token("pat-na1-second");
    world.enqueue_many("B", 150).await;
    daemon.logged("a person has to mend this").await;
    is_not_ready(&daemon, "\"token\"").await;
    token.becomes("pat-na1-second");
    daemon.logged("the credentials have changed").await;
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0));
}

#[tokio::test]
async fn a_token_of_oauth_that_runs_out_in_the_middle_of_the_work_is_renewed() {
    let mut world = World::new().await;
    let refresh_token = Mounted::new("simulator-refresh");
    by_oauth(&mut world, &refresh_token);
    let mut daemon = world.daemon();
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 150).await;
        world.all_are(&["synced"]).await;
        world.hubspot.expire_tokens();
    }
    assert!(daemon.stop().await.success());
    assert_eq!(tokens_asked_for(&world), 3);
    world.audit().await;
}

#[tokio::test]
async fn a_refused_grant_is_told_with_the_mend_and_the_mend_is_tried_at_once() {
    let mut world = World::new().await;
    patient(&mut world);
    let mut refresh_token = Mounted::new("of-yesterday");
    by_oauth(&mut world, &refresh_token);
    world.enqueue_many("A", 50).await;
    let mut daemon = world.daemon();
    let told = daemon.logged("a person has to mend this").await;
    assert!(told.contains("BAD_REFRESH_TOKEN missing or invalid refresh token"), "{told}");
    assert!(told.contains("install the app again and set hubspot.oauth.refresh_token"), "{told}");
    is_not_ready(&daemon, "BAD_REFRESH_TOKEN").await;
    refresh_token.becomes("simulator-refresh");
    daemon.logged("the credentials have changed").await;
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert_eq!(tokens_asked_for(&world), 2);
}

#[tokio::test]
async fn an_oauth_endpoint_that_is_gone_is_replaced_and_logged_once() {
    let mut world = World::new().await;
    let refresh_token = Mounted::new("simulator-refresh");
    by_oauth(&mut world, &refresh_token);
    world.hubspot.change_behaviour(|behaviour| {
        behaviour.account.oauth_v1_gone = true;
        behaviour.account.rfc6749_alone = true;
    });
    let mut daemon = world.daemon();
    for prefix in ["A", "B", "C"] {
        world.enqueue_many(prefix, 50).await;
        world.all_are(&["synced"]).await;
        world.hubspot.expire_tokens();
    }
    assert!(daemon.stop().await.success());
    let log = daemon.log();
    assert_eq!(log.matches("the OAuth token endpoint is gone").count(), 1, "{log}");
    let asked: Vec<_> = world.received(Operation::TokenRefresh).into_iter().map(|entry| entry.path).collect();
    assert_eq!(asked[..2], ["/oauth/v1/token", "/oauth/2026-03/token"]);
    assert!(asked[2..].iter().all(|path| path == "/oauth/2026-03/token"), "{asked:?}");
    world.audit().await;
}

#[tokio::test]
async fn an_error_of_rfc_6749_reaches_the_operator_and_is_not_repeated_quickly() {
    let mut world = World::new().await;
    let mut refresh_token = Mounted::new("of-yesterday");
    by_oauth(&mut world, &refresh_token);
    world.set("HUBSPOT__API_VERSION", "2026-03");
    world.set("RETRY__MAX_INTERVAL", "200ms");
    world.hubspot.change_behaviour(|behaviour| behaviour.account.rfc6749_alone = true);
    world.enqueue_many("A", 50).await;
    let mut daemon = world.daemon();
    is_not_ready(&daemon, "400 invalid_grant missing or invalid refresh token; the grant has ended").await;
    // Several tries of the daemon later.
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(tokens_asked_for(&world), 1);
    refresh_token.becomes("simulator-refresh");
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(tokens_asked_for(&world), 2);
    assert!(!daemon.log().contains("of-yesterday"), "{}", daemon.log());
    world.audit().await;
}

#[tokio::test]
async fn a_token_endpoint_that_is_down_is_waited_for() {
    let mut world = World::new().await;
    let refresh_token = Mounted::new("simulator-refresh");
    by_oauth(&mut world, &refresh_token);
    let down = Answer::Error { status: 503, body: ErrorForm::Html, retry_after: None };
    for answer in [down, Answer::Reset, Answer::Garbage] {
        world.hubspot.add_fault(Fault::new(answer).on(Operation::TokenRefresh).times(1));
    }
    world.enqueue_many("A", 150).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    world.audit().await;
    assert!(world.rows().await.iter().all(|row| row.faults == 0 && row.error.is_none()));
    assert!(world.sends().values().all(|times| *times == 1));
}

#[tokio::test]
async fn a_password_of_the_database_that_is_changed_and_swapped_is_used_for_new_connections() {
    let cluster = ThrowawayPostgres::start(Options { listen_tcp: true, ..Options::default() }).await.unwrap();
    let mut world = World::new().await;
    world.in_cluster(&cluster.url("postgres"));
    let of_yesterday = cluster.tcp_url("postgres");
    let mut url = Mounted::new(&of_yesterday);
    world.settings.remove("DATABASE_URL");
    world.settings.insert("DATABASE_URL_FILE".into(), url.path().to_str().unwrap().into());
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    world.enqueue_many("A", 10).await;
    world.all_are(&["synced"]).await;

    sqlx::raw_sql(
        "alter role course_sync password 'of-today';
         select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'course-sync'",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.enqueue_many("B", 10).await;
    is_not_ready(&daemon, "password authentication failed").await;
    daemon.logged("the database is in trouble").await;
    let password = of_yesterday.split([':', '@']).nth(2).unwrap();
    url.becomes(&of_yesterday.replace(password, "of-today"));
    world.all_are(&["synced"]).await;
    daemon.logged("the database is well again").await;
    assert!(daemon.stop().await.success());
    assert_eq!(daemon.log().matches("the database is in trouble").count(), 1, "{}", daemon.log());
    world.audit().await;
    drop(world);
    cluster.stop().await.unwrap();
}
