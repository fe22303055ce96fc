//! From courses to the bodies of requests, as HubSpot's `OpenAPI` description has them. Pure.

use std::borrow::Cow;

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

use crate::config::ApiVersion;
use crate::course::{Associations, CourseKey, HubSpotId};
use crate::policy::batch::{Batch, Claimed};
use crate::policy::reconcile::Place;
use crate::policy::schema::Sensitivity;

/// HubSpot's object type of courses.
pub(super) const OBJECT_TYPE: &str = "0-410";

/// The URLs of the operations, below one base.
#[derive(Debug, Clone)]
pub(super) struct Urls {
    objects: String,
    properties: String,
    library: String,
    base: String,
}

impl Urls {
    pub(super) fn new(base: &str, version: &ApiVersion) -> Self {
        let of = |area: &str| match version {
            ApiVersion::V3 => format!("{base}/crm/v3/{area}"),
            ApiVersion::Dated(date) => format!("{base}/crm/{area}/{date}"),
        };
        Self {
            objects: format!("{}/{OBJECT_TYPE}", of("objects")),
            properties: format!("{}/{OBJECT_TYPE}", of("properties")),
            library: of("object-library"),
            base: base.to_owned(),
        }
    }

    pub(super) fn create(&self) -> String {
        format!("{}/batch/create", self.objects)
    }

    pub(super) fn read(&self, place: Place) -> String {
        let archived = match place {
            Place::Live => "false",
            Place::Archived => "true",
        };
        format!("{}/batch/read?archived={archived}", self.objects)
    }

    pub(super) fn archive(&self) -> String {
        format!("{}/batch/archive", self.objects)
    }

    pub(super) fn properties(&self, sensitivity: Sensitivity) -> String {
        let asked = match sensitivity {
            Sensitivity::None => "",
            Sensitivity::Sensitive => "?dataSensitivity=sensitive",
            Sensitivity::HighlySensitive => "?dataSensitivity=highly_sensitive",
        };
        format!("{}{asked}", self.properties)
    }

    pub(super) fn property_groups(&self) -> String {
        format!("{}/groups", self.properties)
    }

    pub(super) fn enablement(&self) -> String {
        format!("{}/enablement", self.library)
    }

    pub(super) fn token_info(&self) -> String {
        format!("{}/oauth/v2/private-apps/get/access-token-info", self.base)
    }

    /// Holds the token: never to be shown.
    pub(super) fn access_token(&self, token: &str) -> String {
        format!("{}/oauth/v1/access-tokens/{token}", self.base)
    }

    pub(super) fn daily_usage(&self) -> String {
        format!("{}/account-info/v3/api-usage/daily/private-apps", self.base)
    }

    pub(super) fn account_details(&self) -> String {
        format!("{}/account-info/v3/details", self.base)
    }

    pub(super) fn search(&self) -> String {
        format!("{}/search", self.objects)
    }

    pub(super) fn record(&self, id: &HubSpotId, property: &str) -> String {
        let id = utf8_percent_encode(id.as_str(), NON_ALPHANUMERIC);
        format!("{}/{id}?properties={property}", self.objects)
    }

    pub(super) fn token(&self) -> String {
        format!("{}/oauth/v1/token", self.base)
    }
}

#[derive(Serialize)]
struct CreateBody<'a> {
    inputs: Vec<Input<'a>>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Input<'a> {
    properties: Sent<'a>,
    associations: &'a Associations,
    object_write_trace_id: String,
}

struct Sent<'a> {
    batch: &'a Batch,
    course: &'a Claimed,
}

impl Serialize for Sent<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        for (name, value) in self.batch.sent(self.course) {
            map.serialize_entry(name, &value)?;
        }
        map.end()
    }
}

