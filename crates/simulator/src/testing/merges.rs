//! Merges, and what the old IDs and keys lead to afterwards.

use axum::http::Method;
use serde_json::{Value, json};

use super::{Hub, KEY, LIST, MERGE, READ, READ_ARCHIVED, next_millisecond, set, sorted, traced, values};
use crate::{Change, LoserKey, MergeSurvivor, MergedArchive, MergedUpdate};

async fn merge(hub: &Hub, primary: u64, other: u64) -> u64 {
    let body = json!({ "primaryObjectId": primary.to_string(), "objectIdToMerge": other.to_string() });
    let answer = hub.post(MERGE, &body).await;
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.body["id"].as_str().unwrap().parse().unwrap()
}

#[tokio::test]
async fn survivor_has_a_new_id_or_that_of_the_primary() {
    for (switch, is_new) in [(MergeSurvivor::NewId, true), (MergeSurvivor::Primary, false)] {
        let hub = Hub::with(|switches| switches.merge_survivor = switch);
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        hub.handle.edit_record(b, values(&[("hs_course_id", "of b"), ("hs_course_name", "Course b")]));
        let before = hub.modified(a);
        next_millisecond().await;
        let survivor = merge(&hub, a, b).await;
        assert_eq!(survivor != a && survivor != b, is_new);
        assert!(hub.modified(survivor) > before);
        assert_eq!(hub.handle.records().iter().map(|record| record.id).collect::<Vec<_>>(), [survivor]);
        let old = if is_new { format!("{a};{b}") } else { b.to_string() };
        let read = hub.read(READ, &[b]).await;
        let properties = &read.of(survivor)["properties"];
        assert_eq!((read.status, &properties["hs_merged_object_ids"]), (200, &json!(old)));
        assert_eq!(properties["hs_course_name"], "Course a", "the primary's value wins");
        assert_eq!(properties["hs_course_id"], "of b", "a blank is filled");
        assert_eq!(properties[KEY], "a");
    }
}

#[tokio::test]
async fn merged_records_are_in_no_list_and_are_read_by_their_old_id() {
    let hub = Hub::new();
    hub.switch(|behaviour| behaviour.search_lag_ms = 0);
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let survivor = merge(&hub, a, b).await;
    assert_eq!(hub.get(LIST).await.ids(), [survivor]);
    assert!(hub.get(&format!("{LIST}?archived=true")).await.ids().is_empty());
    assert_eq!(hub.post(&format!("{LIST}/search"), &json!({})).await.ids(), [survivor]);
    let single = hub.get(&format!("{LIST}/{b}")).await;
    assert_eq!((single.status, &single.body["id"]), (200, &json!(survivor.to_string())));
    assert_eq!(hub.read(READ_ARCHIVED, &[a]).await.status, 207, "not archived");
    hub.archive(&[survivor]).await;
    assert_eq!(hub.read(READ, &[a]).await.status, 207);
    assert_eq!(hub.read(READ_ARCHIVED, &[a]).await.ids(), [survivor]);
}

#[tokio::test]
async fn several_old_ids_have_one_result_unless_the_switch_says_otherwise() {
    for (repeat, count) in [(false, 1), (true, 3)] {
        let hub = Hub::with(|switches| switches.merged_reads_repeat = repeat);
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        let survivor = merge(&hub, a, b).await;
        let read = hub.read(READ, &[a, b, survivor]).await;
        assert_eq!((read.status, read.ids()), (200, vec![survivor; count]));
    }
}

#[tokio::test]
async fn update_by_an_old_id_is_dropped_or_updates_the_survivor() {
    for switch in [MergedUpdate::Dropped, MergedUpdate::Survivor] {
        let hub = Hub::with(|switches| switches.merged_update = switch);
        let (a, b, c) = (hub.create("a").await, hub.create("b").await, hub.create("c").await);
        let survivor = merge(&hub, a, b).await;
        let answer =
            hub.update(&[traced(set(b, "hs_course_id", "x")), traced(set(c, "hs_course_id", "x"))]).await;
        assert_eq!((answer.status, answer.errors().len()), (200, 0));
        let both = hub.update(&[set(a, "hs_course_id", "1"), set(b, "hs_course_id", "2")]).await;
        let patch = json!({ "properties": { "hs_course_id": "z" } });
        let single = hub.send(Method::PATCH, &format!("{LIST}/{a}"), &patch).await;
        if switch == MergedUpdate::Dropped {
            assert_eq!(answer.ids(), [c]);
            assert_eq!((both.status, both.results().len(), single.status), (200, 0, 404));
            assert_eq!(hub.value(survivor, "hs_course_id"), None);
        } else {
            assert_eq!(sorted(answer.ids()), sorted(vec![c, survivor]));
            assert_eq!((both.status, single.status), (400, 200), "the same record twice");
            assert_eq!(hub.value(survivor, "hs_course_id").as_deref(), Some("z"));
        }
    }
}

