//! The conservation law with corrupted responses: every course gets exactly one verdict, and no course counts as
//! created with an id that HubSpot did not assign to it.

use course_sync::course::{Batch, Category, HeldRecord, HubSpotId, Verdict, Write};
use course_sync::hubspot::api::record_state::RecordState;
use course_sync::hubspot::api::response::Exchange;
use course_sync::pipeline::interpret::interpret;
use course_sync::pipeline::reconcile::meaning::{LookupFinding, interpret_read};
use course_sync::policy::signal::Interpretation;
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use self::corruption::{Corruption, change_type, corruption, document, other_type, swap};
use self::truthful_hubspot::{DISTINCT, Outcome, SIMILAR, TruthfulHubSpot, truthful_hubspot};
use super::{NOW, UNIQUE_PROPERTY, response};

mod corruption;
mod truthful_hubspot;

fn interpret_body(batch: &Batch, status: u16, body: &[u8]) -> Interpretation {
    let meaning = interpret(batch, &response(status, "", body), NOW);
    assert_eq!(meaning.verdicts.len(), batch.courses().len(), "each course must have exactly one verdict");
    meaning
}

/// The same courses, whose records are known and are to be changed or archived.
fn of_records(batch: &Batch, write: Write) -> Batch {
    let mut courses = batch.courses().to_vec();
    for (at, course) in courses.iter_mut().enumerate() {
        let id = HubSpotId::parse(&TruthfulHubSpot::id(at)).expect("an id");
        course.record = Some(HeldRecord { id, patch: [("title".to_owned(), "new".to_owned())].into() });
    }
    Batch::of(write, batch.id(), courses, batch.unique_property())
}

/// Checks that no course gets a wrong id. If the status fits the response, a created course must not count as refused,
/// and a refused course must not count as created. `has_foreign_record`: the response contains a record of another
/// request, which can complete the number of results.
fn assert_truthful(
    hubspot: &TruthfulHubSpot,
    meaning: &Interpretation,
    status: u16,
    has_foreign_record: bool,
) -> Result<(), TestCaseError> {
    for (at, verdict) in meaning.verdicts.iter().enumerate() {
        let is_created = hubspot.outcomes[at] == Outcome::Created;
        match verdict {
            Verdict::Applied { hubspot_id, .. } => {
                prop_assert!(
                    is_created && hubspot_id.as_str() == TruthfulHubSpot::id(at),
                    "{at}: {verdict:?}"
                );
            }
            Verdict::CreatedUnidentified(error) => {
                prop_assert!(is_created || has_foreign_record, "{at}: {verdict:?}");
                prop_assert_eq!(error.category, Category::UnknownOutcome);
            }
            Verdict::LookUp(_) => prop_assert!(false, "{at} is no change: {verdict:?}"),
            Verdict::Unknown(error) => prop_assert_eq!(error.category, Category::UnknownOutcome),
            Verdict::Exists { .. } | Verdict::Refused(_) | Verdict::NotTaken(_) => {
                prop_assert!(!(is_created && (200..300).contains(&status)), "{at} was created: {verdict:?}");
            }
        }
    }
    Ok(())
}

fn has_foreign_record(corruptions: &[Corruption]) -> bool {
    corruptions.iter().any(|corruption| matches!(corruption, Corruption::ForeignRecord))
}

/// One course, one result and no error: by design the result is the record of the course, unless it contains the trace
/// id of another request. A foreign record without its trace id cannot be detected in this case.
fn is_single_without_identity(response: &Value, batch: &Batch) -> bool {
    let has_no_error = response["errors"].as_array().is_none_or(Vec::is_empty);
    let results = response["results"].as_array().map(Vec::as_slice);
    let Some([result]) = results.filter(|_| batch.courses().len() == 1 && has_no_error) else { return false };
    result["objectWriteTraceId"].as_str().is_none()
}

