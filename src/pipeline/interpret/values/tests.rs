//! Unidentified records, and the courses to which they can belong.

use jiff::Timestamp;
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Map, Value, json};
use uuid::Uuid;

use super::*;
use crate::course::{Associations, BatchId};
use crate::pipeline::batch::tests::claimed;

fn batch(courses: &[Value], linked: &[bool]) -> Batch {
    let course = |(at, properties): (usize, &Value)| {
        let row = i64::try_from(at).unwrap();
        let mut course = claimed(row, &format!("K-{at}"), &properties.to_string());
        if linked.get(at).is_some_and(|linked| *linked) {
            course.associations = Associations::parse(json!([{"to": {"id": "42"},
                "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": 938}]}]))
            .unwrap();
        }
        course
    };
    let claims = courses.iter().enumerate().map(course).collect();
    Batch::new(BatchId(Uuid::nil()), claims, None)
}

fn record(id: usize, properties: &Value) -> CourseRecord {
    serde_json::from_value(json!({"id": id.to_string(), "properties": properties})).unwrap()
}

/// The candidates of these records among all of these courses.
fn found(courses: &[Value], shown: &[Value]) -> Vec<Vec<usize>> {
    let batch = batch(courses, &[]);
    let records: Vec<_> = shown.iter().enumerate().map(|(id, shown)| record(id, shown)).collect();
    let open: Vec<_> = (0..courses.len()).collect();
    let found = candidates(&batch, &open, &records.iter().collect::<Vec<_>>());
    found.into_iter().map(|choice| choice.into_iter().collect()).collect()
}

#[test]
fn other_notations_of_a_value_match() {
    let courses = [
        json!({"name": "Algebra", "begins": "2026-09-01T09:00:00Z", "seats": 50, "days": "mon;wed", "gone": ""}),
        json!({"name": "Algebra", "begins": "2026-10-01T09:00:00Z", "seats": "50", "days": "mon;wed"}),
    ];
    let shown = [
        json!({"name": "algebra ", "begins": "1790845200000", "seats": "50.0", "days": "wed;mon", "gone": null}),
        json!({"name": "Algebra", "begins": "2026-09-01T09:00:00.000Z", "seats": "50", "days": "wed;mon"}),
    ];
    assert_eq!(found(&courses, &shown), [[1], [0]]);
}

fn algebra(seats: u8, text: &str) -> Value {
    json!({"name": "Algebra", "seats": seats.to_string(), "text": text})
}

#[test]
fn a_changed_value_does_not_prevent_a_match_by_the_others() {
    let courses = [algebra(1, "<script>1</script>"), algebra(2, "<script>2</script>")];
    assert_eq!(found(&courses, &[algebra(2, "changed"), algebra(1, "changed")]), [[1], [0]]);
    assert_eq!(found(&courses, &[algebra(2, "changed")]), [[1]]);
    // Where the other values are equal, both courses remain.
    let alike = [algebra(1, "<script>1</script>"), algebra(1, "<script>2</script>")];
    assert_eq!(found(&alike, &[algebra(1, "changed")]), [[0, 1]]);
    // A record without any sent value belongs to no course.
    assert_eq!(found(&courses, &[json!({"name": "Botany", "seats": 9})]), [[0; 0]]);
}

#[test]
fn the_remaining_record_belongs_to_the_remaining_course() {
    let courses =
        [json!({"name": "Algebra", "seats": 1}), json!({"name": "<script>Botany</script>", "seats": 1})];
    let shown = [json!({"name": "changed", "seats": "1"}), json!({"name": "Algebra", "seats": "1"})];
    assert_eq!(found(&courses, &shown), [[1], [0]]);
    assert_eq!(found(&courses, &shown[..1]), [[0, 1]]);
}

#[test]
fn a_value_that_was_not_sent_does_not_exclude_a_course() {
    let courses = [json!({"name": "Java"}), json!({"name": "Java", "text": "<script>1</script>"})];
    // The first, with a text that HubSpot filled in, or the second, its text changed.
    assert_eq!(found(&courses, &[json!({"name": "Java", "text": "changed"})]), [[0, 1]]);
    let both = [json!({"name": "Java", "text": "changed"}), json!({"name": "Java"})];
    assert_eq!(found(&courses, &both), [[1], [0]]);
}

fn java(seats: &Value) -> Value {
    json!({"name": "Java", "seats": seats})
}

