//! The switches of lookups.

use std::time::Duration;

use serde_json::{Value, json};
use simulator::{ArchivedRead, Keys};

use super::{Hub, KEY, READ, traced};

#[tokio::test]
async fn reads_can_lag() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.read_lag_ms = 3_600_000);
    let id = hub.create(&[traced("a")]).await.ids()["a"].clone();
    let unseen = hub.read(&["a"]).await;
    assert_eq!((unseen.status, &unseen.body["errors"][0]["context"]), (207, &json!({ "ids": ["a"] })));
    assert_eq!(hub.get(&format!("/crm/v3/objects/0-410/{id}")).await.status, 404);
    assert_eq!(hub.create(&[traced("a")]).await.status, 207, "the key is taken all the same");

    hub.handle.change_behaviour(|behaviour| behaviour.read_lag_ms = 30);
    tokio::time::sleep(Duration::from_millis(60)).await;
    assert_eq!(hub.read(&["a"]).await.status, 200);
}

#[tokio::test]
async fn lookup_batch_size_can_be_limited() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.max_read_inputs = 50);
    let keys: Vec<String> = (0..51).map(|n| n.to_string()).collect();
    let mut keys: Vec<&str> = keys.iter().map(String::as_str).collect();
    let refused = hub.read(&keys).await;
    assert_eq!((refused.status, &refused.body["category"]), (400, &json!("VALIDATION_ERROR")));
    assert_eq!(
        refused.message(),
        "The maximum number of inputs supported in a batch request for property histories is 50. Please reduce \
         the number of items and try again"
    );
    keys.truncate(50);
    assert_eq!(hub.read(&keys).await.status, 207);
}

#[tokio::test]
async fn lookups_can_omit_missing_records() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.read_omits_missing = true);
    hub.create(&[traced("a")]).await;
    let some = hub.read(&["a", "x"]).await;
    assert_eq!((some.status, some.ids().len(), some.body.get("errors")), (200, 1, None));
    let none = hub.read(&["x"]).await;
    assert_eq!((none.status, none.results().len(), none.body.get("errors")), (200, 0, None));
}

#[tokio::test]
async fn archived_records_can_be_unreadable_by_key() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.archived_read = ArchivedRead::Misses);
    let id = hub.create(&[traced("a")]).await.ids()["a"].clone();
    assert!(hub.handle.archive_record(id.parse().unwrap()));
    let path = format!("{READ}?archived=true");
    let by_key = json!({ "idProperty": KEY, "inputs": [{ "id": "a" }], "properties": [KEY] });
    let missed = hub.post(&path, &by_key).await;
    assert_eq!((missed.status, &missed.body["errors"][0]["context"]), (207, &json!({ "ids": ["a"] })));
    let by_id = json!({ "inputs": [{ "id": id }], "properties": [KEY] });
    let found = hub.post(&path, &by_id).await;
    assert_eq!((found.status, &found.results()[0]["archived"]), (200, &json!(true)));
    assert_eq!(hub.create(&[traced("a")]).await.status, 207, "and still hold their unique values");
}

#[tokio::test]
async fn keys_can_be_changed_when_stored() {
    let cases = [
        (Keys::AsSent, "Key  e\u{301}", "Key  e\u{301}"),
        (Keys::Composed, "Cafe\u{301}\u{200b}-1", "Caf\u{e9}-1"),
        (Keys::LowerCase, "ALG-101", "alg-101"),
        (Keys::Collapsed, " ALG \u{a0} 101 ", "ALG 101"),
    ];
    for (keys, sent, stored) in cases {
        let hub = Hub::new().await;
        hub.handle.change_behaviour(|behaviour| behaviour.keys = keys);
        let created = hub.create(&[traced(sent)]).await;
        assert_eq!(created.ids().into_keys().collect::<Vec<_>>(), [stored], "{keys:?}");
        assert_eq!(hub.handle.records()[0].properties[KEY], stored);
        assert_eq!(hub.handle.journal()[0].inputs[0].unique_value.as_deref(), Some(sent), "as it was sent");

        for asked in [sent, stored] {
            let found = hub.read(&[asked]).await;
            assert_eq!((found.status, found.ids()), (200, created.ids()), "{keys:?} {asked:?}");
        }
        hub.handle.change_behaviour(|behaviour| behaviour.lookups_respell = false);
        let by_original = hub.read(&[sent]).await;
        let expected = if keys == Keys::AsSent { 200 } else { 207 };
        assert_eq!(by_original.status, expected, "{keys:?}");
        if expected == 207 {
            assert_eq!(by_original.body["errors"][0]["context"]["ids"], json!([sent]));
        }
        assert_eq!(hub.read(&[stored]).await.status, 200, "{keys:?}");

        let conflict = hub.create(&[traced(sent)]).await;
        let message = conflict.body["errors"][0]["message"].as_str().unwrap();
        assert_eq!(conflict.status, 207);
        assert!(message.contains(&format!("value={stored}}}")), "{message}");
    }
}

#[tokio::test]
async fn control_api_changes_every_switch() {
    let hub = Hub::new().await;
    let url = format!("{}/_simulator/behaviour", hub.handle.url());
    let change = json!({
        "read_lag_ms": 20_000, "max_read_inputs": 50, "read_omits_missing": true, "archived_read": "misses",
        "keys": "lower_case", "lookups_respell": false, "normalise": "epoch_ms",
        "record_limit": 3, "record_limit_form": "whole_batch", "required_properties": ["hs_course_id"],
    });
    let changed = hub.client.put(&url).json(&change).send().await.unwrap();
    assert_eq!(changed.status(), 200);
    let shown: Value = serde_json::from_str(&changed.text().await.unwrap()).unwrap();
    for (name, value) in change.as_object().unwrap() {
        assert_eq!(&shown[name], value, "{name}");
    }
    let back = hub.client.put(&url).json(&json!({ "record_limit": null })).send().await.unwrap();
    assert_eq!((back.status().as_u16(), hub.handle.behaviour().record_limit), (200, None));
}
