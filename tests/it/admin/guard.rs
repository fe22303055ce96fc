//! Access to the admin port: host names, methods, and the security headers of every response.

use reqwest::Method;

use super::{ask, get};
use crate::support::world::World;

const PATHS: [&str; 7] = ["/", "/console.css", "/console.js", "/status", "/readyz", "/livez", "/metrics"];

#[tokio::test]
async fn console_and_status_refuse_unknown_host_names() {
    let mut world = World::new().await;
    world.set("ADMIN__HOSTS", "courses.example.com,sync.example.org");
    let daemon = world.start_daemon();
    daemon.wait_for_event("daemon_started").await;
    let admin = daemon.admin_url().await;
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
    // Health checks and Prometheus may use any host name, because these paths show no course data.
    for path in ["/readyz", "/livez", "/metrics"] {
        assert_eq!(by_name(path, "pod-7.example").await, 200, "{path}");
    }
}

#[tokio::test]
async fn only_get_is_allowed() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    daemon.wait_for_event("daemon_started").await;
    let admin = daemon.admin_url().await;
    for path in PATHS {
        for method in [Method::POST, Method::PUT, Method::PATCH, Method::DELETE] {
            let response = ask(method.clone(), &format!("{admin}{path}"), &[]).await;
            assert_eq!(response.status, 405, "{method} {path}");
        }
    }
    assert_eq!(get(&format!("{admin}/favicon.ico")).await.status, 404);
}

#[tokio::test]
async fn every_response_has_security_headers() {
    let world = World::new().await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    for path in PATHS.into_iter().chain(["/nothing"]) {
        let response = get(&format!("{admin}{path}")).await;
        assert_eq!(response.header("x-content-type-options"), "nosniff", "{path}");
        assert_eq!(response.header("cache-control"), "no-store", "{path}");
        assert_eq!(response.header("referrer-policy"), "no-referrer", "{path}");
        let policy = response.header("content-security-policy");
        for rule in ["default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"] {
            assert!(policy.contains(rule), "{path}: {policy}");
        }
        assert!(!policy.contains("unsafe"), "{path}: {policy}");
    }
    let foreign = ask(Method::GET, &format!("{admin}/"), &[("host", "evil.example")]).await;
    assert_eq!(foreign.header("x-content-type-options"), "nosniff");
}
