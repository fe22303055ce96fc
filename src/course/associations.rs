//! The associations of a course with records that already exist in HubSpot, in HubSpot's own JSON format.

use std::collections::HashSet;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::InvalidValue;

/// Who defined an association type: the four values that HubSpot knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
#[allow(missing_docs)]
pub enum AssociationCategory {
    HubspotDefined,
    IntegratorDefined,
    UserDefined,
    Work,
}

/// One association type, such as course to company.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct AssociationType {
    /// Who defined it.
    pub association_category: AssociationCategory,
    /// Its number in HubSpot.
    pub association_type_id: u32,
}

/// The record at the other end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Target {
    id: String,
}

/// One association: with which record, of which types.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Association {
    to: Target,
    types: Vec<AssociationType>,
}

/// All associations of one course, possibly none.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
#[serde(transparent)]
pub struct Associations(Vec<Association>);

impl Associations {
    /// Parses HubSpot's own JSON shape.
    pub fn parse(value: Value) -> Result<Self, InvalidValue> {
        let list: Vec<Association> = serde_json::from_value(value).map_err(|error| {
            InvalidValue::new(format!(
                "associations are not in HubSpot's shape \
                 [{{\"to\":{{\"id\":\"…\"}},\"types\":[{{\"associationCategory\":\"…\",\"associationTypeId\":0}}]}}]: {error}"
            ))
        })?;
        if list.iter().any(|link| link.to.id.is_empty() || link.types.is_empty()) {
            return Err(InvalidValue::new("an association needs the id of a record and at least one type"));
        }
        if list
            .iter()
            .flat_map(|link| &link.types)
            .any(|kind| kind.association_type_id > i32::MAX.unsigned_abs())
        {
            return Err(InvalidValue::new("an association type id exceeds HubSpot's maximum of 2147483647"));
        }
        Ok(Self(list))
    }

    /// Parses associations for a new row: each only once, because HubSpot refuses a course that repeats one. A
    /// trigger of the table refuses a repeated one as well; older rows may still hold one.
    pub fn parse_new(value: Value) -> Result<Self, InvalidValue> {
        let associations = Self::parse(value)?;
        let mut seen = HashSet::new();
        let pairs = associations.0.iter().flat_map(|link| link.types.iter().map(|kind| (&link.to.id, kind)));
        for (id, kind) in pairs {
            if !seen.insert((id, kind)) {
                return Err(InvalidValue::new(format!(
                    "the association to {id:?} of type {} is repeated; list it only once",
                    kind.association_type_id
                )));
            }
        }
        Ok(associations)
    }

    /// Whether there are no associations.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The associations as the JSON array that the outbox stores.
    #[must_use]
    pub fn to_json(&self) -> Value {
        serde_json::to_value(self).unwrap_or_else(|_| Value::Array(Vec::new()))
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    const GOOD: &str =
        r#"[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]"#;

    #[test]
    fn hubspots_own_shape_is_parsed_and_written_unchanged() {
        for text in ["[]", GOOD] {
            let parsed = Associations::parse(serde_json::from_str(text).unwrap()).unwrap();
            assert_eq!(parsed.to_json().to_string(), text);
        }
    }

    fn link(id: &str, kinds: &[(&str, u32)]) -> serde_json::Value {
        let kinds: Vec<_> = (kinds.iter())
            .map(|(category, number)| json!({"associationCategory": category, "associationTypeId": number}))
            .collect();
        json!({"to": {"id": id}, "types": kinds})
    }

    #[test]
    fn a_new_row_may_not_repeat_an_association() {
        let (one, other) = (("USER_DEFINED", 1), ("USER_DEFINED", 2));
        for good in [
            json!([]),
            json!([link("1", &[one, other])]),
            json!([link("1", &[one]), link("1", &[other])]),
            json!([link("1", &[one]), link("2", &[one])]),
            json!([link("1", &[one, ("WORK", 1)])]),
        ] {
            assert!(Associations::parse_new(good.clone()).is_ok(), "{good}");
        }
        for bad in [
            json!([link("1", &[one, one])]),
            json!([link("1", &[one]), link("1", &[one])]),
            json!([link("1", &[one]), link("2", &[one]), link("1", &[other, one])]),
        ] {
            let why = Associations::parse_new(bad.clone()).unwrap_err().to_string();
            assert!(why.contains("association to \"1\" of type 1"), "{why}");
            // A row that is older than the check.
            assert!(Associations::parse(bad).is_ok());
        }
    }

    #[test]
    fn other_shapes_are_refused() {
        for bad in [
            "{}",
            r#"[{"to":{"id":42},"types":[]}]"#,
            r#"[{"to":{"id":"42"},"types":[]}]"#,
            r#"[{"to":{"id":""},"types":[{"associationCategory":"WORK","associationTypeId":1}]}]"#,
            r#"[{"to":{"id":"42"},"types":[{"associationCategory":"OTHER","associationTypeId":1}]}]"#,
            r#"[{"to":{"id":"42"},"types":[{"associationCategory":"WORK","associationTypeId":"1"}]}]"#,
            r#"[{"types":[{"associationCategory":"WORK","associationTypeId":1}]}]"#,
        ] {
            assert!(Associations::parse(serde_json::from_str(bad).unwrap()).is_err(), "{bad} passed");
        }
    }
}
