//! Answers that are meant to harm: endless, bombed, slow, poisonous. Memory stays bounded, slots are freed,
//! and nothing is taken for a success.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use course_sync::simulator::{Answer, Fault, Operation};

use crate::hubspot::server::{Reaction, Server, http, json};
use crate::support::eventually::eventually;
use crate::support::proxy::{Proxy, Target};
use crate::support::world::World;

const GIGABYTE: usize = 1 << 30;
/// By how much the daemon's memory may grow at most, in KiB.
const GROWTH: u64 = 64 * 1024;

/// A gigabyte's worth of zeros, compressed to a megabyte, in outline: it is never inflated.
fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bytes.resize(1 << 20, 0);
    http("201 Created", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", bytes)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn bad_answers() -> Vec<Reaction> {
    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n";
    let piece = vec![b' '; 64 * 1024];
    let declared = format!("{head}Content-Length: {GIGABYTE}\r\n\r\n").into_bytes();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let a_thousand_headers = "X-Header: again\r\n".repeat(1_000);
    let many_values = format!(r#"{{"status":"COMPLETE","results":[{}0]}}"#, "0,".repeat(4 << 20));
    let long_message = format!(r#"{{"status":"error","message":"{}"}}"#, "\\u0000x".repeat(10 << 17));
    vec![
        Reaction::AnswerForEver(declared, piece.clone()),
        Reaction::AnswerForEver(chunked, chunk(&piece)),
        Reaction::Answer(json("201 Created", &many_values)),
        Reaction::Answer(gzip_bomb()),
        Reaction::AnswerForEver(head.into(), format!("X-Padding: {}\r\n", "x".repeat(4_000)).into()),
        Reaction::Answer(http("201 Created", &a_thousand_headers, "{}")),
        Reaction::AnswerSlowly(json("201 Created", r#"{"status":"COMPLETE","results":[]}"#)),
        Reaction::AnswerSlowly(format!("{head}X-Slow: ").into()),
        Reaction::Answer(json("500 Internal Server Error", &long_message)),
        Reaction::Answer(json("201 Created", r#"{"status":"COMPLETE","results":[{"id":"\ud800"}]}"#)),
        Reaction::Answer(json("201 Created", &"[".repeat(1 << 20))),
        Reaction::Answer(http("201 Created", "X-HubSpot-Correlation-Id: \x1b[31mred\r\n", "\x1b[2J\0")),
    ]
}

#[tokio::test]
async fn answers_that_are_meant_to_harm_take_neither_memory_nor_slots_for_long() {
    let mut world = World::new().await;
    let port = |url: &str| Target::Port(url.rsplit(':').next().unwrap().parse().unwrap());
    let simulator = port(&world.hubspot.url());
    let proxy = Proxy::to(simulator.clone()).await;
    world.set("HUBSPOT__BASE_URL", &format!("http://127.0.0.1:{}", proxy.port));
    world.set("HUBSPOT__REQUEST_TIMEOUT", "3s");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.set("BATCH__MAX_IN_FLIGHT", "16");
    let mut daemon = world.daemon();
    world.enqueue_many("A", 1_000).await;
    world.all_are(&["synced"]).await;
    let usual = daemon.peak_memory_kib();

    let reactions = bad_answers();
    let kinds = reactions.len();
    let is_over = Arc::new(AtomicBool::new(false));
    let knows = Arc::clone(&is_over);
    let hostile = Server::start(move |before, _| {
        if knows.load(Ordering::SeqCst) { Reaction::Close } else { reactions[before % kinds].clone() }
    })
    .await;
    world.hubspot_goes().await;
    proxy.leads_to(port(&hostile.url));
    world.enqueue_many("B", 1_000).await;
    // All at once as far as there are slots, and then one by one: slots were freed.
    eventually("every kind was met, and more was sent after it", async || match hostile.requests().len() {
        seen if seen > kinds + 3 => Ok(()),
        seen => Err(seen),
    })
    .await;
    world.hubspot_returns().await;
    proxy.leads_to(simulator);
    is_over.store(true, Ordering::SeqCst);
    world.all_are(&["synced"]).await;
    let grown = daemon.peak_memory_kib() - usual;
    eprintln!(
        "peak memory: {usual} KiB, and {grown} KiB more under {} hostile answers",
        hostile.requests().len()
    );
    assert!(grown < GROWTH, "its memory grew by {grown} KiB");
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains('\u{1b}'), "{}", daemon.log());
    world.audit().await;
}

#[tokio::test]
async fn a_poisonous_message_is_stored_short_and_clean() {
    let world = World::new().await;
    let message = format!("\\u001b[31m<script>\\u0000\\u202e{}", "long ".repeat(2 << 20));
    let body = format!(
        r#"{{"status":"error","message":"{message}","correlationId":"\u0000\u001b","category":"VALIDATION_ERROR"}}"#
    );
    let answer = Answer::Literal { status: 400, headers: BTreeMap::new(), body };
    world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate));
    world.enqueue_many("A", 1).await;
    let daemon = world.daemon();
    world.all_are(&["failed"]).await;
    let row = world.row("A-1").await;
    let told = row.error("message");
    assert!(told.contains("<script>") && told.len() <= 2_000, "{} bytes", told.len());
    assert!(!told.contains('\0'), "{told}");
    let admin = daemon.admin().await;
    for page in ["/", "/status", "/readyz"] {
        let text = reqwest::get(format!("{admin}{page}")).await.unwrap().text().await.unwrap();
        assert!(!text.contains("<script>") && !text.contains('\u{1b}'), "{page}: {text}");
    }
    assert!(!daemon.log().contains('\u{1b}'));
    world.audit().await;
}
