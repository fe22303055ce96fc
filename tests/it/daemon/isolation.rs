//! The requests that isolating bad courses costs: counted at the simulator for a batch of 100, by the form of
//! HubSpot's refusal, and compared with the table in docs/operations.md.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use simulator::{Answer, Behaviour, ConflictForm, Fault, Operation};

use crate::support::world::{UNIQUE_PROPERTY, World};

const OPERATIONS: &str = include_str!("../../../docs/operations.md");
const BAD: [usize; 4] = [0, 1, 2, 5];

/// The row of the table with this label: the maximum number of requests for each number of bad courses.
fn published_requests(label: &str) -> Vec<usize> {
    let begin = format!("| {label} |");
    let row = OPERATIONS
        .lines()
        .find_map(|line| line.strip_prefix(&begin))
        .expect("the table has a row with this label");
    row.split('|').filter_map(|cell| cell.trim().parse().ok()).collect()
}

/// A world with 100 courses, of which `bad` have additional properties from `bad_properties`.
async fn world(behaviour: Behaviour, bad: usize, bad_properties: impl Fn(usize) -> Value) -> World {
    let world = World::with(true, behaviour).await;
    for n in 0..100 {
        let mut properties = json!({ "hs_course_name": format!("Course A {n}") });
        // Bad courses are spread over the batch and are neither first nor last.
        if let Some(at) = (0..bad).find(|at| 7 + at * 19 == n) {
            properties.as_object_mut().unwrap().extend(bad_properties(at).as_object().unwrap().clone());
        }
        world.enqueue(&format!("A-{n}"), &properties).await;
    }
    world
}

/// Runs the daemon until all courses are final, and returns the number of requests.
async fn count_requests(world: &World, bad: usize) -> usize {
    let mut daemon = world.start_daemon();
    world.wait_until_all_are(&["synced", "failed"]).await;
    world.audit().await;
    assert!(daemon.stop().await.success());
    assert_eq!(world.counts().await.get("failed").copied().unwrap_or_default(), i64::try_from(bad).unwrap());
    let counted = [Operation::BatchCreate, Operation::BatchRead];
    world.hubspot.journal().iter().filter(|entry| counted.contains(&entry.operation)).count()
}

fn compare_with_table(label: &str, counted: &BTreeMap<usize, usize>) {
    println!("{label}: {counted:?}");
    let published = published_requests(label);
    assert_eq!(published.len(), BAD.len(), "{label}");
    for ((bad, counted), published) in counted.iter().zip(published) {
        assert!(*counted <= published, "{label}, {bad} bad: {counted} requests, published {published}");
    }
}

/// A property that HubSpot does not know, different for each course.
fn unknown_property(at: usize) -> Value {
    json!({ (format!("unknown_{at}")): "x" })
}

/// Checks the number of requests when HubSpot refuses every batch with a bad course as a whole, with this body.
async fn check_whole_refusal(label: &str, body: impl Fn(usize) -> Value) {
    let mut counted = BTreeMap::new();
    for bad in BAD {
        let world = world(Behaviour::default(), bad, unknown_property).await;
        for at in 0..bad {
            let answer =
                Answer::Literal { status: 400, headers: BTreeMap::new(), body: body(at).to_string() };
            let mut fault = Fault::new(answer).on(Operation::BatchCreate);
            fault.on.contains = Some(format!("\"unknown_{at}\""));
            world.hubspot.add_fault(fault);
        }
        counted.insert(bad, count_requests(&world, bad).await);
    }
    compare_with_table(label, &counted);
}

#[tokio::test]
async fn courses_named_by_trace_id_cost_the_published_requests() {
    let mut counted = BTreeMap::new();
    for bad in BAD {
        let world = world(Behaviour::default(), bad, unknown_property).await;
        counted.insert(bad, count_requests(&world, bad).await);
    }
    compare_with_table("207, names the courses by trace id", &counted);
}

#[tokio::test]
async fn unnamed_courses_in_a_partial_response_cost_the_published_requests() {
    let mut counted = BTreeMap::new();
    let no_such_record = |_| json!({});
    for bad in BAD {
        let behaviour = Behaviour {
            name_inputs: false,
            association_targets: Some(std::collections::BTreeSet::new()),
            ..Behaviour::default()
        };
        let world = world(behaviour, 0, no_such_record).await;
        sqlx::query(
            "update course_outbox set associations =
                 '[{\"to\":{\"id\":\"7\"},\"types\":[{\"associationCategory\":\"HUBSPOT_DEFINED\",\"associationTypeId\":860}]}]'
              where course_key = any($1)",
        )
        .bind((0..bad).map(|at| format!("A-{}", 7 + at * 19)).collect::<Vec<_>>())
        .execute(world.pool())
        .await
        .unwrap();
        counted.insert(bad, count_requests(&world, bad).await);
    }
    compare_with_table("207, names no course", &counted);
}

#[tokio::test]
async fn a_whole_refusal_that_names_the_property_costs_the_published_requests() {
    check_whole_refusal("400 for the whole batch, names property and fault", |at| {
        let name = format!("unknown_{at}");
        json!({ "status": "error", "category": "VALIDATION_ERROR", "message": "Property values were not valid",
                "errors": [{ "message": format!("Property \"{name}\" does not exist"), "code": "PROPERTY_DOESNT_EXIST",
                             "context": { "propertyName": [name] } }] })
    })
    .await;
}

#[tokio::test]
async fn a_whole_refusal_that_names_no_course_costs_the_published_requests() {
    check_whole_refusal(
        "400 for the whole batch, names no course",
        |_| json!({ "status": "error", "category": "VALIDATION_ERROR", "message": "Invalid input" }),
    )
    .await;
}

#[tokio::test]
async fn taken_unique_values_cost_the_published_requests() {
    let mut counted = BTreeMap::new();
    for bad in BAD {
        let world = world(Behaviour::default(), bad, |_| json!({ "code": "same" })).await;
        world
            .create_property(&json!({
                "groupName": "course_information", "name": "code", "label": "Code", "type": "string",
                "fieldType": "text", "hasUniqueValue": true,
            }))
            .await;
        let holder = [("hs_course_name", "By hand"), ("code", "same")];
        world.hubspot.create_record(holder.map(|(name, value)| (name.into(), value.into())).into());
        counted.insert(bad, count_requests(&world, bad).await);
        for row in world.rows().await.iter().filter(|row| row.status == "failed") {
            assert_eq!(
                (row.error("category").as_str(), row.error("property").as_str()),
                ("CONFLICT", "code")
            );
        }
    }
    compare_with_table("207, another unique value is taken", &counted);
}

#[tokio::test]
async fn taken_keys_cost_the_published_requests() {
    let mut counted = BTreeMap::new();
    for taken in BAD {
        let behaviour = Behaviour { conflict: ConflictForm::WholeBatch, ..Behaviour::default() };
        let world = world(behaviour, 0, unknown_property).await;
        for at in 0..taken {
            let properties =
                [("hs_course_name", "By hand".to_owned()), (UNIQUE_PROPERTY, format!("A-{}", 7 + at * 19))];
            world.hubspot.create_record(properties.map(|(name, value)| (name.into(), value)).into());
        }
        // A taken key fails no course: the existing record is adopted.
        counted.insert(taken, count_requests(&world, 0).await);
    }
    compare_with_table("400 for the whole batch, a key is taken", &counted);
}
