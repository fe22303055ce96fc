//! `/metrics` has exactly the names and labels that dashboards and alerts rely on.

use std::collections::{BTreeMap, BTreeSet};

use reqwest::Method;

use super::{Response, ask, get};
use crate::support::world::World;

type Labels = &'static [(&'static str, &'static [&'static str])];

const OPERATION: (&str, &[&str]) = ("operation", &["create", "update", "archive", "read", "schema", "token"]);

/// Every metric: name without prefix, kind, labels with all their values.
const METRICS: &[(&str, &str, Labels)] = &[
    (
        "courses_total",
        "counter",
        &[("outcome", &["synced", "adopted", "failed", "deferred", "unconfirmed", "updated", "archived"])],
    ),
    (
        "outbox_courses",
        "gauge",
        &[("status", &["pending", "in_flight", "unconfirmed", "synced", "failed", "archived"])],
    ),
    ("outbox_oldest_seconds", "gauge", &[("status", &["pending", "in_flight", "unconfirmed"])]),
    ("sync_delay_seconds", "histogram", &[]),
    (
        "requests_total",
        "counter",
        &[
            OPERATION,
            (
                "outcome",
                &[
                    "ok",
                    "partial",
                    "rejected",
                    "rate_limited",
                    "unauthorized",
                    "unavailable",
                    "timeout",
                    "unreachable",
                    "invalid",
                ],
            ),
        ],
    ),
    ("request_duration_seconds", "histogram", &[OPERATION]),
    ("batch_courses", "histogram", &[]),
    ("rate_limit_wait_seconds", "histogram", &[]),
    ("quota_remaining", "gauge", &[("window", &["interval", "daily"])]),
    (
        "paused",
        "gauge",
        &[(
            "reason",
            &[
                "operator",
                "token",
                "scopes",
                "object_type",
                "interval_quota",
                "daily_quota",
                "unavailable",
                "schema",
                "rejected",
                "archive_limit",
            ],
        )],
    ),
    ("leader", "gauge", &[]),
    ("wakeups_total", "counter", &[("reason", &["notify", "poll", "completion", "resume"])]),
    ("lost_guards_total", "counter", &[]),
    ("log_lines_dropped_total", "counter", &[]),
    ("refused_courses", "gauge", &[]),
    (
        "audit_differences",
        "gauge",
        &[(
            "class",
            &[
                "missing",
                "archived",
                "merged",
                "key_edited",
                "values_edited",
                "restored",
                "duplicate_key",
                "stranger",
                "unclear",
            ],
        )],
    ),
    ("audit_timestamp_seconds", "gauge", &[("result", &["complete", "partial"])]),
];

/// The standard metrics of a process, on Linux.
const PROCESS: [(&str, &str); 5] = [
    ("process_start_time_seconds", "gauge"),
    ("process_cpu_seconds_total", "counter"),
    ("process_resident_memory_bytes", "gauge"),
    ("process_open_fds", "gauge"),
    ("process_max_fds", "gauge"),
];

/// Every combination of the labels, as written between the braces, in alphabetical order of names.
fn combinations(labels: Labels) -> Vec<String> {
    labels.iter().fold(vec![String::new()], |so_far, (name, values)| {
        let with = |before: &String| {
            let comma = if before.is_empty() { "" } else { "," };
            values.iter().map(|value| format!("{before}{comma}{name}=\"{value}\"")).collect::<Vec<_>>()
        };
        so_far.iter().flat_map(with).collect()
    })
}

/// Series (`name{labels}` without the `le` of histograms) with their last value.
fn series(text: &str) -> BTreeMap<String, f64> {
    let parse = |line: &str| {
        let (name, value) = line.rsplit_once(' ').expect(line);
        let (name, labels) = name.split_once('{').unwrap_or((name, ""));
        let mut labels: Vec<_> =
            labels.trim_end_matches('}').split(',').filter(|label| !label.starts_with("le=")).collect();
        labels.sort_unstable();
        (format!("{name}{{{}}}", labels.join(",")), value.parse().expect(line))
    };
    text.lines().filter(|line| !line.starts_with('#')).map(parse).collect()
}

async fn scrape(admin: &str, accept: &str) -> Response {
    let answer = ask(Method::GET, &format!("{admin}/metrics"), &[("accept", accept)]).await;
    assert_eq!(answer.status, 200);
    answer
}