/// The body that creates the courses of a batch.
pub fn create_body(batch: &Batch) -> serde_json::Result<String> {
    let input = |(position, course)| Input {
        properties: Sent { batch, course },
        associations: &course.associations,
        object_write_trace_id: batch.trace_id(position),
    };
    serde_json::to_string(&CreateBody { inputs: batch.courses().iter().enumerate().map(input).collect() })
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct ReadBody<'a> {
    id_property: &'a str,
    inputs: Vec<Id<'a>>,
    properties: [&'a str; 1],
    properties_with_history: [&'a str; 0],
}

#[derive(Serialize)]
struct Id<'a> {
    id: Cow<'a, str>,
}

/// The body that looks courses up by the unique property, and asks for it back.
pub(super) fn read_body<'a>(
    keys: impl Iterator<Item = &'a CourseKey>,
    unique_property: &'a str,
) -> serde_json::Result<String> {
    serde_json::to_string(&ReadBody {
        id_property: unique_property,
        inputs: keys.map(|key| Id { id: Cow::Borrowed(key.as_str()) }).collect(),
        properties: [unique_property],
        properties_with_history: [],
    })
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use uuid::Uuid;

    use super::*;
    use crate::course::Properties;
    use crate::policy::batch::RowId;

    fn claimed(associations: &str) -> Claimed {
        Claimed {
            id: RowId(1),
            key: CourseKey::parse("A-1").unwrap(),
            properties: Properties::parse(serde_json::from_str(r#"{"n":50,"s":"x","gone":null}"#).unwrap())
                .unwrap(),
            associations: Associations::parse(serde_json::from_str(associations).unwrap()).unwrap(),
            attempts: 1,
            faults: 0,
            doubts: 0,
            created_at: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_create_has_every_field_of_the_description() {
        let link = r#"[{"to":{"id":"42"},"types":[{"associationCategory":"HUBSPOT_DEFINED","associationTypeId":938}]}]"#;
        let claims = vec![claimed(link), claimed("[]")];
        let (batch, _) = Batch::assemble(Uuid::nil(), claims, Some("key"), Timestamp::UNIX_EPOCH);
        let id = Uuid::nil();
        let expected = format!(
            r#"{{"inputs":[{{"properties":{{"n":"50","s":"x","key":"A-1"}},"associations":{link},"objectWriteTraceId":"{id}:0"}},{{"properties":{{"n":"50","s":"x","key":"A-1"}},"associations":[],"objectWriteTraceId":"{id}:1"}}]}}"#
        );
        assert_eq!(create_body(&batch).unwrap(), expected);
    }

    #[test]
    fn a_read_asks_by_the_unique_property_and_wants_it_back() {
        let key = CourseKey::parse("A-1").unwrap();
        assert_eq!(
            read_body([&key].into_iter(), "key").unwrap(),
            r#"{"idProperty":"key","inputs":[{"id":"A-1"}],"properties":["key"],"propertiesWithHistory":[]}"#
        );
    }

    #[test]
    fn both_path_forms() {
        let urls = Urls::new("https://api.hubapi.com", &ApiVersion::V3);
        assert_eq!(urls.create(), "https://api.hubapi.com/crm/v3/objects/0-410/batch/create");
        let urls = Urls::new("http://127.0.0.1:1", &ApiVersion::Dated("2026-03".into()));
        assert_eq!(urls.create(), "http://127.0.0.1:1/crm/objects/2026-03/0-410/batch/create");
        assert_eq!(
            urls.read(Place::Archived),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410/batch/read?archived=true"
        );
        assert_eq!(urls.token(), "http://127.0.0.1:1/oauth/v1/token");
        assert_eq!(
            urls.properties(Sensitivity::Sensitive),
            "http://127.0.0.1:1/crm/properties/2026-03/0-410?dataSensitivity=sensitive"
        );
        assert_eq!(urls.enablement(), "http://127.0.0.1:1/crm/object-library/2026-03/enablement");
        assert_eq!(urls.search(), "http://127.0.0.1:1/crm/objects/2026-03/0-410/search");
        let id = HubSpotId::parse("7/../8").unwrap();
        assert_eq!(
            urls.record(&id, "n"),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410/7%2F%2E%2E%2F8?properties=n"
        );
    }
}
