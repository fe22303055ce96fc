//! Pages of records, as HubSpot lists them: in order of id, without a total, and without a snapshot. What is created or
//! deleted meanwhile appears or disappears. Pure.

use serde::de::Error;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use super::response::CourseRecord;

/// The most records of one page that HubSpot accepts.
pub(crate) const MAX_PAGE: u16 = 100;

/// One page of a list. A body without a list of results, or with a position that cannot be read, is no page: it would look like
/// the last one, and the records after it would be missed.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
pub struct RecordPage {
    /// The records. `None` where one could not be read.
    #[serde(deserialize_with = "listed")]
    pub results: Vec<Option<CourseRecord>>,
    /// Absent on the last page. A page may be short, or empty, although there are more.
    #[serde(default)]
    paging: Option<Paging>,
}

#[derive(Debug, Clone, PartialEq, Deserialize)]
struct Paging {
    #[serde(default)]
    next: Option<PageLink>,
}

/// The position of the next page.
#[derive(Debug, Clone, PartialEq, Deserialize)]
struct PageLink {
    #[serde(deserialize_with = "cursor")]
    after: String,
}

impl RecordPage {
    /// The cursor of the next page; `None`: this is the last one.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        let link = self.paging.as_ref()?.next.as_ref()?;
        Some(link.after.as_str()).filter(|after| !after.is_empty())
    }
}

/// Reads a list, each item on its own.
fn listed<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<Option<CourseRecord>>, D::Error> {
    let list = Vec::<Value>::deserialize(from)?;
    Ok(list.into_iter().map(|item| serde_json::from_value(item).ok()).collect())
}

/// Reads a cursor: HubSpot documents a string, and its cursors are numbers.
fn cursor<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    match Value::deserialize(from)? {
        Value::String(text) => Ok(text),
        Value::Number(number) => Ok(number.to_string()),
        other => Err(D::Error::custom(format!("a cursor cannot be {other}"))),
    }
}

/// The number of records that a search finds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub struct FoundCount {
    /// The number of records.
    pub total: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(json: &str) -> RecordPage {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn the_cursor_decides_whether_there_are_more_pages_and_not_the_number_of_records() {
        for (json, records, next) in [
            (r#"{"results":[{"id":"1"}],"paging":{"next":{"after":"1","link":"https://x"}}}"#, 1, Some("1")),
            (r#"{"results":[],"paging":{"next":{"after":"394"}}}"#, 0, Some("394")),
            (r#"{"results":[{"id":"1"},7,{"id":"2"}]}"#, 3, None),
            (r#"{"results":[],"paging":null}"#, 0, None),
            (r#"{"results":[],"paging":{"next":{"after":""}}}"#, 0, None),
            (r#"{"results":[],"paging":{"prev":{"before":"9"}}}"#, 0, None),
            (r#"{"results":[],"paging":{"next":null}}"#, 0, None),
            (r#"{"results":[{"id":"1"}],"paging":{"next":{"after":394}}}"#, 1, Some("394")),
        ] {
            let page = page(json);
            assert_eq!((page.results.len(), page.next()), (records, next), "{json}");
        }
        for no_page in [
            "{}",
            "[]",
            r#"{"results":null}"#,
            r#"{"status":"error","message":"x"}"#,
            r#"{"results":[],"paging":{"next":{"link":"https://x"}}}"#,
            r#"{"results":[],"paging":{"next":{"after":null}}}"#,
            r#"{"results":[],"paging":{"next":"394"}}"#,
        ] {
            assert!(serde_json::from_str::<RecordPage>(no_page).is_err(), "{no_page}");
        }
        let unreadable = page(r#"{"results":[{"id":"1"},7]}"#).results;
        assert_eq!((unreadable[0].is_some(), unreadable[1].is_some()), (true, false));
    }
}
