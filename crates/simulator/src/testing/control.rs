//! The control API and the page, over a socket.

use std::net::{Ipv4Addr, SocketAddr};

use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::values;
use crate::{Behaviour, Change, Handle, LoserKey, PropertyType, Settings, Simulator};

async fn start() -> Handle {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    let simulator = Simulator::bind(address, Settings::default()).await.unwrap();
    let handle = simulator.handle();
    tokio::spawn(simulator.serve(std::future::pending()));
    handle
}

/// Sends a request; returns the status and the body.
async fn send(handle: &Handle, method: &str, path: &str, body: &Value) -> (u16, String) {
    let body = body.to_string();
    let request = format!(
        "{method} {path} HTTP/1.1\r\nhost: simulator\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let mut stream = TcpStream::connect(handle.address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    stream.read_to_string(&mut response).await.unwrap();
    let (head, body) = response.split_once("\r\n\r\n").unwrap();
    (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
}

async fn act(handle: &Handle, action: &str, body: Value) -> u16 {
    send(handle, "POST", &format!("/_simulator/{action}"), &body).await.0
}

#[tokio::test]
async fn user_actions_are_available() {
    let handle = start().await;
    let ids = ["a", "b", "c"].map(|name| handle.create_record(values(&[("hs_course_name", name)])));
    let [a, b, c] = ids;
    let edit = json!({ "id": a, "properties": { "hs_course_id": "x" } });
    assert_eq!(act(&handle, "edit", edit).await, 204);
    for action in ["touch", "archive", "restore"] {
        assert_eq!(act(&handle, action, json!({ "id": a })).await, 204, "{action}");
    }
    assert_eq!(act(&handle, "purge", json!({ "id": c })).await, 204);
    for action in ["touch", "archive", "restore", "purge"] {
        assert_eq!(act(&handle, action, json!({ "id": c })).await, 404, "{action}");
    }
    let merge = json!({ "primary": a, "other": b });
    let (status, body) = send(&handle, "POST", "/_simulator/merge", &merge).await;
    let survivor = serde_json::from_str::<Value>(&body).unwrap()["id"].as_u64().unwrap();
    assert_eq!((status, handle.merged_records()), (200, [(a, survivor), (b, survivor)].into()));
    assert_eq!(act(&handle, "merge", merge).await, 404, "they are one record");

    handle.create_property("format", PropertyType::Enumeration, false);
    let options = json!({ "property": "format", "options": ["online"] });
    assert_eq!(send(&handle, "PUT", "/_simulator/options", &options).await.0, 204);
    let unknown = json!({ "property": "unheard_of", "options": [] });
    assert_eq!(send(&handle, "PUT", "/_simulator/options", &unknown).await.0, 404);
}

#[tokio::test]
async fn ledger_is_readable() {
    let handle = start().await;
    let id = handle.create_record(values(&[("hs_course_name", "a")]));
    handle.create_record(values(&[("hs_course_name", "b")]));
    handle.archive_record(id);
    let get = async |path: String| {
        serde_json::from_str::<Value>(&send(&handle, "GET", &path, &Value::Null).await.1).unwrap()
    };
    assert_eq!(get("/_simulator/versions".to_owned()).await, json!(handle.versions()));
    let of_one = get(format!("/_simulator/versions/{id}")).await;
    assert_eq!(of_one, json!(handle.versions_of(id)));
    assert_eq!(of_one[0]["properties"], json!({ "hs_course_name": "a" }));
    assert_eq!((&of_one[1]["change"], &of_one[1]["number"]), (&json!("archived"), &json!(2)));
}

#[tokio::test]
async fn every_lifecycle_switch_is_settable() {
    let handle = start().await;
    let change = json!({
        "update_errors": "whole_batch", "missing_on_update": "unreported_207", "missing_named_by": "trace_ids",
        "no_op_moves_date": true, "update_status": 207, "same_record_twice": "last_wins",
        "clear_required": "accepted", "removed_options": "cleared", "bad_archive": "refused",
        "merge_survivor": "primary", "merged_update": "survivor", "merged_archive": "survivor",
        "loser_key": "blocked", "merged_reads_repeat": true, "background_touch_ms": 500,
    });
    let body = json!({ "lifecycle": change });
    let (status, shown) = send(&handle, "PUT", "/_simulator/behaviour", &body).await;
    assert_eq!((status, &serde_json::from_str::<Value>(&shown).unwrap()["lifecycle"]), (200, &change));
    let one = json!({ "lifecycle": { "loser_key": "survivor", "background_touch_ms": null } });
    assert_eq!(send(&handle, "PUT", "/_simulator/behaviour", &one).await.0, 200);
    let lifecycle = handle.behaviour().lifecycle;
    assert_eq!((lifecycle.loser_key, lifecycle.update_status), (LoserKey::Survivor, 207), "others are kept");
    let default = serde_json::to_value(Behaviour::default()).unwrap();
    let all = default["lifecycle"].as_object().unwrap();
    assert!(all.iter().all(|(name, value)| change[name] != *value), "each was changed");
}

#[tokio::test]
async fn page_shows_changes_and_merges() {
    let handle = start().await;
    let ids = ["a", "b"].map(|name| handle.create_record(values(&[("hs_course_name", name)])));
    handle.edit_record(ids[0], values(&[("hs_course_id", "x")]));
    handle.archive_record(ids[0]);
    let page = send(&handle, "GET", "/", &Value::Null).await.1;
    for text in ["created: 1", "updated: 1", "archived: 1", "(archived)"] {
        assert!(page.contains(text), "{text}: {page}");
    }
    assert!(!page.contains("Merged courses"));
    handle.restore_record(ids[0]);
    let survivor = handle.merge_records(ids[0], ids[1]).unwrap();
    let page = send(&handle, "GET", "/", &Value::Null).await.1;
    assert!(page.contains("merged_from: 1"), "{page}");
    assert!(page.contains(&format!("<td>{}</td><td>{survivor}</td>", ids[1])), "{page}");
    assert_eq!(handle.versions_of(ids[1]).pop().unwrap().change, Change::MergedInto(survivor));
}