const STATUSES: [u16; 14] = [200, 201, 207, 204, 302, 400, 401, 403, 404, 409, 413, 429, 500, 521];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_truthful_response_is_interpreted_exactly(hubspot in truthful_hubspot(DISTINCT), status in select(&[200_u16, 201, 207][..])) {
        let batch = hubspot.batch();
        let meaning = interpret_body(&batch, status, hubspot.response(&batch).to_string().as_bytes());
        prop_assert_eq!(meaning.surplus, 0);
        for (at, verdict) in meaning.verdicts.iter().enumerate() {
            let is_so = match hubspot.outcomes[at] {
                Outcome::Created => matches!(
                    verdict,
                    Verdict::Applied { hubspot_id, warning: None } if hubspot_id.as_str() == TruthfulHubSpot::id(at)
                ),
                Outcome::Taken if hubspot.keyed => matches!(verdict, Verdict::Exists { candidates: 1, .. }),
                Outcome::Taken | Outcome::Refused => matches!(verdict, Verdict::Refused(_)),
            };
            prop_assert!(is_so, "{at}: {verdict:?}");
        }
    }

    #[test]
    fn lost_and_foreign_entries_never_make_a_course_created(
        hubspot in prop_oneof![truthful_hubspot(DISTINCT), truthful_hubspot(SIMILAR)],
        corruptions in vec(corruption(), 0..4),
        status in select(&STATUSES[..]),
    ) {
        let batch = hubspot.batch();
        let mut response = hubspot.response(&batch);
        for corruption in &corruptions {
            corruption.apply(&mut response);
        }
        let meaning = interpret_body(&batch, status, response.to_string().as_bytes());
        assert_truthful(&hubspot, &meaning, status, has_foreign_record(&corruptions))?;
    }

    #[test]
    fn malformed_fields_never_make_a_course_created(
        hubspot in truthful_hubspot(DISTINCT),
        place in any::<Index>(),
        with in other_type(),
        member in any::<Index>(),
        corruptions in vec(corruption(), 0..2),
        status in select(&STATUSES[..]),
    ) {
        let batch = hubspot.batch();
        let mut response = hubspot.response(&batch);
        for corruption in &corruptions {
            corruption.apply(&mut response);
        }
        change_type(&mut response, place, with.as_ref(), member);
        if has_foreign_record(&corruptions) && is_single_without_identity(&response, &batch) {
            return Ok(());
        }
        let meaning = interpret_body(&batch, status, response.to_string().as_bytes());
        assert_truthful(&hubspot, &meaning, status, has_foreign_record(&corruptions))?;
    }

    #[test]
    fn a_truncated_response_decides_nothing(hubspot in truthful_hubspot(DISTINCT), cut in any::<Index>(), status in 200_u16..300) {
        let batch = hubspot.batch();
        let body = hubspot.response(&batch).to_string();
        let meaning = interpret_body(&batch, status, &body.as_bytes()[..cut.index(body.len())]);
        let is_unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown(_));
        prop_assert!(meaning.verdicts.iter().all(is_unknown));
    }

    #[test]
    fn swapped_and_duplicate_identities_are_detected(
        hubspot in truthful_hubspot(DISTINCT),
        one in any::<Index>(),
        other in any::<Index>(),
        forgery in 0..4,
        status in select(&[200_u16, 201, 207][..]),
    ) {
        let batch = hubspot.batch();
        let mut response = hubspot.response(&batch);
        let results = response["results"].as_array_mut().unwrap();
        if results.is_empty() {
            return Ok(());
        }
        let (one, other) = (one.index(results.len()), other.index(results.len()));
        match forgery {
            0 => swap(results, one, other, "/id"),
            1 if hubspot.keyed && hubspot.echoes_trace_ids => {
                swap(results, one, other, &format!("/properties/{UNIQUE_PROPERTY}"));
            }
            2 if hubspot.keyed => swap(results, one, other, "/objectWriteTraceId"),
            _ => {
                let mut twin = results[one].clone();
                twin["id"] = json!("1");
                twin["properties"]["hs_object_id"] = json!("1");
                results.insert(other, twin);
            }
        }
        assert_truthful(&hubspot, &interpret_body(&batch, status, response.to_string().as_bytes()), status, false)?;
    }

    #[test]
    fn any_bytes_give_one_verdict_per_course(
        hubspot in truthful_hubspot(DISTINCT),
        status in 100_u16..1000,
        body in prop_oneof![vec(any::<u8>(), 0..200), document().prop_map(|json| json.to_string().into_bytes())],
    ) {
        let batch = hubspot.batch();
        let meaning = interpret_body(&batch, status, &body);
        let is_created = |verdict: &Verdict| {
            matches!(verdict, Verdict::Applied { .. } | Verdict::CreatedUnidentified(_))
        };
        prop_assert!(!meaning.verdicts.iter().any(is_created) || (200..300).contains(&status));
        for write in [Write::Update, Write::Archive] {
            let meaning = interpret_body(&of_records(&batch, write), status, &body);
            prop_assert!(!meaning.verdicts.iter().any(is_created) || (200..300).contains(&status));
        }
    }

    #[test]
    fn a_read_finds_no_record_that_does_not_exist(
        hubspot in truthful_hubspot(DISTINCT),
        corruptions in vec(corruption(), 0..3),
        deformed in proptest::option::of((any::<Index>(), other_type(), any::<Index>())),
        status in select(&STATUSES[..]),
    ) {
        let hubspot = TruthfulHubSpot { keyed: true, ..hubspot };
        let batch = hubspot.batch();
        let mut body = hubspot.response(&batch);
        for corruption in &corruptions {
            corruption.apply(&mut body);
        }
        if let Some((place, with, member)) = &deformed {
            change_type(&mut body, *place, with.as_ref(), *member);
        }
        for place in [RecordState::Live, RecordState::Archived] {
            let findings = findings(&batch, place, &response(status, "", body.to_string().as_bytes()));
            for (at, finding) in findings.iter().enumerate() {
                let id = match (finding, place) {
                    (LookupFinding::Found(id), RecordState::Live) => id,
                    (LookupFinding::SimilarKey(holder), RecordState::Live) | (LookupFinding::Archived(holder), RecordState::Archived) => &holder.id,
                    (LookupFinding::Inconclusive, _) => continue,
                    // No error lists a key as not found, and no key has two records.
                    _ => return Err(TestCaseError::fail(format!("{at}: {finding:?} {place:?}"))),
                };
                // An id of another type cannot be detected: a read does not know the expected id.
                let is_retyped = deformed.is_some() && id.as_str() == "x";
                prop_assert!(is_retyped || (hubspot.outcomes[at] == Outcome::Created && id.as_str() == TruthfulHubSpot::id(at)));
            }
        }
    }

    /// Only a "not found" error that lists a key proves its absence, whatever else is missing in the response.
    #[test]
    fn absence_is_proved_only_by_an_error_that_lists_the_key(
        hubspot in truthful_hubspot(DISTINCT),
        listed in vec(any::<bool>(), 6),
        category in select(&["OBJECT_NOT_FOUND", "NOT_FOUND", "VALIDATION_ERROR", "INTERNAL_ERROR", ""][..]),
        corruptions in vec(corruption(), 0..3),
        status in select(&STATUSES[..]),
    ) {
        let hubspot = TruthfulHubSpot { keyed: true, lowercases_values: false, ..hubspot };
        let batch = hubspot.batch();
        let is_listed = |at: usize| listed[at] && hubspot.outcomes[at] != Outcome::Created;
        let ids: Vec<_> = (0..hubspot.outcomes.len())
            .filter(|at| is_listed(*at))
            .map(|at| batch.courses()[at].key.as_str().to_owned())
            .collect();
        let mut body = hubspot.response(&batch);
        body["errors"] = json!([{"status": "error", "category": category, "message": "m", "context": {"ids": ids}}]);
        for corruption in &corruptions {
            corruption.apply(&mut body);
        }
        let is_intact = corruptions.is_empty() && (200..300).contains(&status);
        let findings = findings(&batch, RecordState::Live, &response(status, "", body.to_string().as_bytes()));
        for (at, finding) in findings.iter().enumerate() {
            let may_be_absent = is_listed(at) && category.ends_with("NOT_FOUND");
            match finding {
                LookupFinding::Absent => prop_assert!(may_be_absent, "{at} by {category:?}"),
                LookupFinding::Found(id) => {
                    prop_assert!(hubspot.outcomes[at] == Outcome::Created && id.as_str() == TruthfulHubSpot::id(at));
                }
                LookupFinding::Inconclusive => prop_assert!(!is_intact || !(may_be_absent || hubspot.outcomes[at] == Outcome::Created)),
                _ => return Err(TestCaseError::fail(format!("{at}: {finding:?}"))),
            }
        }
    }
}

fn findings(batch: &Batch, place: RecordState, exchange: &Exchange) -> Vec<LookupFinding> {
    let keys: Vec<_> = batch.courses().iter().map(|course| &course.key).collect();
    let reading = interpret_read(&keys, UNIQUE_PROPERTY, place, exchange);
    assert_eq!(reading.findings.len(), keys.len(), "each course must have exactly one finding");
    reading.findings
}