#[tokio::test]
async fn exactly_the_documented_series_exist_at_zero_from_the_start() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    daemon.wait_for_event("daemon_started").await;
    let text = get(&format!("{}/metrics", daemon.admin_url().await)).await.text;

    let mut expected = BTreeSet::new();
    for (name, kind, labels) in METRICS {
        let name = format!("course_sync_{name}");
        assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is a {kind}:\n{text}");
        assert!(text.contains(&format!("# HELP {name} ")), "{name} has no help");
        let suffixes: &[_] = if *kind == "histogram" { &["_bucket", "_sum", "_count"] } else { &[""] };
        for suffix in suffixes {
            expected.extend(combinations(labels).iter().map(|labels| format!("{name}{suffix}{{{labels}}}")));
        }
    }
    let mut found = series(&text);
    if cfg!(target_os = "linux") {
        for (name, kind) in PROCESS {
            assert!(text.contains(&format!("# TYPE {name} {kind}\n")), "{name} is a {kind}:\n{text}");
            let value = found.remove(&format!("{name}{{}}")).expect(name);
            assert!(value >= 0.0 && (value > 0.0 || name == "process_cpu_seconds_total"), "{name} {value}");
        }
    }
    let build = found.keys().find(|name| name.starts_with("course_sync_build_info{")).cloned().unwrap();
    assert!(build.contains(&format!("version=\"{}\"", env!("CARGO_PKG_VERSION"))), "{build}");
    assert!(build.contains("commit=\""), "{build}");
    assert_eq!(found.remove(&build), Some(1.0));
    assert_eq!(found.keys().cloned().collect::<BTreeSet<_>>(), expected);
    for (name, value) in found {
        // The leader starts, and verifies the unique property.
        let may_have_changed = ["course_sync_leader", "course_sync_wakeups", "course_sync_quota_remaining"]
            .iter()
            .any(|begin| name.starts_with(begin))
            || name.contains("operation=\"schema\"");
        assert!(value == 0.0 || may_have_changed, "{name} {value}");
    }
}

#[tokio::test]
async fn format_depends_on_the_accept_header() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    for accept in ["*/*", "text/plain", "text/html,application/xhtml+xml"] {
        let answer = scrape(&admin, accept).await;
        assert_eq!(answer.header("content-type"), "text/plain; version=0.0.4; charset=utf-8", "{accept}");
        assert!(!answer.text.contains("# EOF") && !answer.text.contains("# UNIT"));
    }
    // The header that Prometheus sends.
    let prometheus = "application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.6,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";
    let answer = scrape(&admin, prometheus).await;
    let expected = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    assert_eq!(answer.header("content-type"), expected);
    assert!(answer.text.ends_with("# EOF\n"));
    assert!(answer.text.contains("# TYPE course_sync_courses counter\n"));
    assert!(answer.text.contains("\ncourse_sync_courses_total{outcome=\"synced\"} 0\n"));
}

#[tokio::test]
async fn synced_and_failed_courses_are_counted() {
    let world = World::new().await;
    world.enqueue_many("A", 150).await;
    world.enqueue("bad", &serde_json::json!({ "hs_course_name": "x", "no_such": 1 })).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    let admin = daemon.admin_url().await;
    let expected: [(&str, f64); 8] = [
        ("courses_total{outcome=\"synced\"}", 150.0),
        ("courses_total{outcome=\"failed\"}", 1.0),
        ("outbox_courses{status=\"synced\"}", 150.0),
        ("outbox_courses{status=\"failed\"}", 1.0),
        ("sync_delay_seconds_count{}", 150.0),
        ("batch_courses_count{}", 4.0),
        ("batch_courses_sum{}", 151.0),
        ("leader{}", 1.0),
    ];
    crate::support::eventually::eventually("the metrics have the expected values", async || {
        let found = series(&scrape(&admin, "*/*").await.text);
        let wrong: Vec<_> = expected
            .iter()
            .map(|(name, value)| (*name, *value, found[&format!("course_sync_{name}")]))
            .filter(|(_, expected, found)| (expected - found).abs() > 0.0)
            .collect();
        if wrong.is_empty() { Ok(found) } else { Err(wrong) }
    })
    .await;
}
