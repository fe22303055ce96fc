//! Batch read, single read, lists and search.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Hub, KEY, READ, TOKEN, traced};

#[tokio::test]
async fn batch_read_reports_all_missing_ids_in_one_error() {
    let hub = Hub::new().await;
    let made = hub.create(&[traced("a"), traced("b")]).await.ids();
    let all = hub.read(&["a", "b"]).await;
    assert_eq!((all.status, all.ids()), (200, made.clone()));

    let some = hub.read(&["a", "x", "y"]).await;
    assert_eq!((some.status, some.results().len()), (207, 1));
    assert_eq!(some.body["numErrors"], 1, "one error, not one a record");
    assert_eq!(
        some.body["errors"][0],
        json!({ "status": "error", "category": "OBJECT_NOT_FOUND", "context": { "ids": ["x", "y"] },
                "message": "Could not get some COURSE objects, they may be deleted or not exist. Check that \
                            ids are valid." })
    );

    let by_id = json!({ "inputs": [{ "id": made["a"] }], "properties": [KEY, "hs_course_id"] });
    let by_id = hub.post(READ, &by_id).await;
    assert_eq!((by_id.status, &by_id.results()[0]["properties"][KEY]), (200, &json!("a")));
    assert_eq!(by_id.results()[0]["properties"]["hs_course_id"], Value::Null);

    let loose = hub.post(READ, &json!({ "idProperty": "hs_course_id", "inputs": [{ "id": "1" }] })).await;
    assert_eq!(loose.status, 400);
}

#[tokio::test]
async fn archived_records_are_returned_only_on_request() {
    let hub = Hub::new().await;
    let id = hub.create(&[traced("a")]).await.ids()["a"].parse().unwrap();
    assert!(hub.handle.archive_record(id));
    assert_eq!(hub.read(&["a"]).await.status, 207);
    let body = json!({ "idProperty": KEY, "inputs": [{ "id": "a" }], "properties": [KEY] });
    let archived = hub.post(&format!("{READ}?archived=true"), &body).await;
    assert_eq!((archived.status, &archived.results()[0]["archived"]), (200, &json!(true)));
}

#[tokio::test]
async fn single_record_is_found_by_unique_value() {
    let hub = Hub::new().await;
    let made = hub.create(&[traced("a b/ä")]).await.ids();
    let path = format!("/crm/v3/objects/0-410/a%20b%2F%C3%A4?idProperty={KEY}&properties={KEY},hs_course_id");
    let found = hub.get(&path).await;
    assert_eq!((found.status, &found.body["id"]), (200, &json!(made["a b/ä"])));
}

#[tokio::test]
async fn lists_are_paged() {
    let hub = Hub::new().await;
    let inputs: Vec<Value> = (0..5).map(|n| traced(&n.to_string())).collect();
    hub.create(&inputs).await;
    let mut seen = 0;
    let mut after = String::new();
    loop {
        let page = hub.get(&format!("/crm/v3/objects/0-410?limit=2{after}&properties={KEY}")).await;
        seen += page.results().len();
        match page.body["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => break,
        }
    }
    assert_eq!(seen, 5);
    assert_eq!(hub.get("/crm/v3/objects/0-410?limit=101").await.status, 400);
}

/// The ids of all records, page by page. `between` is called after each page.
async fn list_all(hub: &Hub, query: &str, mut between: impl FnMut()) -> Vec<Vec<String>> {
    let (mut pages, mut after) = (Vec::new(), String::new());
    loop {
        let page = hub.get(&format!("/crm/v3/objects/0-410?{query}{after}")).await;
        assert_eq!(page.status, 200);
        let ids = page.results().iter().map(|record| record["id"].as_str().unwrap().to_owned());
        pages.push(ids.collect());
        between();
        match page.body["paging"]["next"]["after"].as_str() {
            Some(next) => after = format!("&after={next}"),
            None => return pages,
        }
    }
}

