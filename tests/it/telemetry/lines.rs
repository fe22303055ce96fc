//! The volume of the log: a report per minute instead of a line per course, and a limit for failed courses.

use crate::support::daemon::Daemon;
use crate::support::world::World;

#[tokio::test]
async fn failed_courses_are_logged_up_to_a_limit_and_progress_is_reported() {
    let world = World::new().await;
    world.enqueue_many("good", 150).await;
    for n in 0..25 {
        let properties = serde_json::json!({ "hs_course_name": format!("x {n}"), "no_such": 1 });
        world.enqueue(&format!("bad-{n}"), &properties).await;
    }
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    assert!(daemon.stop().await.success());

    let failed = daemon.events("course_failed");
    assert_eq!(failed.len(), 20);
    for line in &failed {
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["category"], "VALIDATION_ERROR");
        assert_eq!(line["property"], "no_such");
        assert!(line["code"].is_string() && line["correlation_id"].is_string(), "{line}");
        assert!(line["course_key"].as_str().is_some_and(|key| key.starts_with("bad-")), "{line}");
        assert!(uuid::Uuid::parse_str(line["batch"].as_str().unwrap()).is_ok(), "{line}");
    }
    let further = daemon.events("further_courses_failed");
    assert_eq!(further.iter().map(|line| line["courses"].as_u64()).collect::<Vec<_>>(), [Some(5)]);

    let reports = daemon.events("progress_reported");
    let sum = |name: &str| reports.iter().map(|line| line[name].as_u64().expect(name)).sum::<u64>();
    assert_eq!((sum("synced"), sum("failed"), sum("unconfirmed")), (150, 25, 0));
    let last = reports.last().expect("a report before the end");
    assert!(last["outcomes"].as_str().is_some_and(|text| text.contains("create partial")), "{last}");
    assert!(last["delay_p95_seconds"].is_number() && last["quota_daily"].is_number(), "{last}");
    assert_eq!(last.get("paused"), None, "nothing is paused");

    let count = daemon.log().lines().count();
    assert!(count < 40, "{count} lines for 175 courses:\n{}", daemon.log());
}

#[tokio::test]
async fn idle_daemon_reports_no_progress() {
    let world = World::new().await;
    let mut daemon = world.start_daemon();
    daemon.wait_for_event("lease_acquired").await;
    assert!(daemon.stop().await.success());
    // The unique property may have been verified in time.
    let reports = daemon.events("progress_reported");
    assert!(
        reports.len() <= 1 && reports.iter().all(|line| line["outcomes"] == "schema ok 1"),
        "{reports:?}"
    );
}

#[tokio::test]
async fn pause_is_logged_with_its_reason() {
    let world = World::new().await;
    world.enqueue_many("A", 1).await;
    let mut settings = world.settings.clone();
    settings.insert("HUBSPOT_ACCESS_TOKEN".into(), "pat-na1-wrong".into());
    let daemon = Daemon::start(&settings, &[]);
    let blocked = daemon.wait_for_event("sending_blocked").await;
    assert_eq!((&blocked["reason"], &blocked["level"]), (&"token".into(), &"ERROR".into()));
    assert!(blocked["detail"].is_string(), "{blocked}");
}
