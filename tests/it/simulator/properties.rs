//! The properties API.

use reqwest::Method;
use serde_json::{Value, json};

use super::{Answer, Hub, KEY, TOKEN, traced, with};

const PROPERTIES: &str = "/crm/v3/properties/0-410";

fn unique(name: &str) -> Value {
    json!({ "groupName": "course_information", "name": name, "label": "A key", "hasUniqueValue": true,
            "type": "string", "fieldType": "text" })
}

#[tokio::test]
async fn properties_are_listed_under_both_forms_of_paths() {
    let hub = Hub::new().await;
    for path in [PROPERTIES, "/crm/properties/2026-03/0-410"] {
        let listed = hub.get(path).await;
        let names: Vec<&str> = listed.results().iter().map(|p| p["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"hs_course_name") && names.contains(&KEY));
    }
    assert_eq!(hub.get(&format!("{PROPERTIES}/{KEY}")).await.body["hasUniqueValue"], true);
    let id = hub.get(&format!("{PROPERTIES}/hs_object_id")).await;
    assert_eq!(id.body["modificationMetadata"]["readOnlyValue"], true);
    let groups = hub.get(&format!("{PROPERTIES}/groups")).await;
    assert_eq!(groups.results()[0]["name"], "course_information");
    assert_eq!(hub.get(&format!("{PROPERTIES}/missing")).await.status, 404);
}

#[tokio::test]
async fn uniqueness_cannot_be_changed_after_creation() {
    let hub = Hub::new().await;
    let made = hub.post(PROPERTIES, &unique("course_sync_id")).await;
    assert_eq!((made.status, &made.body["hasUniqueValue"]), (201, &json!(true)));
    let again = hub.post(PROPERTIES, &unique("course_sync_id")).await;
    assert_eq!((again.status, again.message()), (409, "A property named 'course_sync_id' already exists."));
    assert_eq!(again.body["subCategory"], "Properties.PROPERTY_WITH_NAME_EXISTS");

    let path = format!("{PROPERTIES}/hs_course_id");
    let change = json!({ "hasUniqueValue": true, "description": "changed" });
    let patched = Answer::of(hub.request(Method::PATCH, &path, TOKEN).json(&change), &path).await;
    assert_eq!(patched.status, 200);
    assert_eq!(
        (&patched.body["hasUniqueValue"], &patched.body["description"]),
        (&json!(false), &json!("changed"))
    );
}

#[tokio::test]
async fn property_can_be_read_only() {
    let hub = Hub::new().await;
    let mut definition = unique("portal_key");
    definition["modificationMetadata"] = json!({ "readOnlyValue": true });
    let made = hub.post(PROPERTIES, &definition).await;
    assert_eq!((made.status, &made.body["modificationMetadata"]["readOnlyValue"]), (201, &json!(true)));
    let single = hub.get(&format!("{PROPERTIES}/portal_key")).await;
    assert_eq!((single.status, &single.body), (200, &made.body));
    let listed = hub.get(PROPERTIES).await;
    let listed = listed.results().iter().find(|property| property["name"] == "portal_key").unwrap().clone();
    assert_eq!(listed, made.body);

    let refused = hub.create(&[with(traced("a"), "portal_key", "x")]).await;
    assert_eq!(refused.status, 207);
    assert!(refused.body["errors"][0]["message"].as_str().unwrap().contains("READ_ONLY_VALUE"));

    assert!(hub.handle.set_read_only("portal_key", false) && !hub.handle.set_read_only("missing", true));
    assert_eq!(hub.create(&[with(traced("a"), "portal_key", "x")]).await.status, 201);
    assert!(hub.handle.set_read_only(KEY, true));
    assert_eq!(hub.create(&[traced("b")]).await.results().len(), 0);
}

#[tokio::test]
async fn creating_an_archived_property_restores_it() {
    let hub = Hub::new().await;
    let mut plain = unique("old_key");
    plain["hasUniqueValue"] = json!(false);
    assert_eq!(hub.post(PROPERTIES, &plain).await.status, 201);
    let path = format!("{PROPERTIES}/old_key");
    assert_eq!(Answer::of(hub.request(Method::DELETE, &path, TOKEN), &path).await.status, 204);
    assert_eq!(hub.get(&path).await.status, 404);
    let back = hub.post(PROPERTIES, &unique("old_key")).await;
    assert_eq!((back.status, &back.body["hasUniqueValue"]), (201, &json!(false)));
}

#[tokio::test]
async fn at_most_ten_properties_are_unique() {
    let hub = Hub::new().await;
    for n in 1..10 {
        assert_eq!(hub.post(PROPERTIES, &unique(&format!("key_{n}"))).await.status, 201);
    }
    assert_eq!(hub.post(PROPERTIES, &unique("key_10")).await.status, 400);
}

#[tokio::test]
async fn definition_is_validated() {
    let hub = Hub::new().await;
    for (member, value) in [
        ("groupName", json!("missing")),
        ("name", json!("Not A Name")),
        ("type", json!("colour")),
        ("label", Value::Null),
    ] {
        let mut definition = unique("key");
        definition[member] = value;
        assert_eq!(hub.post(PROPERTIES, &definition).await.status, 400, "{member}");
    }
    let options = json!([{ "label": "One", "value": "1", "displayOrder": 3, "hidden": false }]);
    let mut choice = unique("choice");
    choice["type"] = json!("enumeration");
    choice["hasUniqueValue"] = json!(false);
    choice["options"] = options.clone();
    let made = hub.post(PROPERTIES, &choice).await;
    assert_eq!((made.status, &made.body["options"]), (201, &options));
}
