//! The conservation law under fire: whatever is done to an answer, every course keeps exactly one
//! verdict, and none is ever called created under an identifier that HubSpot did not give it.

use course_sync::policy::answer::Exchange;
use course_sync::policy::batch::Batch;
use course_sync::policy::interpret::{Interpretation, Verdict, interpret};
use course_sync::policy::reconcile::{Doubted, Finding, interpret_read};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::json;
use uuid::Uuid;

use self::harm::{deform, document, harm, other_type, swap};
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
/// called refused, nothing refused ever created.
fn demand_truth(world: &World, meaning: &Interpretation, status: u16) -> Result<(), TestCaseError> {
    for (at, verdict) in meaning.verdicts.iter().enumerate() {
        let fate = world.fates[at];
        if let Verdict::Created(id) = verdict {
            prop_assert!(fate == Fate::Created && id.as_str() == World::id(at), "{at}: {verdict:?}");
        }
        let denied = !matches!(verdict, Verdict::Created(_) | Verdict::Unknown { .. });
        prop_assert!(
            !(denied && fate == Fate::Created && (200..300).contains(&status)),
            "{at} was created: {verdict:?}"
        );
    }
    Ok(())
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
                Fate::Created => matches!(verdict, Verdict::Created(id) if id.as_str() == World::id(at)),
                Fate::Taken if world.keyed => matches!(verdict, Verdict::Exists { .. }),
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
        demand_truth(&world, &read(&batch, status, answer.to_string().as_bytes()), status)?;
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
        demand_truth(&world, &read(&batch, status, answer.to_string().as_bytes()), status)?;
    }

    #[test]
    fn a_cut_answer_says_nothing(world in world(DISTINCT), cut in any::<Index>(), status in 200_u16..300) {
        let batch = world.batch();
        let body = world.answer(&batch).to_string();
        let meaning = read(&batch, status, &body.as_bytes()[..cut.index(body.len())]);
        let is_unknown = |verdict: &Verdict| matches!(verdict, Verdict::Unknown { .. });
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
        demand_truth(&world, &read(&batch, status, answer.to_string().as_bytes()), status)?;
    }

    #[test]
    fn any_bytes_at_any_status(
        world in world(DISTINCT),
        status in 100_u16..1000,
        body in prop_oneof![vec(any::<u8>(), 0..200), document().prop_map(|json| json.to_string().into_bytes())],
    ) {
        let batch = world.batch();
        let meaning = read(&batch, status, &body);
        let is_created = |verdict: &Verdict| matches!(verdict, Verdict::Created(_));
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
        let findings = findings(&batch, &answer(status, "", body.to_string().as_bytes()));
        for (at, finding) in findings.iter().enumerate() {
            if let Finding::Held(id) = finding {
                // A retyped identifier cannot be noticed here: the read does not ask for another.
                let is_retyped = deformed.is_some() && id.as_str() == "x";
                prop_assert!(is_retyped || (world.fates[at] == Fate::Created && id.as_str() == World::id(at)));
            }
        }
    }
}

fn findings(batch: &Batch, exchange: &Exchange) -> Vec<Finding> {
    let doubted = |course: &course_sync::policy::batch::Claimed| Doubted {
        id: course.id,
        batch: Uuid::nil(),
        key: course.key.clone(),
        attempts: 1,
        faults: 0,
        doubts: 1,
        company: 1,
        carried_key: true,
        error: None,
        created_at: course.created_at,
    };
    let asked: Vec<_> = batch.courses().iter().map(doubted).collect();
    let reading = interpret_read(&asked, UNIQUE, exchange);
    assert_eq!(reading.findings.len(), asked.len(), "not one finding a course");
    reading.findings
}
