//! The conservation law under fire: whatever is done to an answer, every course keeps exactly one
//! verdict, and none is ever called created under an identifier that HubSpot did not give it.

use course_sync::course::Category;
use course_sync::policy::answer::Exchange;
use course_sync::policy::batch::Batch;
use course_sync::policy::interpret::{Interpretation, Verdict, interpret};
use course_sync::policy::reconcile::{Finding, Place, interpret_read};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use self::harm::{Harm, deform, document, harm, other_type, swap};
use self::world::{ALIKE, DISTINCT, Fate, World, world};
use super::{NOW, UNIQUE, answer};

mod harm;
mod world;

fn read(batch: &Batch, status: u16, body: &[u8]) -> Interpretation {
    let meaning = interpret(batch, &answer(status, "", body), NOW);
    assert_eq!(meaning.verdicts.len(), batch.courses().len(), "not one verdict a course");
    meaning
}

/// No identifier but the true one; and with a status that fits the answer, nothing created is ever
/// called refused, nothing refused ever created. `has_stranger`: the answer holds a record of another request, which
/// can make up the number of results.
fn demand_truth(
    world: &World,
    meaning: &Interpretation,
    status: u16,
    has_stranger: bool,
) -> Result<(), TestCaseError> {
    for (at, verdict) in meaning.verdicts.iter().enumerate() {
        let is_created = world.fates[at] == Fate::Created;
        match verdict {
            Verdict::Created { hubspot_id, .. } => {
                prop_assert!(is_created && hubspot_id.as_str() == World::id(at), "{at}: {verdict:?}");
            }
            Verdict::CreatedUnidentified(error) => {
                prop_assert!(is_created || has_stranger, "{at}: {verdict:?}");
                prop_assert_eq!(error.category, Category::UnknownOutcome);
            }
            Verdict::Unknown(error) => prop_assert_eq!(error.category, Category::UnknownOutcome),
            Verdict::Exists { .. } | Verdict::Refused(_) | Verdict::NotTaken(_) => {
                prop_assert!(!(is_created && (200..300).contains(&status)), "{at} was created: {verdict:?}");
            }
        }
    }
    Ok(())
}

fn has_stranger(harms: &[Harm]) -> bool {
    harms.iter().any(|harm| matches!(harm, Harm::ForeignRecord))
}

/// One course, one result, no error: that is its record by design, unless it echoes the trace id of another request.
/// So a stranger's record in the place of the true one cannot be noticed here once its trace id is gone.
fn is_lone_and_nameless(answer: &Value, batch: &Batch) -> bool {
    let has_no_error = answer["errors"].as_array().is_none_or(Vec::is_empty);
    let results = answer["results"].as_array().map(Vec::as_slice);
    let Some([result]) = results.filter(|_| batch.courses().len() == 1 && has_no_error) else { return false };
    result["objectWriteTraceId"].as_str().is_none()
}