#[tokio::test]
async fn a_list_shows_records_in_order_of_id_and_as_they_are_now() {
    let hub = Hub::new().await;
    let named = |name: &str| [("hs_course_name".to_owned(), name.to_owned())].into();
    let ids: Vec<u64> = (0..6).map(|n| hub.handle.create_record(named(&n.to_string()))).collect();
    let mut sorted = ids.clone();
    sorted.sort_unstable();
    hub.handle.archive_record(sorted[0]);
    hub.handle.merge_records(sorted[1], sorted[2]);
    let mut is_first = true;
    let pages = list_all(&hub, "limit=2", || {
        if std::mem::take(&mut is_first) {
            hub.handle.archive_record(sorted[5]);
        }
    })
    .await;
    let shown: Vec<u64> = pages.concat().iter().map(|id| id.parse().unwrap()).collect();
    let live = hub.handle.records().into_iter().filter(|record| !record.archived).map(|record| record.id);
    assert_eq!(shown, live.collect::<Vec<_>>(), "neither archived, merged nor deleted meanwhile");
    let bin = list_all(&hub, "limit=100&archived=true", || {}).await.concat();
    assert_eq!(bin, [sorted[0].to_string(), sorted[5].to_string()]);
}

#[tokio::test]
async fn a_thin_page_may_be_empty_although_more_follow() {
    let hub = Hub::new().await;
    let mut ids: Vec<u64> = (0..6).map(|_| hub.handle.create_record([].into())).collect();
    ids.sort_unstable();
    for id in &ids[..3] {
        hub.handle.archive_record(*id);
    }
    hub.handle.change_behaviour(|behaviour| behaviour.list_pages = simulator::ListPages::Thin);
    let sizes: Vec<usize> = list_all(&hub, "limit=2", || {}).await.iter().map(Vec::len).collect();
    assert_eq!(sizes, [0, 1, 2]);
}

#[tokio::test]
async fn search_lags() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.search_lag_ms = 3_600_000);
    hub.create(&[traced("a"), traced("b")]).await;
    let body = json!({ "properties": [KEY], "filterGroups": [{ "filters": [
        { "propertyName": KEY, "operator": "IN", "values": ["a", "x"] },
        { "propertyName": "hs_createdate", "operator": "GTE", "value": "1700000000000" },
    ]}]});
    let path = "/crm/v3/objects/0-410/search";
    assert_eq!(hub.post(path, &body).await.body["total"], 0, "not visible yet");
    hub.handle.change_behaviour(|behaviour| behaviour.search_lag_ms = 0);
    let found = hub.post(path, &body).await;
    assert_eq!((found.status, &found.body["total"]), (200, &json!(1)));
    assert_eq!(found.results()[0]["properties"][KEY], "a");
}

#[tokio::test]
async fn search_has_its_own_limit_and_error_format() {
    let hub = Hub::new().await;
    let body = json!({ "limit": 1 });
    let path = "/crm/v3/objects/0-410/search";
    hub.handle.change_behaviour(|behaviour| behaviour.limits.searches_per_second = 1);
    let found = hub.post(path, &body).await;
    assert!(found.status == 200 && found.header("x-hubspot-ratelimit-max").is_none());
    let refused = hub.post(path, &body).await;
    assert_eq!(refused.status, 429);
    assert_eq!(refused.message(), "You have reached your secondly limit.");
    assert_eq!(refused.body["category"], "RATE_LIMITS");
    assert!(refused.body.get("policyName").is_none() && refused.body.get("errorType").is_none());
    assert!(refused.header("retry-after").is_none());
    assert!(refused.header("x-hubspot-ratelimit-remaining").is_none(), "no interval headers on a search");
    assert!(refused.header("x-hubspot-ratelimit-daily-remaining").is_some());
    let other = hub.request(Method::GET, "/crm/v3/objects/0-410", TOKEN).send().await.unwrap();
    assert_eq!(other.headers()["x-hubspot-ratelimit-remaining"], "189", "searches spare the interval");
}
