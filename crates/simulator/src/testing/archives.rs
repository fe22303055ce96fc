//! `batch/archive`, `DELETE`, and reads of archived records.

use axum::http::Method;
use serde_json::{Value, json};

use super::{ARCHIVE, Hub, LIST, READ, READ_ARCHIVED, next_millisecond};
use crate::BadArchive;

#[tokio::test]
async fn archiving_sets_archived_at_and_keeps_the_modification_date() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    let before = hub.modified(id);
    next_millisecond().await;
    let answer = hub.archive(&[id]).await;
    assert_eq!((answer.status, &answer.body), (204, &Value::Null));
    assert_eq!(hub.modified(id), before);
    let read = hub.read(READ_ARCHIVED, &[id]).await;
    let (record, updated) = (read.of(id), &read.of(id)["updatedAt"]);
    assert_eq!((read.status, &record["archived"]), (200, &json!(true)));
    assert!(record["archivedAt"].as_str() > updated.as_str(), "{record}");
    assert_eq!(&record["properties"]["hs_lastmodifieddate"], updated);
}

#[tokio::test]
async fn reads_return_either_archived_records_or_the_others() {
    let hub = Hub::new();
    let (live, gone) = (hub.create("a").await, hub.create("b").await);
    hub.archive(&[gone]).await;
    for (path, found, missing) in [(READ, live, gone), (READ_ARCHIVED, gone, live)] {
        let answer = hub.read(path, &[live, gone]).await;
        assert_eq!((answer.status, answer.ids()), (207, vec![found]));
        assert_eq!(answer.errors()[0]["context"]["ids"], json!([missing.to_string()]));
    }
    assert_eq!(hub.get(LIST).await.ids(), [live]);
    assert_eq!(hub.get(&format!("{LIST}?archived=true")).await.ids(), [gone]);
    assert_eq!(hub.get(&format!("{LIST}/{gone}")).await.status, 404);
    assert_eq!(hub.get(&format!("{LIST}/{live}?archived=true")).await.status, 404);
    hub.switch(|behaviour| behaviour.search_lag_ms = 0);
    assert_eq!(hub.post(&format!("{LIST}/search"), &json!({})).await.ids(), [live]);
}

#[tokio::test]
async fn bad_ids_are_accepted_unless_the_switch_says_otherwise() {
    for (switch, status) in [(BadArchive::Accepted, 204), (BadArchive::Refused, 400)] {
        let hub = Hub::with(|switches| switches.bad_archive = switch);
        for bad in [json!(["17"]), json!(["again", "again"]), json!(["x-1"])] {
            let id = hub.create(&format!("key of {bad}")).await;
            let mut ids: Vec<String> = serde_json::from_value(bad.clone()).unwrap();
            ids.push(id.to_string());
            let inputs: Vec<Value> = ids.iter().map(|id| json!({ "id": id })).collect();
            assert_eq!(hub.inputs(ARCHIVE, &inputs).await.status, status, "{bad}");
            assert_eq!(hub.is_archived(id), status == 204, "{bad}");
        }
    }
}

#[tokio::test]
async fn archiving_again_changes_nothing() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    hub.archive(&[id]).await;
    let first = hub.read(READ_ARCHIVED, &[id]).await.of(id)["archivedAt"].clone();
    next_millisecond().await;
    assert_eq!(hub.archive(&[id]).await.status, 204);
    assert_eq!(hub.send(Method::DELETE, &format!("{LIST}/{id}"), &Value::Null).await.status, 204);
    assert_eq!(hub.read(READ_ARCHIVED, &[id]).await.of(id)["archivedAt"], first);
    assert_eq!(hub.changes(id).len(), 2);
}

#[tokio::test]
async fn archived_holder_of_a_key_is_named() {
    let hub = Hub::new();
    let (gone, other) = (hub.create("a").await, hub.create("b").await);
    hub.archive(&[gone]).await;
    let answer = hub.update(&[super::set(other, super::KEY, "a")]).await;
    assert_eq!(answer.status, 400);
    assert!(answer.body["message"].as_str().unwrap().ends_with(&format!("{gone} already has that value.")));
    hub.switch(|behaviour| behaviour.archived_hold_unique = false);
    assert_eq!(hub.update(&[super::set(other, super::KEY, "a")]).await.status, 200);
}
