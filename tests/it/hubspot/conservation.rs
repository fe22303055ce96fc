//! The conservation law under fire: whatever is done to an answer, every course keeps exactly one
//! verdict, and none is ever called created under an identifier that HubSpot did not give it.

use course_sync::policy::answer::Exchange;
use course_sync::policy::batch::Batch;
use course_sync::policy::interpret::{Interpretation, Verdict, interpret};
use course_sync::policy::reconcile::{Doubted, Finding, interpret_read};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::{NOW, UNIQUE, answer, batch, claimed};

/// What a truthful HubSpot did with one course.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Fate {
    Created,
    Refused,
    Taken,
}

/// A batch, what became of it, and how this HubSpot talks.
#[derive(Debug, Clone)]
struct World {
    keyed: bool,
    echoes_trace_ids: bool,
    lowers_values: bool,
    /// Names of courses; alike only up to case, or up to a further property.
    names: Vec<&'static str>,
    fates: Vec<Fate>,
    order: Vec<usize>,
}

const DISTINCT: [&str; 6] = ["Algebra", "Botany", "Chess", "Dance", "Ethics", "Fencing"];
const ALIKE: [&str; 6] = ["Java", "java", "JAVA ", "50", "50.0", "Java+"];

fn world(names: [&'static str; 6]) -> impl Strategy<Value = World> {
    (1..=names.len()).prop_flat_map(move |size| {
        let fate = prop_oneof![4 => Just(Fate::Created), 1 => Just(Fate::Refused), 1 => Just(Fate::Taken)];
        let order = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
        let names = Just(names.to_vec()).prop_shuffle().prop_map(move |names| names[..size].to_vec());
        (any::<[bool; 3]>(), names, vec(fate, size), order).prop_map(|(how, names, fates, order)| {
            let [keyed, echoes_trace_ids, lowers_values] = how;
            World { keyed, echoes_trace_ids, lowers_values, names, fates, order }
        })
    })
}

impl World {
    fn batch(&self) -> Batch {
        let course = |(at, name): (usize, &&str)| {
            // What the name and nothing else tells apart from "Java".
            let properties = match name.strip_suffix('+') {
                Some(name) => json!({"hs_course_name": name, "hs_course_description": "more"}),
                None => json!({"hs_course_name": name}),
            };
            claimed(i64::try_from(at).unwrap(), &format!("KEY-{at}"), properties)
        };
        batch(self.names.iter().enumerate().map(course).collect(), self.keyed.then_some(UNIQUE))
    }

    fn id(at: usize) -> String {
        format!("{}", 8_600 + at)
    }

    fn record(&self, batch: &Batch, at: usize) -> Value {
        let shown = |value: &str| if self.lowers_values { value.to_lowercase() } else { value.to_owned() };
        let sent = batch.sent(&batch.courses()[at]);
        let mut properties: Map<_, _> =
            sent.map(|(name, value)| (name.to_owned(), json!(shown(&value)))).collect();
        properties.insert("hs_object_id".into(), json!(Self::id(at)));
        let mut record = json!({"id": Self::id(at), "properties": properties, "archived": false});
        if self.echoes_trace_ids {
            record["objectWriteTraceId"] = json!(batch.trace_id(at));
        }
        record
    }

    /// What HubSpot truthfully says.
    fn answer(&self, batch: &Batch) -> Value {
        let with = |fate: Fate| self.order.iter().copied().filter(move |at| self.fates[*at] == fate);
        let results: Vec<_> = with(Fate::Created).map(|at| self.record(batch, at)).collect();
        let error = |at, category, message| {
            json!({"status": "error", "category": category, "message": message,
            "context": {"objectWriteTraceId": [batch.trace_id(at)]}})
        };
        let refused = with(Fate::Refused).map(|at| error(at, "VALIDATION_ERROR", "not valid"));
        let taken = with(Fate::Taken).map(|at| error(at, "CONFLICT", "already exists"));
        let errors: Vec<_> = refused.chain(taken).collect();
        json!({"status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors})
    }
}

/// What happens to an answer on the way. None of it makes one record look like another's.
#[derive(Debug, Clone)]
enum Harm {
    DropRecord(Index),
    RepeatRecord(Index),
    DropError(Index),
    EmptyResults,
    EmptyErrors,
    ForeignRecord,
    ForeignError,
    Status(&'static str),
}

fn harm() -> impl Strategy<Value = Harm> {
    prop_oneof![
        any::<Index>().prop_map(Harm::DropRecord),
        any::<Index>().prop_map(Harm::RepeatRecord),
        any::<Index>().prop_map(Harm::DropError),
        Just(Harm::EmptyResults),
        Just(Harm::EmptyErrors),
        Just(Harm::ForeignRecord),
        Just(Harm::ForeignError),
        select(&["PENDING", "PROCESSING", "CANCELED", "DONE"][..]).prop_map(Harm::Status),
    ]
}

impl Harm {
    fn inflict(&self, answer: &mut Value) {
        let foreign =
            json!({"id": "1", "objectWriteTraceId": "1", "properties": {UNIQUE: "Z", "hs_course_name": "Z"}});
        match self {
            Self::DropRecord(at) => at_index(answer, "results", at, |list, at| drop(list.remove(at))),
            Self::RepeatRecord(at) => at_index(answer, "results", at, |list, at| list.push(list[at].clone())),
            Self::DropError(at) => at_index(answer, "errors", at, |list, at| drop(list.remove(at))),
            Self::EmptyResults => answer["results"] = json!([]),
            Self::EmptyErrors => answer["errors"] = json!([]),
            Self::ForeignRecord => answer["results"].as_array_mut().unwrap().insert(0, foreign),
            Self::ForeignError => answer["errors"]
                .as_array_mut()
                .unwrap()
                .push(json!({"category": "VALIDATION_ERROR", "context": {"objectWriteTraceId": ["1", "2"]}})),
            Self::Status(status) => answer["status"] = json!(status),
        }
    }
}

fn at_index(answer: &mut Value, list: &str, at: &Index, change: impl FnOnce(&mut Vec<Value>, usize)) {
    let list = answer[list].as_array_mut().unwrap();
    if !list.is_empty() {
        change(list, at.index(list.len()));
    }
}

/// Every value of a document with what holds it, so that one can be picked.
fn for_nth(value: &mut Value, countdown: &mut usize, change: &mut dyn FnMut(&mut Value)) {
    if *countdown == 0 {
        change(value);
    }
    *countdown = countdown.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| for_nth(item, countdown, change)),
        Value::Object(members) => members.values_mut().for_each(|item| for_nth(item, countdown, change)),
        _ => {}
    }
}

fn count(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count).sum(),
        Value::Object(members) => members.values().map(count).sum(),
        _ => 0,
    }
}

