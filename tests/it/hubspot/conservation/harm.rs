//! What can happen to an answer on its way.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::UNIQUE;

/// What happens to an answer on the way. None of it makes one record look like another's.
#[derive(Debug, Clone)]
pub(super) enum Harm {
    DropRecord(Index),
    RepeatRecord(Index),
    DropError(Index),
    EmptyResults,
    EmptyErrors,
    ForeignRecord,
    ForeignError,
    Status(&'static str),
}

pub(super) fn harm() -> impl Strategy<Value = Harm> {
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
    pub(super) fn inflict(&self, answer: &mut Value) {
        let foreign =
            json!({"id": "1", "objectWriteTraceId": "1", "properties": {UNIQUE: "Z", "hs_course_name": "Z"}});
        match self {
            Self::DropRecord(at) => at_index(answer, "results", *at, |list, at| drop(list.remove(at))),
            Self::RepeatRecord(at) => at_index(answer, "results", *at, |list, at| {
                list.push(list[at].clone());
            }),
            Self::DropError(at) => at_index(answer, "errors", *at, |list, at| drop(list.remove(at))),
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

fn at_index(answer: &mut Value, list: &str, at: Index, change: impl FnOnce(&mut Vec<Value>, usize)) {
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
pub(super) fn deform(answer: &mut Value, place: Index, with: Option<&Value>, member: Index) {
    let mut countdown = place.index(count(answer));
    for_nth(answer, &mut countdown, &mut |value| match (with, value.as_object_mut()) {
        (None, Some(members)) if !members.is_empty() => {
            let name = members.keys().nth(member.index(members.len())).unwrap().clone();
            let renamed = members.remove(&name).unwrap();
            members.insert("renamed".into(), renamed);
        }
        _ => *value = with.cloned().unwrap_or_default(),
    });
}

pub(super) fn other_type() -> impl Strategy<Value = Option<Value>> {
    let values =
        [json!(null), json!(7), json!(-1.5), json!("x"), json!(""), json!([]), json!({}), json!(true)];
    prop_oneof![Just(None), select(values.to_vec()).prop_map(Some)]
}

pub(super) fn swap(results: &mut [Value], one: usize, other: usize, pointer: &str) {
    let value = |at: usize| results[at].pointer(pointer).cloned();
    let (Some(first), Some(second)) = (value(one), value(other)) else { return };
    *results[one].pointer_mut(pointer).unwrap() = second;
    *results[other].pointer_mut(pointer).unwrap() = first;
}

/// Documents of HubSpot's own words in every possible disorder.
pub(super) fn document() -> impl Strategy<Value = Value> {
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
