//! Switches for behaviour of HubSpot that is unknown.

use std::time::{Duration, Instant};

use serde_json::{Value, json};
use simulator::{
    ConflictForm, Latency, Normalise, PropertyType, RecordLimitForm, RefusedBatches, UniqueCompare,
    Uniqueness,
};

use super::{Hub, KEY, course, traced, with};

#[tokio::test]
async fn trace_ids_can_be_echoed() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.echo_trace_ids = true);
    assert_eq!(hub.create(&[traced("a")]).await.results()[0]["objectWriteTraceId"], "trace-a");
}

#[tokio::test]
async fn results_can_keep_the_order() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.shuffle_results = false);
    let inputs: Vec<Value> = (0..50).map(|n| traced(&format!("{n:02}"))).collect();
    let answer = hub.create(&inputs).await;
    let keys: Vec<&str> = answer.results().iter().map(|r| r["properties"][KEY].as_str().unwrap()).collect();
    assert!(keys.is_sorted());
}

#[tokio::test]
async fn rejected_batch_can_have_written_valid_inputs() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.refused_batches = RefusedBatches::WriteTheGood);
    assert_eq!(hub.create(&[course("a"), with(course("b"), "missing", "x")]).await.status, 400);
    assert_eq!(hub.handle.summary().records, 1);
}

#[tokio::test]
async fn conflict_has_three_forms() {
    let hub = Hub::new().await;
    let holder = hub.create(&[traced("a")]).await.ids()["a"].clone();
    hub.handle.change_behaviour(|behaviour| behaviour.conflict = ConflictForm::WholeBatch);
    let whole = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!((whole.status, hub.handle.summary().records), (400, 1));
    hub.handle.change_behaviour(|behaviour| behaviour.conflict = ConflictForm::ExistingId);
    let structured = hub.create(&[traced("a"), traced("b")]).await;
    assert_eq!(structured.status, 207);
    assert_eq!(
        structured.body["errors"][0],
        json!({ "status": "error", "category": "CONFLICT",
                "message": format!("Course already exists. Existing ID: {holder}"),
                "context": { "existingId": [holder], "objectWriteTraceId": ["trace-a"] } })
    );
    hub.handle.change_behaviour(|behaviour| behaviour.conflict = ConflictForm::Text);
    let text = hub.create(&[traced("a")]).await;
    assert!(text.body["errors"][0]["message"].as_str().unwrap().ends_with("already has that value."));
}

#[tokio::test]
async fn mixed_response_can_be_a_201() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.mixed_status = 201);
    let answer = hub.create(&[traced("a"), with(traced("b"), "missing", "x")]).await;
    assert_eq!((answer.status, &answer.body["numErrors"]), (201, &json!(1)));
}

#[tokio::test]
async fn archived_records_can_release_unique_values() {
    let hub = Hub::new().await;
    let id = hub.create(&[traced("a")]).await.ids()["a"].parse().unwrap();
    hub.handle.archive_record(id);
    assert_eq!(hub.create(&[traced("a")]).await.status, 207);
    hub.handle.change_behaviour(|behaviour| behaviour.archived_hold_unique = false);
    assert_eq!(hub.create(&[traced("a")]).await.status, 201);
    assert_eq!(hub.handle.summary().duplicates_by_unique, 0, "one of the two is in the bin");
}

#[tokio::test]
async fn comparison_of_unique_values_is_switchable() {
    let cases = [
        (UniqueCompare::Exact, [201, 201, 207]),
        (UniqueCompare::Trimmed, [207, 201, 207]),
        (UniqueCompare::Folded, [207, 207, 207]),
    ];
    for (compare, expected) in cases {
        let hub = Hub::new().await;
        hub.handle.change_behaviour(|behaviour| behaviour.unique_compare = compare);
        hub.create(&[traced("key")]).await;
        let mut found = Vec::new();
        for value in [" key ", "KEY", "key"] {
            found.push(hub.create(&[traced(value)]).await.status);
        }
        assert_eq!(found, expected, "{compare:?}");
    }
}

#[tokio::test]
async fn uniqueness_can_fail_between_check_and_insert() {
    let hub = Hub::new().await;
    let pair = [traced("a")];
    let (one, other) = tokio::join!(hub.create(&pair), hub.create(&pair));
    let mut statuses = [one.status, other.status];
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 207], "enforced");

    hub.handle.change_behaviour(|behaviour| behaviour.uniqueness = Uniqueness::CheckedFirst { gap_ms: 700 });
    let pair = [traced("b")];
    let (one, other) = tokio::join!(hub.create(&pair), hub.create(&pair));
    assert_eq!((one.status, other.status), (201, 201));
    assert_eq!(hub.handle.summary().duplicates_by_unique, 1);
}

#[tokio::test]
async fn errors_can_omit_their_input() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| {
        behaviour.name_properties = false;
        behaviour.name_inputs = false;
    });
    let whole = hub.create(&[course("a"), with(course("b"), "missing", "x")]).await;
    assert_eq!((whole.status, whole.text.contains("missing")), (400, false));
    let partial = hub.create(&[traced("a"), with(traced("b"), "missing", "x")]).await;
    assert_eq!((partial.status, partial.body["errors"][0].get("context")), (207, Some(&json!({}))));
}

