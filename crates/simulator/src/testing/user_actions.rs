//! What users and HubSpot itself do between two requests.

use std::time::Duration;

use super::{Hub, KEY, READ, READ_ARCHIVED, next_millisecond, set, values};
use crate::Change;

#[tokio::test]
async fn users_edit_archive_restore_and_delete_records() {
    use Change::{Archived, Created, Purged, Restored, Updated};
    let hub = Hub::new();
    let id = hub.create("a").await;
    assert!(hub.handle.edit_record(id, values(&[("hs_course_id", "by hand"), ("hs_course_name", "")])));
    assert_eq!(hub.value(id, "hs_course_name"), None, "the rules of the API do not apply");
    assert!(hub.handle.archive_record(id) && !hub.handle.archive_record(id));
    assert!(!hub.handle.edit_record(id, values(&[("hs_course_id", "x")])));
    let archived = hub.modified(id);
    next_millisecond().await;
    assert!(hub.handle.restore_record(id) && !hub.handle.restore_record(id));
    assert!(hub.modified(id) > archived, "a restore sets the modification date");
    let read = hub.read(READ, &[id]).await;
    assert_eq!(read.of(id)["properties"]["hs_course_id"], "by hand");
    assert_eq!(read.of(id).get("archivedAt"), None);
    assert!(hub.handle.purge_record(id) && !hub.handle.purge_record(id));
    assert_eq!(hub.read(READ, &[id]).await.status, 207);
    assert_eq!(hub.read(READ_ARCHIVED, &[id]).await.status, 207);
    assert_ne!(hub.create("a").await, id, "its key is free");
    assert_eq!(hub.changes(id), [Created, Updated, Archived, Restored, Purged]);
}

#[tokio::test]
async fn a_record_is_not_restored_if_its_key_was_taken() {
    let hub = Hub::new();
    hub.switch(|behaviour| behaviour.archived_hold_unique = false);
    let id = hub.create("a").await;
    hub.handle.archive_record(id);
    let other = hub.create("a").await;
    assert!(!hub.handle.restore_record(id));
    hub.update(&[set(other, KEY, "b")]).await;
    assert!(hub.handle.restore_record(id));
}

#[tokio::test]
async fn users_merge_records() {
    let hub = Hub::new();
    let (a, b) = (hub.create("a").await, hub.create("b").await);
    let survivor = hub.handle.merge_records(a, b).unwrap();
    assert_eq!(hub.read(READ, &[a]).await.ids(), [survivor]);
    assert_eq!(hub.handle.merge_records(a, b), None, "they are one record");
    assert_eq!(hub.handle.versions_of(survivor)[0].request, None);
}

#[tokio::test]
async fn modification_date_moves_by_itself() {
    let hub = Hub::with(|switches| switches.background_touch_ms = Some(20));
    let id = hub.create("a").await;
    hub.update(&[set(id, "hs_course_id", "x")]).await;
    let written = hub.modified(id);
    tokio::time::sleep(Duration::from_millis(60)).await;
    let read = hub.read(READ, &[id]).await;
    assert!(hub.modified(id) > written);
    assert_eq!(read.of(id)["properties"]["hs_course_id"], "x");
    assert_eq!(hub.changes(id), [Change::Created, Change::Updated, Change::Touched, Change::Touched]);
    let before = hub.modified(id);
    assert!(hub.handle.touch_record(id) && !hub.handle.touch_record(17));
    assert!(hub.modified(id) > before);
}