#[test]
fn equal_courses_take_one_record_each() {
    let equal = [java(&json!(50)), json!({"name": "Other"}), java(&json!("50")), java(&json!("50"))];
    let shown = java(&json!("50"));
    assert_eq!(found(&equal, &[shown.clone(), shown.clone(), shown.clone()]), [[0], [2], [3]]);
    assert_eq!(found(&equal, &[shown.clone(), shown.clone()]), [[0], [2]]);
    // More records than courses: one is foreign.
    assert_eq!(found(&equal, &[shown.clone(), shown.clone(), shown.clone(), shown]), [[0, 2, 3]; 4]);
    let empty = [
        json!({"name": "Java", "seats": ""}),
        json!({"name": "Java", "seats": null}),
        json!({"name": "Java"}),
    ];
    assert_eq!(found(&empty, &[json!({"name": "Java"}), json!({"name": "Java", "seats": ""})]), [[0], [1]]);
}

#[test]
fn equal_courses_take_records_in_the_order_of_the_open_courses() {
    let course = json!({"name": "Java"});
    let batch = batch(&[course.clone(), course.clone()], &[]);
    let record = record(1, &course);
    assert_eq!(candidates(&batch, &[1, 0], &[&record]), [BTreeSet::from([1])]);
    // A record that is listed twice counts once.
    assert_eq!(candidates(&batch, &[0, 1], &[&record, &record]), [BTreeSet::from([0]), BTreeSet::from([0])]);
    assert_eq!(candidates(&batch, &[], &[&record]), [BTreeSet::new()]);
    assert!(candidates(&batch, &[0, 1], &[]).is_empty());
}

#[test]
fn courses_with_other_associations_are_not_equal() {
    let course = json!({"name": "Java"});
    let batch = batch(&[course.clone(), course.clone()], &[true, false]);
    let records = [record(1, &course), record(2, &course)];
    let both = BTreeSet::from([0, 1]);
    assert_eq!(candidates(&batch, &[0, 1], &[&records[0], &records[1]]), [both.clone(), both]);
}

/// What this HubSpot does with the values of one property. Each is idempotent, as HubSpot's own is.
#[derive(Debug, Clone, Copy)]
enum Rewriting {
    Keep,
    Lower,
    Trim,
    Untag,
    Escape,
    Number,
    Milliseconds,
    Sort,
}

impl Rewriting {
    fn of(self, value: &str) -> String {
        match self {
            Self::Keep => value.to_owned(),
            Self::Lower => value.to_lowercase(),
            Self::Trim => value.trim().to_owned(),
            Self::Untag => value.replace("<b>", "").replace("</b>", ""),
            Self::Escape => value.replace("&amp;", "&").replace('&', "&amp;"),
            Self::Number => value.parse::<u32>().map_or_else(
                |_| value.strip_suffix(".0").unwrap_or(value).to_owned(),
                |number| number.to_string(),
            ),
            Self::Milliseconds => match value.parse::<Timestamp>() {
                Ok(instant) => instant.as_millisecond().to_string(),
                Err(_) => value.to_owned(),
            },
            Self::Sort => {
                let mut choices: Vec<_> = value.split(';').collect();
                choices.sort_unstable();
                choices.join(";")
            }
        }
    }
}

const REWRITINGS: [Rewriting; 8] = [
    Rewriting::Keep,
    Rewriting::Lower,
    Rewriting::Trim,
    Rewriting::Untag,
    Rewriting::Escape,
    Rewriting::Number,
    Rewriting::Milliseconds,
    Rewriting::Sort,
];
const COLUMNS: [&str; 4] = ["name", "text", "days", "begins"];
const VALUES: [&str; 20] = [
    "Java",
    "java",
    "JAVA ",
    "<b>Java</b>",
    "50",
    "50.0",
    "5e1",
    "050",
    "a & b",
    "a &amp; b",
    "mon;wed",
    "wed;mon",
    "2026-09-01T09:00:00Z",
    "2026-09-01T11:00:00+02:00",
    "1788253200000",
    "",
    " ",
    "?1",
    "?2",
    "?3",
];

/// Courses, how this HubSpot writes, and the records that arrive.
#[derive(Debug, Clone)]
struct World {
    courses: Vec<Vec<Option<&'static str>>>,
    linked: Vec<bool>,
    rewritings: Vec<Rewriting>,
    /// Whether values that begin with `?` are changed beyond recognition, by column.
    changes: Vec<bool>,
    empty: Option<&'static str>,
    order: Vec<usize>,
    arrive: Index,
}

