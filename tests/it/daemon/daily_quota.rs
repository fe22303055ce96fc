//! The daily quota is exhausted: one pause for all instances until the quota resets, also across restarts.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use simulator::{Behaviour, Limits, Operation};

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::http::http_client;
use crate::support::world::World;

/// A world whose account allows `daily` calls a day, without a reserve, and whose batches hold one course.
async fn world(daily: u64) -> World {
    let limits = Limits { daily, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__DAILY_RESERVE", "0%");
    world.set("BATCH__MAX_SIZE", "1");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("OUTBOX__LEASE", "2s");
    world
}

async fn wait_until_synced(world: &World, courses: i64) {
    eventually(&format!("{courses} courses are synced"), async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&courses) { Ok(()) } else { Err(counts) }
    })
    .await;
}

/// The stored pause: its message and its end.
async fn stored_pause(world: &World) -> Option<(String, Timestamp)> {
    let row: Option<(String, String)> = sqlx::query_as(
        "select message, to_char(until at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') from course_sync_pause where reason = 'daily_quota'",
    )
    .fetch_optional(world.pool())
    .await
    .unwrap();
    row.map(|(message, until)| (message, until.parse().unwrap()))
}

async fn wait_for_pause(world: &World) -> (String, Timestamp) {
    eventually("the pause is stored", async || stored_pause(world).await.ok_or(())).await
}

/// The number of log lines of this event with the reason `daily_quota`.
fn count_events(daemon: &Daemon, event: &str) -> usize {
    daemon.events(event).iter().filter(|line| line["reason"] == "daily_quota").count()
}

#[tokio::test]
async fn an_exhausted_daily_quota_is_one_pause_until_midnight_of_the_account() {
    let world = world(100).await;
    let mut daemon = world.start_daemon();
    world.hubspot.spend_quota(85);
    world.enqueue_many("A", 1).await;
    wait_until_synced(&world, 1).await;
    // Few calls are left, so the daemon asks for the reset time while HubSpot still responds.
    daemon.wait_for_event("daily_quota_reset_learned").await;
    world.hubspot.spend_quota(50);
    world.enqueue_many("B", 20).await;
    let (message, until) = wait_for_pause(&world).await;
    assert!(message.contains("daily limit"), "{message}");
    let eastern = TimeZone::get("US/Eastern").unwrap();
    let now = Timestamp::now().to_zoned(eastern);
    let midnight = now.tomorrow().unwrap().start_of_day().unwrap().timestamp();
    let late = until.duration_since(midnight).as_secs();
    assert!((3..=62).contains(&late), "{until} is {late} s after {midnight}");
    assert_eq!(count_events(&daemon, "sending_paused"), 1, "{}", daemon.log());

    // Every report shows the pause.
    let admin = daemon.admin_url().await;
    let client = http_client();
    let ready = client.get(format!("{admin}/readyz")).send().await.unwrap();
    assert_eq!(ready.status(), 503);
    let ready: serde_json::Value = ready.json().await.unwrap();
    assert_eq!(ready["reasons"][0]["reason"], "daily_quota");
    assert!(ready["reasons"][0]["ends"].is_string() && ready["reasons"][0]["until"].is_string(), "{ready}");
    assert_eq!(daemon.metric("course_sync_paused{reason=\"daily_quota\"}").await, "1");
    let mut status = program(&world.settings);
    status.arg("status");
    let status = String::from_utf8(output(status).await.stdout).unwrap();
    assert!(status.contains("paused (daily_quota): "), "{status}");

    // The next leader reads the stored pause and sends nothing.
    let requests = world.hubspot.summary().requests;
    daemon.signal("KILL");
    daemon.wait_for_exit().await;
    let second = world.start_daemon();
    second.wait_for_log("\"daily_quota\"").await;
    second.wait_for_event("lease_acquired").await;
    world.enqueue_many("C", 5).await;
    assert_eq!(count_events(&second, "sending_paused"), 1);
    assert_eq!(world.hubspot.summary().requests, requests, "the next leader sent a request during the pause");
    assert_eq!(wait_for_pause(&world).await.0, message);

    // The quota is reset, and an operator resumes early.
    world.hubspot.reset_daily_quota();
    let mut resume = program(&world.settings);
    resume.arg("resume");
    assert!(output(resume).await.status.success());
    world.wait_until_all_are(&["synced"]).await;
    assert_eq!(stored_pause(&world).await, None);
    assert_eq!(count_events(&second, "sending_resumed"), 1);
    let faults: i64 =
        sqlx::query_scalar("select sum(faults) from course_outbox").fetch_one(world.pool()).await.unwrap();
    assert_eq!(faults, 0, "a fault was counted for a course");
    world.audit().await;
}

#[tokio::test]
async fn a_daily_quota_pause_ends_at_its_deadline() {
    let world = world(100).await;
    sqlx::query(
        "insert into course_sync_pause (reason, message, author, until)
         values ('daily_quota', 'the day is used up', 'course-sync', now() + interval '3 s')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.enqueue_many("A", 3).await;
    let daemon = world.start_daemon();
    daemon.wait_for_log("the day is used up").await;
    assert_eq!(world.hubspot.summary().requests, 0, "a request was sent before the pause was read");
    world.wait_until_all_are(&["synced"]).await;
    daemon.wait_for_event("sending_resumed").await;
    let first = world.hubspot.journal()[0].received_at;
    let over: bool = sqlx::query_scalar(
        "select $1::text::timestamptz >= min(created_at) + interval '2 s' from course_outbox",
    )
    .bind(first.to_string())
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(over, "a request was sent before the pause ended");
}

#[tokio::test]
async fn an_unknown_reset_time_is_retried_later() {
    // One of the four calls reads the properties of the account.
    let world = world(4).await;
    world.enqueue_many("A", 20).await;
    let daemon = world.start_daemon();
    let (_, until) = wait_for_pause(&world).await;
    let ahead = until.duration_since(Timestamp::now()).as_secs();
    assert!((3_600..=2 * 86_400).contains(&ahead), "{until}");
    wait_until_synced(&world, 3).await;
    assert_eq!(count_events(&daemon, "sending_paused"), 1);
    // Besides the refused create, the daemon asks once for the reset time. That call is refused as well.
    eventually("the daemon asked for the reset time", async || {
        let by_operation = world.hubspot.summary().by_operation;
        if by_operation.contains_key(&Operation::ApiUsage) { Ok(()) } else { Err(by_operation) }
    })
    .await;
    assert!(world.hubspot.summary().requests <= 4 + 32 + 1);
    world.audit().await;
}

#[tokio::test]
async fn the_daily_reserve_is_left_to_other_integrations() {
    let mut world = world(40).await;
    world.set("RATE_LIMIT__DAILY_RESERVE", "50%");
    world.set("BATCH__MAX_IN_FLIGHT", "1");
    world.enqueue_many("A", 60).await;
    let mut daemon = world.start_daemon();
    let (message, _) = wait_for_pause(&world).await;
    assert!(message.contains("rate_limit.daily_reserve"), "{message}");
    assert!(daemon.stop().await.success());
    let (creates, requests) = (world.create_requests(), world.hubspot.summary().requests);
    // One request asks for the reset time, if possible before the reserve is reached. Another one reads the
    // properties of the account.
    assert!((18..=19).contains(&creates) && requests <= 21, "{creates} of {requests}");
    assert_eq!(world.counts().await["pending"], 60 - i64::try_from(creates).unwrap());
    world.audit().await;
}
