//! Corruptions of a response.

use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::{Index, select};
use serde_json::{Value, json};

use super::super::UNIQUE_PROPERTY;

/// A change of a response in transit. None makes a record look like that of another course.
#[derive(Debug, Clone)]
pub(super) enum Corruption {
    DropRecord(Index),
    RepeatRecord(Index),
    DropError(Index),
    EmptyResults,
    EmptyErrors,
    ForeignRecord,
    ForeignError,
    Status(&'static str),
}

pub(super) fn corruption() -> impl Strategy<Value = Corruption> {
    prop_oneof![
        any::<Index>().prop_map(Corruption::DropRecord),
        any::<Index>().prop_map(Corruption::RepeatRecord),
        any::<Index>().prop_map(Corruption::DropError),
        Just(Corruption::EmptyResults),
        Just(Corruption::EmptyErrors),
        Just(Corruption::ForeignRecord),
        Just(Corruption::ForeignError),
        select(&["PENDING", "PROCESSING", "CANCELED", "DONE"][..]).prop_map(Corruption::Status),
    ]
}

impl Corruption {
    pub(super) fn apply(&self, response: &mut Value) {
        let foreign = json!({"id": "1", "objectWriteTraceId": "1", "properties": {UNIQUE_PROPERTY: "Z", "hs_course_name": "Z"}});
        match self {
            Self::DropRecord(at) => change_at(response, "results", *at, |list, at| drop(list.remove(at))),
            Self::RepeatRecord(at) => change_at(response, "results", *at, |list, at| {
                list.push(list[at].clone());
            }),
            Self::DropError(at) => change_at(response, "errors", *at, |list, at| drop(list.remove(at))),
            Self::EmptyResults => response["results"] = json!([]),
            Self::EmptyErrors => response["errors"] = json!([]),
            Self::ForeignRecord => response["results"].as_array_mut().unwrap().insert(0, foreign),
            Self::ForeignError => response["errors"]
                .as_array_mut()
                .unwrap()
                .push(json!({"category": "VALIDATION_ERROR", "context": {"objectWriteTraceId": ["1", "2"]}})),
            Self::Status(status) => response["status"] = json!(status),
        }
    }
}

fn change_at(response: &mut Value, list: &str, at: Index, change: impl FnOnce(&mut Vec<Value>, usize)) {
    let list = response[list].as_array_mut().unwrap();
    if !list.is_empty() {
        change(list, at.index(list.len()));
    }
}

/// Calls `change` for the nth value of a document.
fn change_nth(value: &mut Value, countdown: &mut usize, change: &mut dyn FnMut(&mut Value)) {
    if *countdown == 0 {
        change(value);
    }
    *countdown = countdown.wrapping_sub(1);
    match value {
        Value::Array(list) => list.iter_mut().for_each(|item| change_nth(item, countdown, change)),
        Value::Object(members) => members.values_mut().for_each(|item| change_nth(item, countdown, change)),
        _ => {}
    }
}

fn count_values(value: &Value) -> usize {
    1 + match value {
        Value::Array(list) => list.iter().map(count_values).sum(),
        Value::Object(members) => members.values().map(count_values).sum(),
        _ => 0,
    }
}

/// Replaces one value by one of another type, or renames a member if it is an object.
pub(super) fn change_type(response: &mut Value, place: Index, with: Option<&Value>, member: Index) {
    let mut countdown = place.index(count_values(response));
    change_nth(response, &mut countdown, &mut |value| match (with, value.as_object_mut()) {
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

/// Random documents made of words from HubSpot's responses.
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
        UNIQUE_PROPERTY,
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
