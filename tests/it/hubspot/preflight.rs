//! The preview checks courses against the properties of the account. A course that it refuses must be refused by the
//! simulator as well, which shares no type with it.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use course_sync::course::Properties;
use course_sync::hubspot::api::properties::{PropertiesResponse, PropertyList};
use course_sync::policy::properties::AccountProperties;
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;
use serde_json::{Value, json};
use simulator::{Behaviour, Limits, Settings, Simulator};

use crate::support::http::http_client;

const ROUNDS: usize = 30;
const COURSES: usize = 100;

/// Property names that exist, that are similar to existing ones, and others.
fn property_name() -> impl Strategy<Value = String> {
    const KNOWN: [&str; 13] = [
        "hs_course_id",
        "hs_course_description",
        "hs_enrollment_capacity",
        "hs_pipeline",
        "hs_pipeline_stage",
        "hs_createdate",
        "hs_object_id",
        "day",
        "moment",
        "format",
        "topics",
        "is_open",
        "size",
    ];
    prop_oneof![
        20 => prop::sample::select(&KNOWN[..]).prop_map(str::to_owned),
        1 => prop::sample::select(&KNOWN[..]).prop_map(str::to_uppercase),
        1 => prop::sample::select(&KNOWN[..]).prop_map(|name| format!(" {name}")),
        1 => "[a-z_]{1,12}",
        1 => Just("gone".to_owned()),
    ]
}

/// Values that some property accepts, and values that none accepts.
fn property_value() -> impl Strategy<Value = Value> {
    const TEXTS: [&str; 34] = [
        "",
        " ",
        "online",
        "Online",
        "on_campus",
        "online;on_campus",
        ";online",
        "online; ",
        "by post",
        "true",
        "TRUE",
        "false",
        "yes",
        "2026-03-01",
        "2026-03-01T10:00:00Z",
        "1772323200000",
        "1772323200001",
        "soon",
        "12abc",
        "fifty",
        "NaN",
        "inf",
        "infinity",
        "-0",
        "1e5",
        "1_000",
        "0x1F",
        "٣",
        "½",
        "+7",
        "1.",
        ".5",
        "e",
        "5d0e7b4c",
    ];
    prop_oneof![
        80 => prop::sample::select(&TEXTS[..]).prop_map(Value::from),
        10 => any::<i64>().prop_map(Value::from),
        10 => any::<bool>().prop_map(Value::from),
        20 => "[ -~]{0,12}".prop_map(Value::from),
        10 => "\\PC{0,6}".prop_map(Value::from),
        1 => (65_530_usize..65_542).prop_map(|length| Value::from("ä".repeat(length))),
    ]
}

async fn send_request(method: reqwest::Method, url: String, body: Option<Value>) -> Value {
    let client = http_client();
    let mut request = client.request(method, url).bearer_auth(Settings::default().token);
    if let Some(body) = body {
        request = request.json(&body);
    }
    request.send().await.unwrap().json().await.unwrap()
}

#[tokio::test]
async fn courses_that_the_preview_refuses_are_refused_by_hubspot() {
    let limits = Limits { requests: 100_000, ..Limits::default() };
    let settings =
        Settings { behaviour: Behaviour { limits, ..Behaviour::default() }, ..Settings::default() };
    let simulator = Simulator::bind(SocketAddr::from(([127, 0, 0, 1], 0)), settings).await.unwrap();
    let url = simulator.url();
    tokio::spawn(simulator.serve(std::future::pending()));
    let properties = format!("{url}/crm/v3/properties/0-410");
    for (name, kind, field, options) in [
        ("day", "date", "date", json!([])),
        ("moment", "datetime", "date", json!([])),
        ("size", "number", "number", json!([])),
        ("is_open", "bool", "booleancheckbox", json!([])),
        (
            "format",
            "enumeration",
            "select",
            json!([{ "label": "O", "value": "online" }, { "label": "C", "value": "on_campus" }]),
        ),
        (
            "topics",
            "enumeration",
            "checkbox",
            json!([{ "label": "O", "value": "online" }, { "label": "C", "value": "on_campus" }]),
        ),
        ("gone", "string", "text", json!([])),
    ] {
        let definition = json!({
            "name": name, "label": name, "type": kind, "fieldType": field, "options": options,
            "groupName": "course_information",
        });
        send_request(reqwest::Method::POST, properties.clone(), Some(definition)).await;
    }
    let client = http_client();
    client.delete(format!("{properties}/gone")).bearer_auth(Settings::default().token).send().await.unwrap();

    let listed = send_request(reqwest::Method::GET, properties, None).await;
    let nothing =
        || Some(serde_json::from_value::<PropertiesResponse>(json!({ "results": [] })).unwrap().into_list());
    let listing: PropertyList = serde_json::from_value::<PropertiesResponse>(listed).unwrap().into_list();
    let schema = AccountProperties::new(listing, nothing(), nothing());

    let course = prop::collection::btree_map(property_name(), property_value(), 0..3);
    let mut runner = TestRunner::deterministic();
    let (mut ours, mut theirs) = (0, 0);
    for _ in 0..ROUNDS {
        let courses: Vec<Properties> = (0..COURSES)
            .map(|_| {
                let mut members = course.new_tree(&mut runner).unwrap().current();
                members.insert("hs_course_name".to_owned(), "x".into());
                Properties::parse(members.into_iter().collect::<serde_json::Map<_, _>>().into()).unwrap()
            })
            .collect();
        let inputs: Vec<Value> = (courses.iter().enumerate())
            .map(|(n, course)| {
                let sent: serde_json::Map<_, _> = course
                    .sent_values()
                    .map(|(name, value)| (name.to_owned(), value.into_owned().into()))
                    .collect();
                json!({ "properties": sent, "associations": [], "objectWriteTraceId": n.to_string() })
            })
            .collect();
        let url = format!("{url}/crm/v3/objects/0-410/batch/create");
        let response = send_request(reqwest::Method::POST, url, Some(json!({ "inputs": inputs }))).await;
        let errors = response["errors"].as_array().into_iter().flatten();
        let traces = errors.flat_map(|error| error["context"]["objectWriteTraceId"].as_array().unwrap());
        let refused: BTreeSet<usize> = traces.map(|id| id.as_str().unwrap().parse().unwrap()).collect();
        theirs += refused.len();
        for (n, course) in courses.iter().enumerate() {
            let problems = schema.problems(course, None);
            ours += usize::from(!problems.is_empty());
            let is_right = problems.is_empty() || refused.contains(&n);
            assert!(is_right, "HubSpot accepts {course:?}, but the preview reports {problems:?}");
        }
    }
    assert!(
        ours * 2 > theirs && theirs > ROUNDS * COURSES / 4,
        "{ours} of {theirs} refused courses were found"
    );
}
