//! Spans reach a collector, and a collector that is away costs nothing but spans.

use course_sync::simulator::{Answer, Commit, Fault, Operation};
use tokio::net::TcpListener;

use super::collector::{Collector, Received};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A world whose daemons send spans to this endpoint.
async fn traced(endpoint: &str) -> World {
    let mut world = World::new().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20otel-canary"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    world.settings.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    world
}

async fn one(collector: &Collector, name: &str) -> Received {
    one_of(collector, name, |_| true).await
}

/// The one span of this name that is wanted.
async fn one_of(collector: &Collector, name: &str, is_wanted: impl Fn(&Received) -> bool) -> Received {
    eventually(&format!("a span {name:?}"), async || {
        let mut spans: Vec<_> = collector.spans(name).into_iter().filter(&is_wanted).collect();
        if spans.len() == 1 { Ok(spans.remove(0)) } else { Err(spans.len()) }
    })
    .await
}

#[tokio::test]
async fn a_batch_is_a_span_with_its_steps_and_nothing_of_its_courses() {
    let collector = Collector::start().await;
    let world = traced(&collector.url()).await;
    world.enqueue_many("Secretive", 1).await;
    let daemon = world.daemon();
    world.all_are(&["synced"]).await;

    // Another batch may have spent its permit on reading the account's properties.
    let sent = one(&collector, "send").await;
    let is_parent = |batch: &Received| batch.span.span_id == sent.span.parent_span_id;
    let batch = one_of(&collector, "batch", is_parent).await;
    let is_child = |step: &Received| step.span.parent_span_id == batch.span.span_id;
    let id: String =
        sqlx::query_scalar("select batch_id::text from course_sync_batch where operation = 'create'")
            .fetch_one(world.pool())
            .await
            .unwrap();
    let attributes = batch.attributes();
    assert_eq!(attributes["course_sync.batch"], id);
    assert_eq!(attributes["course_sync.courses"], "1");
    assert_eq!(attributes["course_sync.outcome"], "ok");
    assert_eq!(attributes["course_sync.term"], "1");
    assert_eq!(batch.resource["service.name"], "course-sync");
    assert_eq!(batch.authorization, "Basic otel-canary");

    for name in ["claim", "send", "record"] {
        let step = one_of(&collector, name, is_child).await;
        assert_eq!(step.span.trace_id, batch.span.trace_id, "{name}");
        let lies_within = step.span.start_time_unix_nano >= batch.span.start_time_unix_nano
            && step.span.end_time_unix_nano <= batch.span.end_time_unix_nano;
        assert!(lies_within, "{name} lies within its batch");
        let attributes = step.attributes();
        if name == "send" {
            assert_eq!(attributes["http.request.method"], "POST");
            assert_eq!(attributes["http.response.status_code"], "201");
            assert_eq!(attributes["server.address"], "127.0.0.1");
            assert!(world.hubspot.url().ends_with(&attributes["server.port"]));
            assert!(!attributes.contains_key("error.type"));
        } else {
            assert_eq!(attributes["db.system.name"], "postgresql");
        }
    }
    assert!(collector.has_seen(&id) && !collector.has_seen("Secretive"), "spans hold nothing of a course");
    assert!(!daemon.log().contains("otel-canary"), "{}", daemon.log());
}

#[tokio::test]
async fn a_lost_answer_and_the_look_for_its_courses_are_spans() {
    let collector = Collector::start().await;
    let mut world = traced(&collector.url()).await;
    world.settings.insert("OTEL_SERVICE_NAME".into(), "catalogue-to-hubspot".into());
    let lost = Fault::new(Answer::Reset).committing(Commit::Yes);
    world.hubspot.add_fault(lost.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let _daemon = world.daemon();
    world.all_are(&["synced"]).await;

    let send = one(&collector, "send").await;
    assert_eq!(send.attributes()["error.type"], "unreachable");
    assert!(!send.attributes().contains_key("http.response.status_code"), "no answer, no status");
    assert_eq!(send.resource["service.name"], "catalogue-to-hubspot");
    let look_up = one(&collector, "look up").await;
    let attributes = look_up.attributes();
    assert_eq!(attributes["course_sync.courses"], "1");
    assert_eq!(attributes["http.response.status_code"], "200");
    assert_eq!(attributes["course_sync.outcome"], "ok");
}

#[tokio::test]
async fn the_last_spans_are_sent_before_the_end() {
    let collector = Collector::start().await;
    let mut world = traced(&collector.url()).await;
    world.settings.insert("OTEL_BSP_SCHEDULE_DELAY".into(), "3600000".into());
    world.enqueue_many("A", 1).await;
    let mut daemon = world.daemon();
    world.all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(collector.spans("send").len(), 1);
}

#[tokio::test]
async fn a_collector_that_is_away_or_hangs_costs_spans_alone() {
    // Connections to it are accepted by the system, and nobody ever answers.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let freed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (endpoint, is_away) in [(silent.local_addr().unwrap(), false), (freed, true)] {
        let world = traced(&format!("http://{endpoint}")).await;
        world.enqueue_many("A", 250).await;
        let mut daemon = world.daemon();
        world.all_are(&["synced"]).await;
        if is_away {
            daemon.logged("traces cannot be sent").await;
        }
        assert!(daemon.stop().await.success(), "{}", daemon.log());
        assert!(daemon.log().contains("lease handed over"), "an orderly end");
        assert!(!daemon.log().contains("otel-canary"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn variables_that_cannot_work_are_told_and_the_courses_are_synced() {
    let world = traced("collector.example:4318").await;
    world.enqueue_many("A", 3).await;
    let daemon = world.daemon();
    let line = daemon.logged("no traces are sent").await;
    assert!(line.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https address"), "{line}");
    world.all_are(&["synced"]).await;
}