fn world() -> impl Strategy<Value = World> {
    (1_usize..8).prop_flat_map(|size| {
        let course = vec(option::weighted(0.7, select(&VALUES[..])), COLUMNS.len());
        (
            vec(course, size),
            vec(prop::bool::weighted(0.2), size),
            vec(select(&REWRITINGS[..]), COLUMNS.len()),
            vec(any::<bool>(), COLUMNS.len()),
            select(&[None, Some("")][..]),
            Just((0..size).collect::<Vec<_>>()).prop_shuffle(),
            any::<Index>(),
        )
            .prop_map(|(courses, linked, rewritings, changes, empty, order, arrive)| World {
                courses,
                linked,
                rewritings,
                changes,
                empty,
                order,
                arrive,
            })
    })
}

impl World {
    fn properties(&self, at: usize) -> Value {
        let sent = COLUMNS.iter().zip(self.courses[at].iter().copied());
        Value::Object(sent.filter_map(|(name, value)| Some(((*name).to_owned(), json!(value?)))).collect())
    }

    /// What HubSpot made of a course.
    fn record(&self, at: usize) -> CourseRecord {
        let mut shown = Map::new();
        shown.insert("hs_object_id".into(), json!(at.to_string()));
        let columns = COLUMNS.iter().zip(&self.courses[at]).zip(self.rewritings.iter().zip(&self.changes));
        for ((name, value), (rewriting, is_changed)) in columns {
            let value = match value {
                Some(value) if *is_changed && value.starts_with('?') => {
                    Some(format!("changed {name} {value}"))
                }
                Some(value) if !value.trim().is_empty() => Some(rewriting.of(value)),
                _ => self.empty.map(str::to_owned),
            };
            shown.insert((*name).to_owned(), json!(value));
        }
        record(at, &Value::Object(shown))
    }

    /// All that was sent for a course.
    fn content(&self, at: usize) -> (Vec<Option<&str>>, bool) {
        let sent = self.courses[at].iter().map(|value| value.filter(|value| !value.is_empty()));
        (sent.collect(), self.linked[at])
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_record_is_given_to_another_course(world in world()) {
        let courses: Vec<_> = (0..world.courses.len()).map(|at| world.properties(at)).collect();
        let batch = batch(&courses, &world.linked);
        let open: Vec<_> = (0..courses.len()).collect();
        let made = &world.order[..=world.arrive.index(world.order.len())];
        let records: Vec<_> = made.iter().map(|at| world.record(*at)).collect();
        let found = candidates(&batch, &open, &records.iter().collect::<Vec<_>>());
        prop_assert_eq!(found.len(), records.len());
        let mut taken = BTreeSet::new();
        for (truth, choice) in made.iter().zip(&found) {
            if let Some(at) = sole(choice) {
                prop_assert!(
                    world.content(*at) == world.content(*truth),
                    "the record of {truth} was given to {at}"
                );
                prop_assert!(taken.insert(*at), "{at} took two records");
            } else if !choice.is_empty() {
                let holds_truth = choice.iter().any(|at| world.content(*at) == world.content(*truth));
                prop_assert!(holds_truth, "{truth} is not among {choice:?}");
            }
        }
    }

}

proptest! {
    #![proptest_config(ProptestConfig { cases: 50, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn courses_that_differ_in_a_value_are_all_found(
        values in vec(select(&REWRITINGS[..]), COLUMNS.len()),
        order in Just((0..30_usize).collect::<Vec<_>>()).prop_shuffle(),
    ) {
        let courses: Vec<_> = (0..30)
            .map(|at| json!({"name": format!("Java {at}"), "text": "?1", "days": "wed;mon", "begins": "50.0"}))
            .collect();
        let shown = |at: &usize| {
            let rewritten = |(name, rewriting): (&&str, &Rewriting)| {
                let value = courses[*at][*name].as_str().unwrap();
                let value = if value.starts_with('?') { "changed".to_owned() } else { rewriting.of(value) };
                ((*name).to_owned(), json!(value))
            };
            Value::Object(COLUMNS.iter().zip(&values).map(rewritten).collect())
        };
        let shown: Vec<_> = order.iter().map(shown).collect();
        let expected: Vec<_> = order.iter().map(|at| vec![*at]).collect();
        prop_assert_eq!(found(&courses, &shown), expected);
    }
}
