//! Encodes the bodies of requests, as HubSpot's `OpenAPI` description defines them. Pure.

use std::borrow::Cow;

use jiff::Timestamp;
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};
use serde_json::{Value, json};

use crate::course::{Associations, Batch, ClaimedCourse, CourseKey, HubSpotId, Write};

/// The property that every course has.
pub(crate) const COURSE_NAME: &str = "hs_course_name";

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct CreateInput<'a> {
    properties: SentProperties<'a>,
    associations: &'a Associations,
    object_write_trace_id: String,
}

struct SentProperties<'a> {
    batch: &'a Batch,
    course: &'a ClaimedCourse,
}

impl Serialize for SentProperties<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.batch.sent_properties(self.course) {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

#[derive(Serialize)]
struct Inputs<T> {
    inputs: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct UpdateInput<'a> {
    id: &'a str,
    properties: SentProperties<'a>,
    object_write_trace_id: String,
}

/// The body that creates, updates or archives the courses of a batch.
pub fn encode_write(batch: &Batch) -> serde_json::Result<String> {
    match batch.write() {
        Write::Create => encode_create(batch),
        Write::Update => encode_update(batch),
        Write::Archive => serde_json::to_string(&archive(record_ids(batch))),
    }
}

fn record_ids(batch: &Batch) -> impl Iterator<Item = &str> {
    batch.courses().iter().filter_map(|course| Some(course.record.as_ref()?.id.as_str()))
}

/// By record id, without `idProperty`: HubSpot refuses `hs_object_id` there.
fn encode_update(batch: &Batch) -> serde_json::Result<String> {
    let inputs = batch.courses().iter().enumerate().filter_map(|(position, course)| {
        Some(UpdateInput {
            id: course.record.as_ref()?.id.as_str(),
            properties: SentProperties { batch, course },
            object_write_trace_id: batch.trace_id(position),
        })
    });
    serde_json::to_string(&Inputs { inputs: inputs.collect() })
}

/// The body that creates the courses of a batch.
pub fn encode_create(batch: &Batch) -> serde_json::Result<String> {
    let inputs = batch.courses().iter().enumerate().map(|(position, course)| CreateInput {
        properties: SentProperties { batch, course },
        associations: &course.associations,
        object_write_trace_id: batch.trace_id(position),
    });
    serde_json::to_string(&Inputs { inputs: inputs.collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadBody<'a> {
    id_property: &'a str,
    inputs: Vec<ReadInput<'a>>,
    properties: [&'a str; 1],
    properties_with_history: [&'a str; 0],
}

#[derive(Serialize)]
struct ReadInput<'a> {
    id: Cow<'a, str>,
}

/// The body that looks courses up by the unique property and requests that property.
pub(crate) fn encode_read<'a>(
    keys: impl Iterator<Item = &'a str>,
    unique_property: &'a str,
) -> serde_json::Result<String> {
    serde_json::to_string(&ReadBody {
        id_property: unique_property,
        inputs: keys.map(|key| ReadInput { id: Cow::Borrowed(key) }).collect(),
        properties: [unique_property],
        properties_with_history: [],
    })
}

/// The body that reads records by their ids, with these properties.
pub(crate) fn encode_read_records<'a>(
    ids: impl Iterator<Item = &'a HubSpotId>,
    properties: &[&str],
) -> serde_json::Result<String> {
    let inputs: Vec<Value> = ids.map(|id| json!({ "id": id.as_str() })).collect();
    serde_json::to_string(&json!({ "inputs": inputs, "properties": properties, "propertiesWithHistory": [] }))
}

/// The body that writes keys onto records, each with a trace id: then one refused key does not refuse the others.
pub(crate) fn encode_keys(
    keys: &[(&HubSpotId, &CourseKey)],
    unique_property: &str,
) -> serde_json::Result<String> {
    let input = |(id, key): &(&HubSpotId, &CourseKey)| {
        let properties = json!({ unique_property: key.as_str() });
        json!({ "id": id.as_str(), "properties": properties, "objectWriteTraceId": key_trace_id(id) })
    };
    serde_json::to_string(&json!({ "inputs": keys.iter().map(input).collect::<Vec<_>>() }))
}

/// The trace id of the key that is written onto this record.
pub(crate) fn key_trace_id(id: &HubSpotId) -> String {
    format!("key:{}", id.as_str())
}

/// A search for the records that have no value of this property; only their number is of interest.
pub(crate) fn search_without(property: &str) -> Value {
    let filter = json!({ "propertyName": property, "operator": "NOT_HAS_PROPERTY" });
    json!({ "filterGroups": [{ "filters": [filter] }], "properties": [property], "limit": 1 })
}

/// A create without courses.
pub(crate) fn empty_create() -> Value {
    json!({ "inputs": [] })
}

/// A create of one record that carries this key, and nothing else.
pub(crate) fn create_probe(unique_property: &str, key: &str) -> Value {
    let properties = json!({ COURSE_NAME: key, unique_property: key });
    json!({ "inputs": [{ "properties": properties, "associations": [] }] })
}

/// Moves these records to the recycle bin.
pub(crate) fn archive<'a>(ids: impl Iterator<Item = &'a str>) -> Value {
    let inputs: Vec<Value> = ids.map(|id| json!({ "id": id })).collect();
    json!({ "inputs": inputs })
}

/// Creates the unique property: a text whose values HubSpot keeps unique.
pub(crate) fn create_unique_property(name: &str, group: &str) -> Value {
    json!({
        "groupName": group,
        "name": name,
        "label": "Course key",
        "description": "The catalogue's own identifier of the course. Written by course-sync; do not edit.",
        "type": "string",
        "fieldType": "text",
        "hasUniqueValue": true,
    })
}

/// The number of candidates that a search returns.
pub(crate) const CANDIDATES: usize = 5;
/// The number of records to read where the filter cannot match the name exactly. HubSpot's search returns at most 200.
const SEARCH_PAGE: usize = 200;

/// A search for records of this name that were created since then. Where the name cannot be used as a filter, it is
/// replaced by its longest word, or left out; the caller compares the names afterwards.
pub(crate) fn search(name: &str, since: Timestamp) -> Value {
    let mut filters = vec![json!({
        "propertyName": "hs_createdate", "operator": "GTE", "value": since.as_millisecond().to_string(),
    })];
    if is_searchable(name) {
        filters.insert(0, json!({ "propertyName": COURSE_NAME, "operator": "EQ", "value": name }));
    } else if let Some(word) = longest_word(name) {
        filters
            .insert(0, json!({ "propertyName": COURSE_NAME, "operator": "CONTAINS_TOKEN", "value": word }));
    }
    json!({
        "filterGroups": [{ "filters": filters }],
        "sorts": [{ "propertyName": "hs_createdate", "direction": "ASCENDING" }],
        "properties": [COURSE_NAME],
        "limit": if is_searchable(name) { CANDIDATES } else { SEARCH_PAGE },
    })
}

/// Whether HubSpot's search accepts this text as the value of a filter. It answers 400 to one with a quotation mark.
pub(crate) fn is_searchable(text: &str) -> bool {
    !text.contains('"')
}

fn longest_word(text: &str) -> Option<&str> {
    text.split(|c: char| !c.is_alphanumeric())
        .filter(|word| !word.is_empty())
        .max_by_key(|word| word.chars().count())
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::course::{BatchId, CourseKey, Properties, RowId};

    fn claimed(associations: &str) -> ClaimedCourse {
        ClaimedCourse {
            id: RowId(1),
            key: CourseKey::parse("A-1").unwrap(),
            properties: Properties::parse(serde_json::from_str(r#"{"n":50,"s":"x","gone":null}"#).unwrap())
                .unwrap(),
            associations: Associations::parse(serde_json::from_str(associations).unwrap()).unwrap(),
            attempts: 1,
            faults: 0,
            doubts: 0,
            doubt_property: None,
            is_blamed: false,
            requested_at: Timestamp::UNIX_EPOCH,
            is_doubt_recent: false,
            record: None,
        }
    }

    #[test]
    fn a_create_body_has_every_documented_field() {
        let link = r#"[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]"#;
        let claims = vec![claimed(link), claimed("[]")];
        let batch = Batch::new(BatchId(Uuid::nil()), claims, Some("key"));
        let id = BatchId(Uuid::nil());
        let expected = format!(
            r#"{{"inputs":[{{"properties":{{"n":"50","s":"x","key":"A-1"}},"associations":{link},"objectWriteTraceId":"{id}:0"}},{{"properties":{{"n":"50","s":"x","key":"A-1"}},"associations":[],"objectWriteTraceId":"{id}:1"}}]}}"#
        );
        assert_eq!(encode_create(&batch).unwrap(), expected);
    }

    #[test]
    fn a_read_body_asks_by_the_unique_property_and_requests_it() {
        assert_eq!(
            encode_read(["A-1"].into_iter(), "key").unwrap(),
            r#"{"idProperty":"key","inputs":[{"id":"A-1"}],"properties":["key"],"propertiesWithHistory":[]}"#
        );
    }

    #[test]
    fn no_search_filter_contains_a_quotation_mark() {
        for (name, operator, value) in [
            ("Algebra 1", "EQ", "Algebra 1"),
            ("", "EQ", ""),
            ("Intro to \"C++\"", "CONTAINS_TOKEN", "Intro"),
            ("\"Übungen\" I", "CONTAINS_TOKEN", "Übungen"),
            ("\"\"", "GTE", "0"),
        ] {
            let body = search(name, Timestamp::UNIX_EPOCH);
            let filters = body["filterGroups"][0]["filters"].as_array().unwrap();
            assert_eq!((&filters[0]["operator"], &filters[0]["value"]), (&json!(operator), &json!(value)));
            let mut values = filters.iter().map(|filter| filter["value"].as_str().unwrap());
            assert!(!values.any(|value| value.contains('"')), "{body}");
        }
    }
}
