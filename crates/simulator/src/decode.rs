//! Parses bodies as strictly as HubSpot's JSON library (Jackson), with the same error messages. Pure.

use std::fmt;
use std::marker::PhantomData;

use serde::de::value::MapAccessDeserializer;
use serde::de::{Deserialize, DeserializeOwned, Deserializer, MapAccess, Visitor};

/// Parses `body`; `class` is the Java class that HubSpot's error message names.
///
/// # Errors
/// HubSpot's message "Invalid input JSON …"; the error with this message has no category.
pub(super) fn json<T: DeserializeOwned>(body: &[u8], class: &str) -> Result<T, String> {
    serde_json::from_slice(body).map(|Object(value)| value).map_err(|error| error_message(&error, class))
}

/// Accepts a `T` only as a JSON object: serde would also accept an array of the struct's members.
#[derive(Debug)]
pub(super) struct Object<T>(pub(super) T);

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Object<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(OnlyObject(PhantomData))
    }
}

struct OnlyObject<T>(PhantomData<T>);

impl<'de, T: Deserialize<'de>> Visitor<'de> for OnlyObject<T> {
    type Value = Object<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Object<T>, A::Error> {
        T::deserialize(MapAccessDeserializer::new(map)).map(Object)
    }
}

fn error_message(error: &serde_json::Error, class: &str) -> String {
    let place = format!("Invalid input JSON on line {}, column {}", error.line(), error.column());
    let text = error.to_string();
    if let Some(found) = text.strip_prefix("invalid type: ") {
        let wanted = if found.contains("expected a string") { "java.lang.String" } else { class };
        let (kind, token) = jackson_token(found);
        format!(
            "{place}: Cannot deserialize value of type `{wanted}` from {kind} (token `JsonToken.{token}`)"
        )
    } else if let Some(field) = text.strip_prefix("missing field `").and_then(|rest| rest.split('`').next()) {
        format!("{place}: Cannot build {class}, some of required attributes are not set [{field}]")
    } else {
        format!("{place}: {}", text.split(" at line ").next().unwrap_or("Unexpected character"))
    }
}

/// Jackson's names for the token that serde found.
fn jackson_token(found: &str) -> (&'static str, &'static str) {
    match found.split([' ', ',']).next().unwrap_or_default() {
        "sequence" => ("Array value", "START_ARRAY"),
        "map" => ("Object value", "START_OBJECT"),
        "boolean" if found.contains("`true`") => ("Boolean value", "VALUE_TRUE"),
        "boolean" => ("Boolean value", "VALUE_FALSE"),
        "null" => ("Null value", "VALUE_NULL"),
        "string" => ("String value", "VALUE_STRING"),
        "floating" => ("Floating-point value", "VALUE_NUMBER_FLOAT"),
        _ => ("Integer value", "VALUE_NUMBER_INT"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Batch, CreateInput};

    const CLASS: &str = "com.hubspot.inbounddb.publicobject.core.v2.SimplePublicObjectBatchInput$Json";

    fn message(body: &str) -> String {
        match json::<Batch<CreateInput>>(body.as_bytes(), CLASS) {
            Ok(_) => "accepted".to_owned(),
            Err(message) => message,
        }
    }

    #[test]
    fn error_messages_match_jackson() {
        let cases = [
            (r#"{"inputs":[{"properties":{"a":"b"}}],"junk":1}"#, "accepted"),
            (r#"{"properties":["a"]}"#, "accepted"),
            (
                "{\n\"inputs\":[\n[1]]}",
                "Invalid input JSON on line 3, column 0: Cannot deserialize value of type \
                 `com.hubspot.inbounddb.publicobject.core.v2.SimplePublicObjectBatchInput$Json` \
                 from Array value (token `JsonToken.START_ARRAY`)",
            ),
            (
                r#"{"inputs":[{"properties":{"a":5}}]}"#,
                "Invalid input JSON on line 1, column 31: Cannot deserialize value of type \
                 `java.lang.String` from Integer value (token `JsonToken.VALUE_NUMBER_INT`)",
            ),
        ];
        for (body, expected) in cases {
            assert_eq!(message(body), expected, "{body}");
        }
        assert!(message(r#"{"inputs":[{"associations":[{"to":{"id":"1"}}]}]}"#).contains("not set [types]"));
        assert!(message("{").starts_with("Invalid input JSON on line 1"));
    }
}