#[tokio::test]
async fn values_can_be_normalised() {
    let hub = Hub::new().await;
    hub.handle.create_property("starts_at", PropertyType::Datetime, false);
    let input = |key: &str| {
        let input = with(traced(key), "starts_at", "1772323200000");
        with(input, "hs_course_id", " c-1 ")
    };
    let cases = [
        (Normalise::Off, "1772323200000", " c-1 "),
        (Normalise::Dates, "2026-03-01T00:00:00.000Z", " c-1 "),
        (Normalise::DatesAndText, "2026-03-01T00:00:00.000Z", "c-1"),
    ];
    for (n, (normalise, starts_at, id)) in cases.into_iter().enumerate() {
        hub.handle.change_behaviour(|behaviour| behaviour.normalise = normalise);
        let answer = hub.create(&[input(&n.to_string())]).await;
        let properties = &answer.results()[0]["properties"];
        assert_eq!((&properties["starts_at"], &properties["hs_course_id"]), (&json!(starts_at), &json!(id)));
    }
}

#[tokio::test]
async fn dates_can_be_returned_as_milliseconds() {
    let hub = Hub::new().await;
    hub.handle.create_property("starts_at", PropertyType::Datetime, false);
    hub.handle.create_property("starts_on", PropertyType::Date, false);
    hub.handle.change_behaviour(|behaviour| behaviour.normalise = Normalise::EpochMs);
    let input = with(traced("a"), "starts_at", "2026-03-01T01:00:00+01:00");
    let answer = hub.create(&[with(input, "starts_on", "2026-03-01")]).await;
    let properties = &answer.results()[0]["properties"];
    assert_eq!(properties["starts_at"], "1772323200000");
    assert_eq!(properties["starts_on"], "1772323200000");
    assert_eq!(properties["hs_course_name"], "Course a");
}

#[tokio::test]
async fn html_can_be_sanitised() {
    let hub = Hub::new().await;
    hub.handle.create_property("starts_at", PropertyType::Datetime, false);
    hub.handle.change_behaviour(|behaviour| behaviour.normalise = Normalise::Html);
    let text = "<p class=\"intro\">For <b>all</b><script>alert(1)</script> who want 3 < 5</p>";
    let input = with(traced("a"), "hs_course_description", text);
    let answer = hub.create(&[with(input, "starts_at", "2026-03-01T00:00:00Z")]).await;
    let properties = &answer.results()[0]["properties"];
    assert_eq!(properties["hs_course_description"], "<p>For <b>all</b> who want 3 < 5</p>");
    assert_eq!(properties["starts_at"], "2026-03-01T00:00:00.000Z");
    assert_eq!(
        hub.handle.records()[0].properties["hs_course_description"],
        "<p>For <b>all</b> who want 3 < 5</p>",
        "stored so, too"
    );
}

#[tokio::test]
async fn record_limit_can_be_reached() {
    for (form, status, left) in [(RecordLimitForm::PerInput, 207, 2), (RecordLimitForm::WholeBatch, 400, 1)] {
        let hub = Hub::new().await;
        hub.handle.change_behaviour(|behaviour| {
            behaviour.record_limit = Some(2);
            behaviour.record_limit_form = form;
        });
        let first = hub.create(&[traced("a")]).await.ids()["a"].parse().unwrap();
        let answer = hub.create(&[traced("b"), traced("c"), traced("d")]).await;
        assert_eq!((answer.status, hub.handle.summary().records), (status, left), "{form:?}");
        let refusals: Vec<&Value> = match form {
            RecordLimitForm::PerInput => answer.body["errors"].as_array().unwrap().iter().collect(),
            RecordLimitForm::WholeBatch => vec![&answer.body],
        };
        assert_eq!(refusals.len(), if form == RecordLimitForm::PerInput { 2 } else { 1 });
        for refusal in refusals {
            assert_eq!(refusal["category"], "VALIDATION_ERROR");
            let message = "The limit of 2 COURSE records has been reached in this account.";
            assert_eq!(refusal["message"], message);
        }
        assert_eq!(
            hub.create(&[course("b"), course("c")]).await.status,
            400,
            "without trace ids, all or nothing"
        );
        assert!(hub.handle.archive_record(first));
        assert_eq!(hub.create(&[traced("e")]).await.status, 201, "the recycle bin is not counted");
    }
}

#[tokio::test]
async fn account_can_require_more_properties() {
    let hub = Hub::new().await;
    hub.handle
        .change_behaviour(|behaviour| behaviour.required_properties = ["hs_course_id".to_owned()].into());
    let partial = hub.create(&[traced("a"), with(traced("b"), "hs_course_id", "b-1")]).await;
    assert_eq!((partial.status, partial.ids().into_keys().collect::<Vec<_>>()), (207, vec!["b".to_owned()]));
    let error = &partial.body["errors"][0];
    assert_eq!(error["message"], "Error creating COURSE. Some required properties were not set.");
    let context = json!({ "properties": ["hs_course_id"], "objectWriteTraceId": ["trace-a"] });
    assert_eq!(error["context"], context);

    let whole = hub.create(&[json!({ "properties": { KEY: "c" } })]).await;
    let context = json!({ "properties": ["hs_course_name", "hs_course_id"] });
    assert_eq!((whole.status, &whole.body["context"]), (400, &context));

    let body = json!({ "inputs": [course("d")] });
    let coded = hub.post("/crm/objects/2026-09/0-410/batch/create", &body).await;
    assert_eq!(coded.body["errors"][0]["code"], "MISSING_REQUIRED_PROPERTY");
    assert_eq!(coded.body["errors"][0]["message"], "A value for hs_course_id must be provided");
}

#[tokio::test]
async fn latency_is_applied() {
    let hub = Hub::new().await;
    hub.handle.change_behaviour(|behaviour| behaviour.latency = Latency { min_ms: 80, max_ms: 90 });
    let start = Instant::now();
    hub.create(&[traced("a")]).await;
    assert!(start.elapsed() >= Duration::from_millis(80));
}
