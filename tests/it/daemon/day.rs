//! The account's day, used up: one pause for everybody until it ends, whatever restarts meanwhile.

use course_sync::simulator::{Behaviour, Limits, Operation};
use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::support::daemon::{Daemon, output, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A world whose account has so many calls a day, none of them for others, and gives them out one by one.
async fn world(daily: u64) -> World {
    let limits = Limits { daily, ..Limits::default() };
    let mut world = World::with(true, Behaviour { limits, ..Behaviour::default() }).await;
    world.set("RATE_LIMIT__DAILY_RESERVE", "0%");
    world.set("BATCH__MAX_SIZE", "1");
    world.set("OUTBOX__POLL_INTERVAL", "100ms");
    world.set("OUTBOX__LEASE", "2s");
    world
}

async fn synced(world: &World, courses: i64) {
    eventually(&format!("{courses} courses are synced"), async || {
        let counts = world.counts().await;
        if counts.get("synced") == Some(&courses) { Ok(()) } else { Err(counts) }
    })
    .await;
}

/// The row of the pause: its message, and when it ends.
async fn row(world: &World) -> Option<(String, Timestamp)> {
    let row: Option<(String, String)> = sqlx::query_as(
        "select message, to_char(until at time zone 'utc', 'YYYY-MM-DD\"T\"HH24:MI:SS\"Z\"') from course_sync_pause where reason = 'daily_quota'",
    )
    .fetch_optional(world.pool())
    .await
    .unwrap();
    row.map(|(message, until)| (message, until.parse().unwrap()))
}

async fn noted(world: &World) -> (String, Timestamp) {
    eventually("the pause is noted", async || row(world).await.ok_or(())).await
}

fn lines(daemon: &Daemon, text: &str) -> usize {
    daemon.log().lines().filter(|line| line.contains("\"daily_quota\"") && line.contains(text)).count()
}

#[tokio::test]
async fn a_used_up_day_is_one_pause_until_the_accounts_midnight() {
    let world = world(100).await;
    let mut daemon = world.daemon();
    world.hubspot.neighbour(85);
    world.enqueue_many("A", 1).await;
    synced(&world, 1).await;
    // Little is left, so it matters soon when the day ends, and HubSpot still answers.
    daemon.logged("the account's day").await;
    world.hubspot.neighbour(50);
    world.enqueue_many("B", 20).await;
    let (message, until) = noted(&world).await;
    assert!(message.contains("daily limit"), "{message}");
    let eastern = TimeZone::get("US/Eastern").unwrap();
    let now = Timestamp::now().to_zoned(eastern);
    let midnight = now.tomorrow().unwrap().start_of_day().unwrap().timestamp();
    let late = until.duration_since(midnight).as_secs();
    assert!((3..=62).contains(&late), "{until} is {late} s after {midnight}");
    assert_eq!(lines(&daemon, "paused"), 1, "{}", daemon.log());

    // Everybody is told.
    let admin = daemon.admin().await;
    let client = reqwest::Client::builder().no_proxy().build().unwrap();
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

    // Whoever leads next knows, and tries nothing.
    let requests = world.hubspot.summary().requests;
    daemon.signal("KILL");
    daemon.ended().await;
    let second = world.daemon();
    second.logged("\"daily_quota\"").await;
    second.logged("leading").await;
    world.enqueue_many("C", 5).await;
    assert_eq!(lines(&second, "paused"), 1);
    assert_eq!(world.hubspot.summary().requests, requests, "it was tried again");
    assert_eq!(noted(&world).await.0, message);

    // A person knows better.
    world.hubspot.midnight();
    let mut resume = program(&world.settings);
    resume.arg("resume");
    assert!(output(resume).await.status.success());
    world.all_are(&["synced"]).await;
    assert_eq!(row(&world).await, None);
    assert_eq!(lines(&second, "sending again"), 1);
    let faults: i64 =
        sqlx::query_scalar("select sum(faults) from course_outbox").fetch_one(world.pool()).await.unwrap();
    assert_eq!(faults, 0, "a course was blamed");
    world.audit().await;
}

#[tokio::test]
async fn it_ends_by_itself() {
    let world = world(100).await;
    sqlx::query(
        "insert into course_sync_pause (reason, message, author, until)
         values ('daily_quota', 'the day is used up', 'course-sync', now() + interval '3 s')",
    )
    .execute(world.pool())
    .await
    .unwrap();
    world.enqueue_many("A", 3).await;
    let daemon = world.daemon();
    daemon.logged("the day is used up").await;
    assert_eq!(world.hubspot.summary().requests, 0, "it was sent before the pause was heard");
    world.all_are(&["synced"]).await;
    daemon.logged("sending again").await;
    let first = world.hubspot.journal()[0].received_at;
    let over: bool = sqlx::query_scalar(
        "select $1::text::timestamptz >= min(created_at) + interval '2 s' from course_outbox",
    )
    .bind(first.to_string())
    .fetch_one(world.pool())
    .await
    .unwrap();
    assert!(over, "it was sent before the day was over");
}

#[tokio::test]
async fn where_nobody_tells_when_the_day_ends_it_is_tried_again_later() {
    // One of them reads the account's properties.
    let world = world(4).await;
    world.enqueue_many("A", 20).await;
    let daemon = world.daemon();
    let (_, until) = noted(&world).await;
    let ahead = until.duration_since(Timestamp::now()).as_secs();
    assert!((3_600..=2 * 86_400).contains(&ahead), "{until}");
    synced(&world, 3).await;
    assert_eq!(lines(&daemon, "paused"), 1);
    // Beside the refused course, HubSpot was asked once when the day ends, and that was refused, too.
    eventually("HubSpot was asked", async || {
        let by_operation = world.hubspot.summary().by_operation;
        if by_operation.contains_key(&Operation::ApiUsage) { Ok(()) } else { Err(by_operation) }
    })
    .await;
    assert!(world.hubspot.summary().requests <= 4 + 32 + 1);
    world.audit().await;
}

#[tokio::test]
async fn the_reserve_of_the_day_is_left_to_the_accounts_other_integrations() {
    let mut world = world(40).await;
    world.set("RATE_LIMIT__DAILY_RESERVE", "50%");
    world.set("BATCH__MAX_IN_FLIGHT", "1");
    world.enqueue_many("A", 60).await;
    let mut daemon = world.daemon();
    let (message, _) = noted(&world).await;
    assert!(message.contains("rate_limit.daily_reserve"), "{message}");
    assert!(daemon.stop().await.success());
    let (creates, requests) = (world.creates(), world.hubspot.summary().requests);
    // When the day ends is asked once, in one request; before the reserve is reached, if time allows. One more
    // reads the account's properties.
    assert!((18..=19).contains(&creates) && requests <= 21, "{creates} of {requests}");
    assert_eq!(world.counts().await["pending"], 60 - i64::try_from(creates).unwrap());
    world.audit().await;
}
