//! `/status` and the console: what they show, and that HubSpot's words stay words.

use std::collections::BTreeMap;

use course_sync::simulator::{Answer as Reply, Fault};

use super::get;
use crate::support::daemon::{output, program};
use crate::support::eventually::eventually;
use crate::support::world::World;

/// Where a value has objects in it and which members they have, without the values.
fn shape(value: &serde_json::Value) -> String {
    match value {
        serde_json::Value::Object(members) => {
            let members = members.iter().map(|(name, value)| format!("{name}:{}", shape(value)));
            format!("{{{}}}", members.collect::<Vec<_>>().join(","))
        }
        serde_json::Value::Array(_) => "[]".to_owned(),
        serde_json::Value::Null => "null".to_owned(),
        _ => "value".to_owned(),
    }
}

#[tokio::test]
async fn status_is_the_same_over_http_as_on_the_command_line() {
    let world = World::new().await;
    world.enqueue_many("A", 5).await;
    let daemon = world.daemon();
    world.all_are(&["synced"]).await;
    let admin = daemon.admin().await;
    let mut command = program(&world.settings);
    command.args(["status", "--json"]);
    let printed: serde_json::Value = serde_json::from_slice(&output(command).await.stdout).unwrap();
    let answer = get(&format!("{admin}/status")).await;
    assert_eq!(answer.header("content-type"), "application/json");
    let served = answer.json();
    assert_eq!(shape(&served), shape(&printed));
    assert_eq!(served["counts"], printed["counts"]);
    assert_eq!(served["leader"]["holder"], printed["leader"]["holder"]);
}

#[tokio::test]
async fn words_of_hubspot_are_escaped_in_the_console() {
    let world = World::new().await;
    let body = serde_json::json!({
        "status": "error", "category": "MISSING_SCOPES", "correlationId": "c-1",
        "message": "<script>alert(1)</script> & \"more\" <img src=x onerror=alert(2)>",
    });
    let headers = BTreeMap::from([("content-type".to_owned(), "application/json".to_owned())]);
    world.hubspot.add_fault(Fault::new(Reply::Literal { status: 403, headers, body: body.to_string() }));
    world.enqueue_many("A", 1).await;
    let daemon = world.daemon();
    let admin = daemon.admin().await;
    let page = eventually("the console tells of the pause", async || {
        let page = get(&format!("{admin}/")).await;
        if page.text.contains("The token lacks a scope <code>scopes</code>") { Ok(page) } else { Err(page) }
    })
    .await;
    assert_eq!(page.header("content-type"), "text/html; charset=utf-8");
    assert!(page.text.starts_with("<!DOCTYPE html>"), "{page:?}");
    assert!(page.text.contains("&lt;script&gt;alert(1)&lt;/script&gt; &amp; "), "{page:?}");
    assert!(page.text.contains("Give the private app crm.objects.courses.read"), "{page:?}");
    assert_eq!(page.text.matches("<script").count(), 1, "none but its own: {page:?}");
    assert!(!page.text.contains("<img"), "{page:?}");
}