#[tokio::test]
async fn archiving_by_an_old_id_does_nothing_or_archives_the_survivor() {
    for (switch, is_archived) in [(MergedArchive::Nothing, false), (MergedArchive::Survivor, true)] {
        let hub = Hub::with(|switches| switches.merged_archive = switch);
        let (a, b) = (hub.create("a").await, hub.create("b").await);
        let survivor = merge(&hub, a, b).await;
        assert_eq!(hub.archive(&[b]).await.status, 204);
        assert_eq!(hub.is_archived(survivor), is_archived);
        let (c, d) = (hub.create("c").await, hub.create("d").await);
        let survivor = merge(&hub, c, d).await;
        let deleted = hub.send(Method::DELETE, &format!("{LIST}/{c}"), &Value::Null).await;
        assert_eq!((deleted.status, hub.is_archived(survivor)), (204, is_archived));
    }
}

#[tokio::test]
async fn key_of_the_merged_record_is_freed_or_kept() {
    for survivors in [MergeSurvivor::NewId, MergeSurvivor::Primary] {
        for (switch, finds, creates) in [
            (LoserKey::Freed, false, true),
            (LoserKey::Survivor, true, false),
            (LoserKey::Blocked, false, false),
        ] {
            let hub = Hub::with(|switches| {
                switches.loser_key = switch;
                switches.merge_survivor = survivors;
            });
            let (a, b) = (hub.create("a").await, hub.create("b").await);
            let survivor = merge(&hub, a, b).await;
            let read = hub.read_by_key(READ, "b").await;
            assert_eq!(read.ids(), if finds { vec![survivor] } else { vec![] }, "{switch:?}");
            assert_eq!(hub.read_by_key(READ, "a").await.ids(), [survivor], "{switch:?}");
            let again = hub.post(LIST, &json!({ "properties": { "hs_course_name": "B", KEY: "b" } })).await;
            assert_eq!(again.status, if creates { 201 } else { 400 }, "{switch:?}");
            if !creates {
                let holder = if finds { survivor } else { b };
                let message = again.body["message"].as_str().unwrap();
                assert!(message.ends_with(&format!("{holder} already has that value.")), "{message}");
            }
        }
    }
}

#[tokio::test]
async fn chains_of_merges_lead_to_the_last_survivor() {
    let hub = Hub::new();
    let (a, b, c) = (hub.create("a").await, hub.create("b").await, hub.create("c").await);
    let first = merge(&hub, a, b).await;
    let second = merge(&hub, c, a).await;
    let read = hub.read(READ, &[b]).await;
    let ids = &read.of(second)["properties"]["hs_merged_object_ids"];
    assert_eq!(ids, &json!(format!("{c};{a};{b};{first}")));
    assert_eq!(hub.handle.merged_records().into_values().collect::<Vec<_>>(), [second; 4]);
    assert_eq!(hub.changes(first), [Change::MergedFrom(vec![a, b]), Change::MergedInto(second)]);
}

#[tokio::test]
async fn only_two_live_records_are_merged() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    hub.archive(&[b]).await;
    let body = |one: &str, other: &str| json!({ "primaryObjectId": one, "objectIdToMerge": other });
    let id = a.to_string();
    for (other, status) in
        [(id.clone(), 400), ("x".to_owned(), 400), ("17".to_owned(), 404), (b.to_string(), 404)]
    {
        assert_eq!(hub.post(MERGE, &body(&id, &other)).await.status, status, "{other}");
    }
    assert_eq!(hub.post("/crm/v3/objects/0-410/merge", &body(&id, &id)).await.status, 405);
    assert_eq!(hub.update(&[set(a, "hs_merged_object_ids", "1")]).await.status, 400, "it is read-only");
}
