//! `/status` and the console: what they show, and that external text is escaped.

use std::collections::BTreeMap;

use simulator::{Answer as Reply, Fault};

use super::get;
use crate::support::daemon::{output, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// The structure of a value: its objects and their members, without the values.
fn structure(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}:{}", structure(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Array(_) => "[]".to_owned(),
        serde_json::Value::Null => "null".to_owned(),
        _ => "value".to_owned(),
    }
}

#[tokio::test]
async fn status_over_http_equals_status_on_the_command_line() {
    let world = World::new().await;
    world.enqueue_many("A", 5).await;
    let daemon = world.start_daemon();
    world.wait_until_all_are(&["synced"]).await;
    let admin = daemon.admin_url().await;
    let mut command = program(&world.settings);
    command.args(["status", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&output(command).await.stdout).unwrap();
    let answer = get(&format!("{admin}/status")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let served = answer.json();
    assert_eq!(structure(&served), structure(&printed));
    assert_eq!(served["counts"], printed["counts"]);
    assert_eq!(served["leader"]["holder"], printed["leader"]["holder"]);
}

#[tokio::test]
async fn text_from_hubspot_is_escaped_in_the_console() {
    let world = World::new().await;
    let body = serde_json::json!({
        "status": "error", "category": "MISSING_SCOPES", "correlationId": "c-1",
        "message": "<script>alert(1)</script> & \"more\" <img src=x onerror=alert(2)>",
    });
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    world.hubspot.add_fault(Fault::new(Reply::Literal { status: 403, headers, body: body.to_string() }));
    world.enqueue_many("A", 1).await;
    let daemon = world.start_daemon();
    let admin = daemon.admin_url().await;
    let page = eventually("the console shows the pause", async || {
        let page = get(&format!("{admin}/")).await;
        if page.text.contains("The token lacks a scope <code>scopes</code>") { Ok(page) } else { Err(page) }
    })
    .await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.starts_with("<!DOCTYPE html>"), "{page:?}");
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; "), "{page:?}");
    assert!(page.text.contains("Add the scopes crm.objects.courses.read"), "{page:?}");
    assert_eq!(page.text.matches("<script").count(), 1, "only its own script: {page:?}");
    assert!(!page.text.contains("<img"), "{page:?}");
}
