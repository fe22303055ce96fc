//! The account's record limit of courses: how many records it may have, and how many it has. Read tolerantly: a value
//! that cannot be read is unknown, never an error. Pure.

use serde::Deserialize;
use serde_json::Value;

use super::OBJECT_TYPE;

/// The record limit of courses.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RecordLimit {
    /// Records in the account.
    pub usage: u64,
    /// The most records that the account may have.
    pub limit: u64,
}

/// The limits of HubSpot's own object types, as HubSpot lists them.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RecordLimits {
    hubspot_defined_object_types: Value,
}

impl RecordLimit {
    /// The usage in percent, rounded down. Computed, because HubSpot's own `percentage` has no documented scale.
    #[must_use]
    pub fn percent(self) -> u64 {
        let percent = u128::from(self.usage) * 100 / u128::from(self.limit.max(1));
        u64::try_from(percent).unwrap_or(u64::MAX)
    }

    /// Whether no further record can be created.
    #[must_use]
    pub fn is_full(self) -> bool {
        self.usage >= self.limit
    }
}

impl RecordLimits {
    /// The limit of courses; `None` where HubSpot does not list it, or lists no usable numbers.
    #[must_use]
    pub fn courses(&self) -> Option<RecordLimit> {
        let types = self.hubspot_defined_object_types.as_array()?;
        let is_courses =
            |kind: &&Value| kind.get("objectTypeId").and_then(Value::as_str) == Some(OBJECT_TYPE);
        let courses = types.iter().find(is_courses)?;
        let (usage, limit) = (number(courses.get("usage")?)?, number(courses.get("limit")?)?);
        // A limit of 0 would forbid every course. More likely, no limit is set.
        (limit > 0).then_some(RecordLimit { usage, limit })
    }
}

fn number(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.to_string().parse().ok(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn courses(body: &str) -> Option<(u64, u64, u64)> {
        let limits: RecordLimits = serde_json::from_str(body).unwrap();
        limits.courses().map(|it| (it.usage, it.limit, it.percent()))
    }

    /// A list of limits in which courses have these fields.
    fn listed(fields: &str) -> String {
        format!(
            r#"{{"hubspotDefinedObjectTypes":[7,{{"objectTypeId":"0-421","limit":1,"usage":1}},
                {{"objectTypeId":"0-410",{fields}}}],"customObjectTypes":null}}"#
        )
    }

    #[test]
    fn the_limit_of_courses_is_read_tolerantly() {
        for (body, expected) in [
            (listed(r#""limit":500000,"usage":12345,"percentage":0.02"#), Some((12_345, 500_000, 2))),
            (listed(r#""limit":"100","usage":"100""#), Some((100, 100, 100))),
            (listed(r#""limit":100,"usage":101"#), Some((101, 100, 101))),
            (listed(r#""limit":0,"usage":0"#), None),
            (listed(r#""limit":null,"usage":5"#), None),
            (listed(r#""limit":10"#), None),
            (listed(r#""limit":10,"usage":-1"#), None),
            (r#"{"hubspotDefinedObjectTypes":[]}"#.to_owned(), None),
            (r#"{"hubspotDefinedObjectTypes":{}}"#.to_owned(), None),
            ("{}".to_owned(), None),
        ] {
            assert_eq!(courses(&body), expected, "{body}");
        }
    }

    #[test]
    fn an_account_above_its_limit_is_full() {
        for (usage, limit, full) in [(9, 10, false), (10, 10, true), (11, 10, true), (u64::MAX, 1, true)] {
            assert_eq!(RecordLimit { usage, limit }.is_full(), full, "{usage} of {limit}");
        }
    }
}
