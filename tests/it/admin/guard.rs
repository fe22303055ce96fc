//! Who may ask, for what, and what every answer carries.

use reqwest::Method;

use super::{ask, get};
use crate::support::world::World;

const PATHS: [&str; 7] = ["/", "/console.css", "/console.js", "/status", "/readyz", "/livez", "/metrics"];

#[tokio::test]
async fn a_page_from_elsewhere_cannot_read_console_and_status() {
    let mut world = World::new().await;
    world.set("ADMIN__HOSTS", "courses.example.com,sync.example.org");
    let daemon = world.daemon();
    daemon.logged("\"started\"").await;
    let admin = daemon.admin().await;
    let by_name = async |path: &str, host: &str| {
        ask(Method::GET, &format!("{admin}{path}"), &[("host", host)]).await.status.as_u16()
    };
    for path in ["/", "/console.js", "/status"] {
        for foreign in ["evil.example", "evil.example:9464", "courses.example.com.evil.example", "10.0.0.1"] {
            assert_eq!(by_name(path, foreign).await, 421, "{path} as {foreign}");
        }
        for own in ["localhost", "127.0.0.1:9464", "courses.example.com", "Sync.Example.org:443"] {
            assert_eq!(by_name(path, own).await, 200, "{path} as {own}");
        }
    }
    // Probes and Prometheus come by whatever name, and learn nothing of a course.
    for path in ["/readyz", "/livez", "/metrics"] {
        assert_eq!(by_name(path, "pod-7.example").await, 200, "{path}");
    }
}

#[tokio::test]
async fn nothing_is_changed_over_http() {
    let world = World::new().await;
    let daemon = world.daemon();
    daemon.logged("\"started\"").await;
    let admin = daemon.admin().await;
    for path in PATHS {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let answer = ask(method.clone(), &format!("{admin}{path}"), &[]).await;
            assert_eq!(answer.status, 405, "{method} {path}");
        }
    }
    assert_eq!(get(&format!("{admin}/favicon.ico")).await.status, 404);
}

#[tokio::test]
async fn every_answer_is_hardened() {
    let world = World::new().await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    for path in PATHS.into_iter().chain(["/nothing"]) {
        let answer = get(&format!("{admin}{path}")).await;
        assert_eq!(answer.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(answer.header("cache-control"), "no-store", "{path}");
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        let policy = answer.header("content-security-policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    let foreign = ask(Method::GET, &format!("{admin}/"), &[("host", "evil.example")]).await;
    assert_eq!(foreign.header("x-content-type-options"), "nosniff");
}