const STATUSES: [u16; 14] = [200, 201, 207, 204, 302, 400, 401, 403, 404, 409, 413, 429, 500, 521];

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_truth_is_understood(world in world(DISTINCT), status in select(&[200_u16, 201, 207][..])) {
        let batch = world.batch();
        let meaning = read(&batch, status, world.answer(&batch).to_string().as_bytes());
        prop_assert_eq!(meaning.surplus, 0);
        for (at, verdict) in meaning.verdicts.iter().enumerate() {
            let is_so = match world.fates[at] {
                Fate::Created => matches!(
                    verdict,
                    Verdict::Created { hubspot_id, warning: None } if hubspot_id.as_str() == World::id(at)
                ),
                Fate::Taken if world.keyed => matches!(verdict, Verdict::Exists { candidates: 1, .. }),
                Fate::Taken | Fate::Refused => matches!(verdict, Verdict::Refused(_)),
            };
            prop_assert!(is_so, "{at}: {verdict:?}");
        }
    }

    #[test]
    fn losses_and_strangers_never_make_a_course_created(
        world in prop_oneof![world(DISTINCT), world(ALIKE)],
        harms in vec(harm(), 0..4),
        status in select(&STATUSES[..]),
    ) {
        let batch = world.batch();
        let mut answer = world.answer(&batch);
        for harm in &harms {
            harm.inflict(&mut answer);
        }
        let meaning = read(&batch, status, answer.to_string().as_bytes());
        demand_truth(&world, &meaning, status, has_stranger(&harms))?;
    }

    #[test]
    fn deformed_fields_never_make_a_course_created(
        world in world(DISTINCT),
        place in any::<Index>(),
        with in other_type(),
        member in any::<Index>(),
        harms in vec(harm(), 0..2),
        status in select(&STATUSES[..]),
    ) {
        let batch = world.batch();
        let mut answer = world.answer(&batch);
        for harm in &harms {
            harm.inflict(&mut answer);
        }
        deform(&mut answer, place, with.as_ref(), member);
        if has_stranger(&harms) && is_lone_and_nameless(&answer, &batch) {
            return Ok(());
        }
        let meaning = read(&batch, status, answer.to_string().as_bytes());
        demand_truth(&world, &meaning, status, has_stranger(&harms))?;
    }

    #[test]
    fn a_cut_answer_says_nothing(world in world(DISTINCT), cut in any::<Index>(), status in 200_u16..300) {
        let batch = world.batch();
        let body = world.answer(&batch).to_string();
        let meaning = read(&batch, status, &body.as_bytes()[..cut.index(body.len())]);
        let is_unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown(_));
        prop_assert!(meaning.verdicts.iter().all(is_unknown));
    }

    #[test]
    fn swapped_and_doubled_identities_are_noticed(
        world in world(DISTINCT),
        one in any::<Index>(),
        other in any::<Index>(),
        forgery in 0..4,
        status in select(&[200_u16, 201, 207][..]),
    ) {
        let batch = world.batch();
        let mut answer = world.answer(&batch);
        let results = answer["results"].as_array_mut().unwrap();
        if results.is_empty() {
            return Ok(());
        }
        let (one, other) = (one.index(results.len()), other.index(results.len()));
        match forgery {
            0 => swap(results, one, other, "/id"),
            1 if world.keyed && world.echoes_trace_ids => {
                swap(results, one, other, &format!("/properties/{UNIQUE}"));
            }
            2 if world.keyed => swap(results, one, other, "/objectWriteTraceId"),
            _ => {
                let mut twin = results[one].clone();
                twin["id"] = json!("1");
                twin["properties"]["hs_object_id"] = json!("1");
                results.insert(other, twin);
            }
        }
        demand_truth(&world, &read(&batch, status, answer.to_string().as_bytes()), status, false)?;
    }

    #[test]
    fn any_bytes_at_any_status(
        world in world(DISTINCT),
        status in 100_u16..1000,
        body in prop_oneof![vec(any::<u8>(), 0..200), document().prop_map(|json| json.to_string().into_bytes())],
    ) {
        let batch = world.batch();
        let meaning = read(&batch, status, &body);
        let is_created = |verdict: &Verdict| {
            matches!(verdict, Verdict::Created { .. } | Verdict::CreatedUnidentified(_))
        };
        prop_assert!(!meaning.verdicts.iter().any(is_created) || (200..300).contains(&status));
    }

    #[test]
    fn a_read_never_finds_what_is_not_there(
        world in world(DISTINCT),
        harms in vec(harm(), 0..3),
        deformed in proptest::option::of((any::<Index>(), other_type(), any::<Index>())),
        status in select(&STATUSES[..]),
    ) {
        let world = World { keyed: true, ..world };
        let batch = world.batch();
        let mut body = world.answer(&batch);
        for harm in &harms {
            harm.inflict(&mut body);
        }
        if let Some((place, with, member)) = &deformed {
            deform(&mut body, *place, with.as_ref(), *member);
        }
        for place in [Place::Live, Place::Archived] {
            let findings = findings(&batch, place, &answer(status, "", body.to_string().as_bytes()));
            for (at, finding) in findings.iter().enumerate() {
                let id = match (finding, place) {
                    (Finding::Held(id), Place::Live) => id,
                    (Finding::Similar(holder), Place::Live) | (Finding::InBin(holder), Place::Archived) => &holder.id,
                    (Finding::Unclear, _) => continue,
                    // No error lists a key as not found, and no key has two records.
                    _ => return Err(TestCaseError::fail(format!("{at}: {finding:?} {place:?}"))),
                };
                // A retyped identifier cannot be noticed here: the read does not ask for another.
                let is_retyped = deformed.is_some() && id.as_str() == "x";
                prop_assert!(is_retyped || (world.fates[at] == Fate::Created && id.as_str() == World::id(at)));
            }
        }
    }

    /// Only an error of the kind "not found" that lists a key proves its absence, whatever else the answer lost.
    #[test]
    fn absence_is_proved_by_nothing_but_its_own_listing(
        world in world(DISTINCT),
        listed in vec(any::<bool>(), 6),
        category in select(&["OBJECT_NOT_FOUND", "NOT_FOUND", "VALIDATION_ERROR", "INTERNAL_ERROR", ""][..]),
        harms in vec(harm(), 0..3),
        status in select(&STATUSES[..]),
    ) {
        let world = World { keyed: true, lowers_values: false, ..world };
        let batch = world.batch();
        let is_listed = |at: usize| listed[at] && world.fates[at] != Fate::Created;
        let ids: Vec<_> = (0..world.fates.len())
            .filter(|at| is_listed(*at))
            .map(|at| batch.courses()[at].key.as_str().to_owned())
            .collect();
        let mut body = world.answer(&batch);
        body["errors"] = json!([{"status": "error", "category": category, "message": "m", "context": {"ids": ids}}]);
        for harm in &harms {
            harm.inflict(&mut body);
        }
        let is_intact = harms.is_empty() && (200..300).contains(&status);
        let findings = findings(&batch, Place::Live, &answer(status, "", body.to_string().as_bytes()));
        for (at, finding) in findings.iter().enumerate() {
            let may_be_absent = is_listed(at) && category.ends_with("NOT_FOUND");
            match finding {
                Finding::Absent => prop_assert!(may_be_absent, "{at} by {category:?}"),
                Finding::Held(id) => {
                    prop_assert!(world.fates[at] == Fate::Created && id.as_str() == World::id(at));
                }
                Finding::Unclear => prop_assert!(!is_intact || !(may_be_absent || world.fates[at] == Fate::Created)),
                _ => return Err(TestCaseError::fail(format!("{at}: {finding:?}"))),
            }
        }
    }
}

fn findings(batch: &Batch, place: Place, exchange: &Exchange) -> Vec<Finding> {
    let keys: Vec<_> = batch.courses().iter().map(|course| &course.key).collect();
    let reading = interpret_read(&keys, UNIQUE, place, exchange);
    assert_eq!(reading.findings.len(), keys.len(), "not one finding a course");
    reading.findings
}
