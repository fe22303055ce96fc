//! The log under load: a summary instead of a line a course, and only so many lines for those that failed.

use serde_json::Value;

use crate::support::daemon::Daemon;
use crate::support::world::World;

fn lines(daemon: &Daemon, message: &str) -> Vec<Value> {
    let log = daemon.log();
    let lines = log.lines().map(|line| serde_json::from_str::<Value>(line).expect("a line is JSON"));
    lines.filter(|line| line["message"] == message).collect()
}

#[tokio::test]
async fn failed_courses_have_a_line_each_up_to_so_many_and_all_work_has_a_summary() {
    let world = World::new().await;
    world.enqueue_many("good", 150).await;
    for n in 0..25 {
        let properties = serde_json::json!({ "hs_course_name": format!("x {n}"), "no_such": 1 });
        world.enqueue(&format!("bad-{n}"), &properties).await;
    }
    let mut daemon = world.daemon();
    world.all_are(&["synced", "failed"]).await;
    assert!(daemon.stop().await.success());

    let failed = lines(&daemon, "course failed");
    assert_eq!(failed.len(), 20);
    for line in &failed {
        assert_eq!(line["level"], "WARN");
        assert_eq!(line["category"], "VALIDATION_ERROR");
        assert_eq!(line["property"], "no_such");
        assert!(line["code"].is_string() && line["correlation_id"].is_string(), "{line}");
        assert!(line["course_key"].as_str().is_some_and(|key| key.starts_with("bad-")), "{line}");
        assert!(uuid::Uuid::parse_str(line["batch"].as_str().unwrap()).is_ok(), "{line}");
    }
    let further = lines(&daemon, "further courses failed; see course-sync failures");
    assert_eq!(further.iter().map(|line| line["courses"].as_u64()).collect::<Vec<_>>(), [Some(5)]);

    let summaries = lines(&daemon, "summary");
    let sum = |name: &str| summaries.iter().map(|line| line[name].as_u64().expect(name)).sum::<u64>();
    assert_eq!((sum("synced"), sum("failed"), sum("unconfirmed")), (150, 25, 0));
    let last = summaries.last().expect("a summary before the end");
    assert!(last["outcomes"].as_str().is_some_and(|text| text.contains("create partial")), "{last}");
    assert!(last["delay_p95_seconds"].is_number() && last["quota_daily"].is_number(), "{last}");
    assert_eq!(last.get("paused"), None, "nothing is paused");

    let told = daemon.log().lines().count();
    assert!(told < 40, "{told} lines for 175 courses:\n{}", daemon.log());
}

#[tokio::test]
async fn an_idle_daemon_has_nothing_to_say() {
    let world = World::new().await;
    let mut daemon = world.daemon();
    daemon.logged("\"leading\"").await;
    assert!(daemon.stop().await.success());
    // But that the unique property was verified, if it was in time.
    let summaries = lines(&daemon, "summary");
    assert!(
        summaries.len() <= 1 && summaries.iter().all(|line| line["outcomes"] == "schema ok 1"),
        "{summaries:?}"
    );
}

#[tokio::test]
async fn a_pause_keeps_its_name_beside_its_reason() {
    let world = World::new().await;
    world.enqueue_many("A", 1).await;
    let mut settings = world.settings.clone();
    settings.insert("HUBSPOT_ACCESS_TOKEN".into(), "pat-na1-wrong".into());
    let daemon = Daemon::start(&settings, &[]);
    daemon.logged("paused: a person has to mend this").await;
    let paused = lines(&daemon, "paused: a person has to mend this");
    assert_eq!((&paused[0]["reason"], &paused[0]["level"]), (&"token".into(), &"ERROR".into()));
    assert!(paused[0]["detail"].is_string(), "{}", paused[0]);
}
