//! The ledger, as an auditor reads it.

use serde_json::json;

use super::{Hub, KEY, set, values};
use crate::{Change, Operation};

#[tokio::test]
async fn each_change_names_its_request_and_values() {
    let hub = Hub::new();
    let id = hub.create("a").await;
    hub.update(&[set(id, "hs_course_id", "1")]).await;
    hub.update(&[set(id, "hs_course_id", "1")]).await;
    hub.update(&[set(id, "unheard_of", "1")]).await;
    hub.handle.edit_record(id, values(&[("hs_course_id", "")]));
    hub.archive(&[id]).await;
    let journal = hub.handle.journal();
    let versions = hub.handle.versions_of(id);
    let expected = [
        (Change::Created, Some(Operation::Create), values(&[("hs_course_name", "Course a"), (KEY, "a")])),
        (Change::Updated, Some(Operation::BatchUpdate), values(&[("hs_course_id", "1")])),
        (Change::Unchanged, Some(Operation::BatchUpdate), values(&[("hs_course_id", "1")])),
        (Change::Updated, None, values(&[("hs_course_id", "")])),
        (Change::Archived, Some(Operation::BatchArchive), values(&[])),
    ];
    assert_eq!(versions.len(), expected.len());
    for (number, (version, (change, operation, set))) in (1..).zip(versions.iter().zip(expected)) {
        let request = version.request.map(|seq| journal[usize::try_from(seq).unwrap()].operation);
        assert_eq!((&version.change, request, &version.properties), (&change, operation, &set));
        assert_eq!(version.number, number);
    }
    assert!(versions.is_sorted_by_key(|version| (version.seq, version.at_us)));
}

#[tokio::test]
async fn versions_of_all_records_are_in_order_and_end_with_a_reset() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let survivor = hub.handle.merge_records(a, b).unwrap();
    let versions = hub.handle.versions();
    let records: Vec<u64> = versions.iter().map(|version| version.record).collect();
    assert_eq!(records, [a, b, a, b, survivor]);
    let last = serde_json::to_value(versions.last()).unwrap();
    assert_eq!(last["change"], json!({ "merged_from": [a, b] }));
    assert_eq!(last["properties"]["hs_merged_object_ids"], format!("{a};{b}"));
    hub.handle.reset();
    assert!(hub.handle.versions().is_empty());
}