/// Another type in the place of one value; or, where that is an object, one member renamed.
fn deform(answer: &mut Value, place: &Index, with: &Option<Value>, member: &Index) {
    let mut countdown = place.index(count(answer));
    for_nth(answer, &mut countdown, &mut |value| match (with, value.as_object_mut()) {
        (None, Some(members)) if !members.is_empty() => {
            let name = members.keys().nth(member.index(members.len())).unwrap().clone();
            let renamed = members.remove(&name).unwrap();
            members.insert("renamed".into(), renamed);
        }
        _ => *value = with.clone().unwrap_or_default(),
    });
}

fn other_type() -> impl Strategy<Value = Option<Value>> {
    let values =
        [json!(null), json!(7), json!(-1.5), json!("x"), json!(""), json!([]), json!({}), json!(true)];
    prop_oneof![Just(None), select(values.to_vec()).prop_map(Some)]
}

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
                Fate::Refused => matches!(verdict, Verdict::Refused(_)),
                Fate::Taken if world.keyed => matches!(verdict, Verdict::Exists(_)),
                Fate::Taken => matches!(verdict, Verdict::Refused(_)),
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
        harms.iter().for_each(|harm| harm.inflict(&mut answer));
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
        harms.iter().for_each(|harm| harm.inflict(&mut answer));
        deform(&mut answer, &place, &with, &member);
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
        harms.iter().for_each(|harm| harm.inflict(&mut body));
        if let Some((place, with, member)) = &deformed {
            deform(&mut body, place, with, member);
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

fn swap(results: &mut [Value], one: usize, other: usize, pointer: &str) {
    let value = |at: usize| results[at].pointer(pointer).cloned();
    let (Some(first), Some(second)) = (value(one), value(other)) else { return };
    *results[one].pointer_mut(pointer).unwrap() = second;
    *results[other].pointer_mut(pointer).unwrap() = first;
}

/// Documents of HubSpot's own words in every possible disorder.
fn document() -> impl Strategy<Value = Value> {
    const WORDS: &[&str] = &[
        "status",
        "results",
        "errors",
        "id",
        "properties",
        "context",
        "objectWriteTraceId",
        "message",
        "category",
        "COMPLETE",
        "VALIDATION_ERROR",
        "CONFLICT",
        "KEY-0",
        "KEY-1",
        "hs_object_id",
        UNIQUE,
        "[{\"name\":1}]",
        "error",
        "propertyName",
        "existingId",
        "subCategory",
        "code",
        "",
        "NaN",
        "1e999",
        "\0",
        "…",
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        select(WORDS).prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 60, 6, |inner| {
        let member = (select(WORDS).prop_map(str::to_owned), inner.clone());
        prop_oneof![
            vec(inner, 0..5).prop_map(Value::from),
            vec(member, 0..6).prop_map(|members| Value::Object(members.into_iter().collect())),
        ]
    })
}

fn findings(batch: &Batch, exchange: &Exchange) -> Vec<Finding> {
    let doubted = |course: &course_sync::policy::batch::Claimed| Doubted {
        id: course.id,
        batch: Uuid::nil(),
        key: course.key.clone(),
        attempts: 1,
        faults: 0,
        error: None,
    };
    let asked: Vec<_> = batch.courses().iter().map(doubted).collect();
    let reading = interpret_read(&asked, UNIQUE, exchange);
    assert_eq!(reading.findings.len(), asked.len(), "not one finding a course");
    reading.findings
}
