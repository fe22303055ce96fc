//! Spans reach a collector, and an unreachable collector costs nothing but spans.

use simulator::{Answer, Commit, Fault, Operation};
use tokio::net::TcpListener;

use super::collector::{Collector, Received};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// A world whose daemons send spans to this endpoint.
async fn world_with_traces(endpoint: &str) -> World {
    let mut world = World::new().await;
    let variables = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint),
        ("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Basic%20otel-canary"),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ];
    world.settings.extend(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
    world
}

async fn single_span(collector: &Collector, name: &str) -> Received {
    single_span_of(collector, name, |_| true).await
}

/// The only span with this name that matches.
async fn single_span_of(collector: &Collector, name: &str, matches: impl Fn(&Received) -> bool) -> Received {
    eventually(&format!("a span {name:?}"), async || {
        let mut spans: Vec<_> = collector.spans(name).into_iter().filter(&matches).collect();
        if spans.len() == 1 { Ok(spans.remove(0)) } else { Err(spans.len()) }
    })
    .await
}

#[tokio::test]
async fn batch_is_a_span_with_its_steps_and_without_course_data() {
    let collector = Collector::start().await;
    let world = world_with_traces(&collector.url()).await;
    world.enqueue_many("Secretive", 1).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;

    // Another batch may have spent its permit on reading the account's properties.
    let sent = single_span(&collector, "send").await;
    let is_parent = |batch: &Received| batch.span.span_id == sent.span.parent_span_id;
    let batch = single_span_of(&collector, "batch", is_parent).await;
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
        let step = single_span_of(&collector, name, is_child).await;
        assert_eq!(step.span.trace_id, batch.span.trace_id, "{name}");
        let is_within = step.span.start_time_unix_nano >= batch.span.start_time_unix_nano
            && step.span.end_time_unix_nano <= batch.span.end_time_unix_nano;
        assert!(is_within, "{name} is outside its batch");
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
    assert!(collector.has_received(&id) && !collector.has_received("Secretive"), "course data in a span");
    assert!(!daemon.log().contains("otel-canary"), "{}", daemon.log());
}

#[tokio::test]
async fn lost_response_and_the_lookup_of_its_courses_are_spans() {
    let collector = Collector::start().await;
    let mut world = world_with_traces(&collector.url()).await;
    world.settings.insert("OTEL_SERVICE_NAME".into(), "catalogue-to-hubspot".into());
    let lost = Fault::new(Answer::Reset).committing(Commit::Yes);
    world.hubspot.add_fault(lost.on(Operation::BatchCreate).times(1));
    world.enqueue_many("A", 1).await;
    let _daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;

    let send = single_span(&collector, "send").await;
    assert_eq!(send.attributes()["error.type"], "unreachable");
    assert!(!send.attributes().contains_key("http.response.status_code"), "a status without a response");
    assert_eq!(send.resource["service.name"], "catalogue-to-hubspot");
    let look_up = single_span(&collector, "look up").await;
    let attributes = look_up.attributes();
    assert_eq!(attributes["course_sync.courses"], "1");
    assert_eq!(attributes["http.response.status_code"], "200");
    assert_eq!(attributes["course_sync.outcome"], "ok");
}

#[tokio::test]
async fn last_spans_are_sent_before_shutdown() {
    let collector = Collector::start().await;
    let mut world = world_with_traces(&collector.url()).await;
    world.settings.insert("OTEL_BSP_SCHEDULE_DELAY".into(), "3600000".into());
    world.enqueue_many("A", 1).await;
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    assert!(daemon.stop().await.success());
    assert_eq!(collector.spans("send").len(), 1);
}

#[tokio::test]
async fn unreachable_or_hanging_collector_delays_no_courses() {
    // The system accepts connections to it, but nothing responds.
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let freed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    for (endpoint, is_unreachable) in [(silent.local_addr().unwrap(), false), (freed, true)] {
        let world = world_with_traces(&format!("http://{endpoint}")).await;
        world.enqueue_many("A", 250).await;
        let mut daemon = world.start_daemon();
        world.wait_until_all_are(&["synced"]).await;
        if is_unreachable {
            daemon.wait_for_event("trace_export_failed").await;
        }
        assert!(daemon.stop().await.success(), "{}", daemon.log());
        assert_eq!(daemon.events("lease_released").len(), 1, "an orderly shutdown");
        assert!(!daemon.log().contains("otel-canary"), "{}", daemon.log());
    }
}

#[tokio::test]
async fn invalid_variables_are_logged_and_courses_are_synced() {
    let world = world_with_traces("collector.example:4318").await;
    world.enqueue_many("A", 3).await;
    let daemon = world.start_daemon();
    let line = daemon.wait_for_event("traces_disabled").await;
    let error = line["error"].as_str().expect("an error");
    assert!(error.contains("OTEL_EXPORTER_OTLP_ENDPOINT is not an http or https address"), "{line}");
    world.wait_until_all_are(&["synced"]).await;
}
