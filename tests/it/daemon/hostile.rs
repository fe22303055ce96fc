//! Malicious responses: endless, compressed bombs, slow, or with harmful text. Memory stays bounded, request slots are
//! released, and none counts as a success.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use simulator::{Answer, Fault, Operation};

use crate::hubspot::server::{Reaction, Server, http, json};
use crate::support::eventually::eventually;
use crate::support::http::http_get;
use crate::support::proxy::{Proxy, Target};
use crate::support::world::World;

const GIGABYTE: usize = 1 << 30;
/// The limit for the growth of the daemon's memory, in KiB.
const MAX_GROWTH_KIB: u64 = 64 * 1024;

/// A response that claims to be gzip. The content need not be valid, because it must never be decompressed.
fn gzip_bomb() -> Vec<u8> {
    let mut bytes = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 3];
    bytes.resize(1 << 20, 0);
    http("201 Created", "Content-Type: application/json\r\nContent-Encoding: gzip\r\n", bytes)
}

fn chunk(bytes: &[u8]) -> Vec<u8> {
    [format!("{:x}\r\n", bytes.len()).as_bytes(), bytes, b"\r\n"].concat()
}

fn hostile_responses() -> Vec<Reaction> {
    let head = "HTTP/1.1 201 Created\r\nContent-Type: application/json\r\n";
    let piece = vec![b' '; 64 * 1024];
    let declared = format!("{head}Content-Length: {GIGABYTE}\r\n\r\n").into_bytes();
    let chunked = format!("{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
    let a_thousand_headers = "X-Header: again\r\n".repeat(1_000);
    let many_values = format!(r#"{{"status":"COMPLETE","results":[{}0]}}"#, "0,".repeat(4 << 20));
    let long_message = format!(r#"{{"status":"error","message":"{}"}}"#, "\\u0000x".repeat(10 << 17));
    vec![
        Reaction::RespondForever(declared, piece.clone()),
        Reaction::RespondForever(chunked, chunk(&piece)),
        Reaction::Respond(json("201 Created", &many_values)),
        Reaction::Respond(gzip_bomb()),
        Reaction::RespondForever(head.into(), format!("X-Padding: {}\r\n", "x".repeat(4_000)).into()),
        Reaction::Respond(http("201 Created", &a_thousand_headers, "{}")),
        Reaction::RespondSlowly(json("201 Created", r#"{"status":"COMPLETE","results":[]}"#)),
        Reaction::RespondSlowly(format!("{head}X-Slow: ").into()),
        Reaction::Respond(json("500 Internal Server Error", &long_message)),
        Reaction::Respond(json("201 Created", r#"{"status":"COMPLETE","results":[{"id":"\ud800"}]}"#)),
        Reaction::Respond(json("201 Created", &"[".repeat(1 << 20))),
        Reaction::Respond(http("201 Created", "X-HubSpot-Correlation-Id: \x1b[31mred\r\n", "\x1b[2J\0")),
    ]
}

#[tokio::test]
async fn hostile_responses_do_not_exhaust_memory_or_request_slots() {
    let mut world = World::new().await;
    let port = |url: &str| Target::Port(url.rsplit(':').next().unwrap().parse().unwrap());
    let simulator = port(&world.hubspot.url());
    let proxy = Proxy::start(simulator.clone()).await;
    world.set("HUBSPOT__BASE_URL", &format!("http://127.0.0.1:{}", proxy.port));
    world.set("HUBSPOT__REQUEST_TIMEOUT", "3s");
    world.set("HUBSPOT__CONNECT_TIMEOUT", "1s");
    world.set("BATCH__MAX_SIZE", "10");
    world.set("BATCH__MAX_IN_FLIGHT", "16");
    world.set("RETRY__MAX_INTERVAL", "500ms");
    // As the image sets it: freed buffers go back to the system at once.
    world.settings.insert("MALLOC_MMAP_THRESHOLD_".into(), "131072".into());
    let mut daemon = world.start_daemon();
    world.enqueue_many("A", 300).await;
    world.wait_until_all_are(&["synced"]).await;
    let usual = daemon.peak_memory_kib();

    let reactions = hostile_responses();
    let kinds = reactions.len();
    let is_over = Arc::new(AtomicBool::new(false));
    let flag = Arc::clone(&is_over);
    let hostile = Server::start(move |before, _| {
        if flag.load(Ordering::SeqCst) { Reaction::Close } else { reactions[before % kinds].clone() }
    })
    .await;
    world.stop_hubspot().await;
    proxy.set_target(port(&hostile.url));
    world.enqueue_many("B", 300).await;
    // More requests than slots: this succeeds only if slots are released.
    eventually("every kind of response was received, and more requests followed", async || {
        match hostile.requests().len() {
            seen if seen > kinds + 3 => Ok(()),
            seen => Err(seen),
        }
    })
    .await;
    world.restart_hubspot().await;
    proxy.set_target(simulator);
    is_over.store(true, Ordering::SeqCst);
    world.wait_until_all_are(&["synced"]).await;
    let grown = daemon.peak_memory_kib() - usual;
    eprintln!(
        "peak memory: {usual} KiB, and {grown} KiB more under {} hostile responses",
        hostile.requests().len()
    );
    assert!(grown < MAX_GROWTH_KIB, "the memory of the daemon grew by {grown} KiB");
    assert!(daemon.stop().await.success());
    assert!(!daemon.log().contains('\u{1b}'), "{}", daemon.log());
    world.audit().await;
}

#[tokio::test]
async fn a_harmful_message_is_stored_shortened_and_sanitised() {
    let world = World::new().await;
    let message = format!("\\u001b[31m<script>\\u0000\\u202e{}", "long ".repeat(2 << 20));
    let body = format!(
        r#"{{"status":"error","message":"{message}","correlationId":"\u0000\u001b","category":"VALIDATION_ERROR"}}"#
    );
    let answer = Answer::Literal { status: 400, headers: BTreeMap::new(), body };
    world.hubspot.add_fault(Fault::new(answer).on(Operation::BatchCreate));
    world.enqueue_many("A", 1).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["failed"]).await;
    let row = world.row("A-1").await;
    let shown = row.error("message");
    assert!(shown.contains("<script>") && shown.len() <= 2_000, "{} bytes", shown.len());
    assert!(!shown.contains('\0'), "{shown}");
    let admin = daemon.admin_url().await;
    for page in ["/", "/status", "/readyz"] {
        let text = http_get(format!("{admin}{page}")).await.unwrap().text().await.unwrap();
        assert!(!text.contains("<script>") && !text.contains('\u{1b}'), "{page}: {text}");
    }
    assert!(!daemon.log().contains('\u{1b}'));
    world.audit().await;
}
