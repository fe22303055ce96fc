//! Extracts the inputs of a request for fault conditions and the journal, leniently and for every operation. From an
//! invalid request it extracts what it can. Pure.

use std::collections::BTreeMap;

use serde_json::Value;

use super::route::{Operation, Target};

/// One input of a request, not validated.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct ReceivedInput {
    /// Its `objectWriteTraceId`.
    pub(super) trace_id: Option<String>,
    /// The record ID, unique value or property name that identifies it.
    pub(super) id: Option<String>,
    /// The properties that it sets or searches; with `idProperty`, also that property with the ID.
    pub(super) properties: BTreeMap<String, String>,
    /// The IDs of associated records.
    pub(super) associations: Vec<String>,
}

/// The inputs of a request: those of a batch, or the single record, property definition or search. A list request has
/// none.
pub(super) fn inputs(target: &Target, body: &[u8]) -> Vec<ReceivedInput> {
    use Operation as Op;
    match target.operation {
        Op::BatchCreate | Op::BatchRead | Op::BatchUpsert | Op::BatchUpdate | Op::BatchArchive => {
            let body = parse_json(body);
            let key = text(body.get("idProperty"));
            items(body.get("inputs")).map(|input| record(input, None, key.as_deref())).collect()
        }
        Op::Merge => {
            let body = parse_json(body);
            let ids = ["primaryObjectId", "objectIdToMerge"].map(|name| text(body.get(name)));
            ids.into_iter().map(|id| ReceivedInput { id, ..ReceivedInput::default() }).collect()
        }
        Op::Create => vec![record(&parse_json(body), None, None)],
        Op::Read | Op::Update | Op::Archive => {
            vec![record(&parse_json(body), target.name.as_deref(), target.param("idProperty"))]
        }
        Op::PropertyCreate | Op::PropertyRead | Op::PropertyUpdate | Op::PropertyArchive => {
            vec![definition(&parse_json(body), target.name.as_deref())]
        }
        Op::Search => vec![search(&parse_json(body))],
        Op::List
        | Op::PropertyList
        | Op::PropertyGroups
        | Op::Enablement
        | Op::AccountDetails
        | Op::ApiUsage
        | Op::TokenInfo
        | Op::RecordLimits
        | Op::TokenRefresh
        | Op::TokenIntrospect
        | Op::AccessTokenInfo
        | Op::Unknown => Vec::new(),
    }
}

/// The body, or null if it is not JSON.
fn parse_json(body: &[u8]) -> Value {
    serde_json::from_slice(body).unwrap_or_default()
}

/// `id` and `key` are given if the operation has them outside of the input.
fn record(input: &Value, id: Option<&str>, key: Option<&str>) -> ReceivedInput {
    let id = id.map(str::to_owned).or_else(|| text(input.get("id")));
    let key = text(input.get("idProperty")).or_else(|| key.map(str::to_owned));
    let mut properties = texts(input.get("properties"));
    if let (Some(key), Some(id)) = (key, &id) {
        properties.entry(key).or_insert_with(|| id.clone());
    }
    ReceivedInput {
        trace_id: text(input.get("objectWriteTraceId")),
        id,
        properties,
        associations: items(input.get("associations"))
            .filter_map(|one| text(one.get("to")?.get("id")))
            .collect(),
    }
}

fn definition(body: &Value, name: Option<&str>) -> ReceivedInput {
    ReceivedInput {
        id: name.map(str::to_owned).or_else(|| text(body.get("name"))),
        properties: texts(Some(body)),
        ..ReceivedInput::default()
    }
}

/// The values of a search, by property; multiple values of a property are separated by line breaks.
fn search(body: &Value) -> ReceivedInput {
    let mut properties = BTreeMap::<String, String>::new();
    let filters = items(body.get("filterGroups")).flat_map(|group| items(group.get("filters")));
    for filter in filters {
        let Some(name) = text(filter.get("propertyName")) else { continue };
        let values = text(filter.get("value")).into_iter();
        let values = values.chain(items(filter.get("values")).filter_map(|value| text(Some(value))));
        let held = properties.entry(name).or_default();
        for value in values {
            if !held.is_empty() {
                held.push('\n');
            }
            held.push_str(&value);
        }
    }
    ReceivedInput { id: text(body.get("query")), properties, ..ReceivedInput::default() }
}

fn items(list: Option<&Value>) -> impl Iterator<Item = &Value> {
    list.and_then(Value::as_array).into_iter().flatten()
}

fn texts(object: Option<&Value>) -> BTreeMap<String, String> {
    let members = object.and_then(Value::as_object).into_iter().flatten();
    members.filter_map(|(name, value)| Some((name.clone(), text(Some(value))?))).collect()
}

/// A text, or a number converted to text.
fn text(value: Option<&Value>) -> Option<String> {
    match value? {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::{Method, Uri};

    use super::*;
    use crate::route::{Route, resolve};

    fn seen(method: &Method, path: &str, body: &str) -> Vec<ReceivedInput> {
        match resolve(method, &path.parse::<Uri>().unwrap()) {
            Route::To(target) => inputs(&target, body.as_bytes()),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn inputs_are_extracted_for_every_operation() {
        let create = seen(
            &Method::POST,
            "/crm/v3/objects/0-410/batch/create",
            r#"{"inputs":[{"objectWriteTraceId":"t","properties":{"a":"x","n":5,"l":[]},
                "associations":[{"to":{"id":"7"}},{"to":{"id":8}},{}]}]}"#,
        );
        let [create] = create.as_slice() else { panic!("{create:?}") };
        assert_eq!((create.trace_id.as_deref(), create.id.as_deref()), (Some("t"), None));
        assert_eq!(
            create.properties,
            [("a", "x"), ("n", "5")].map(|(n, v)| (n.to_owned(), v.to_owned())).into()
        );
        assert_eq!(create.associations, ["7", "8"]);

        let read = seen(
            &Method::POST,
            "/crm/v3/objects/0-410/batch/read",
            r#"{"idProperty":"key","inputs":[{"id":"k1"},{"id":"k2"}]}"#,
        );
        let keys: Vec<&str> = read.iter().map(|input| input.properties["key"].as_str()).collect();
        assert_eq!((read[1].id.as_deref(), keys), (Some("k2"), vec!["k1", "k2"]));

        let single = seen(&Method::GET, "/crm/v3/objects/0-410/k%201?idProperty=key", "");
        assert_eq!((single[0].id.as_deref(), single[0].properties["key"].as_str()), (Some("k 1"), "k 1"));
        let property = seen(&Method::POST, "/crm/v3/properties/0-410", r#"{"name":"p","label":"P"}"#);
        assert_eq!((property[0].id.as_deref(), property[0].properties["label"].as_str()), (Some("p"), "P"));
        let search = seen(
            &Method::POST,
            "/crm/v3/objects/0-410/search",
            r#"{"filterGroups":[{"filters":[{"propertyName":"p","operator":"IN","values":["a","b"]}]}]}"#,
        );
        assert_eq!(search[0].properties["p"], "a\nb");
        assert_eq!(seen(&Method::GET, "/crm/v3/objects/0-410", ""), []);
        assert_eq!(seen(&Method::POST, "/crm/v3/objects/0-410/batch/create", "{\"inputs\":["), []);
    }
}
