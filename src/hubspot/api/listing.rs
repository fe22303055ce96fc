//! Pages of records, as HubSpot lists them: in order of id, without a total, and without a snapshot. What is created or
//! deleted meanwhile appears or disappears. Pure.

use std::collections::BTreeMap;

use serde::Deserialize;

use super::lenient::{items, lenient};
use super::response::CourseRecord;

/// The most records of one page that HubSpot accepts.
pub(crate) const MAX_PAGE: u16 = 100;

/// One page of a list.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
pub struct RecordPage {
    /// The records. `None` where one could not be read.
    #[serde(deserialize_with = "items")]
    pub results: Vec<Option<CourseRecord>>,
    /// Absent on the last page. A page may be short, or empty, although there are more.
    #[serde(deserialize_with = "lenient")]
    paging: BTreeMap<String, PageLink>,
}

/// The position of another page.
#[derive(Debug, Clone, Default, PartialEq, Deserialize)]
#[serde(default)]
struct PageLink {
    #[serde(deserialize_with = "lenient")]
    after: Option<String>,
}

impl RecordPage {
    /// The cursor of the next page; `None`: this is the last one.
    #[must_use]
    pub fn next(&self) -> Option<&str> {
        self.paging.get("next")?.after.as_deref().filter(|after| !after.is_empty())
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
        ] {
            let page = page(json);
            assert_eq!((page.results.len(), page.next()), (records, next), "{json}");
        }
        let unreadable = page(r#"{"results":[{"id":"1"},7]}"#).results;
        assert_eq!((unreadable[0].is_some(), unreadable[1].is_some()), (true, false));
    }
}
