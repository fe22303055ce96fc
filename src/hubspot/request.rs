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
    limits: String,
    base: String,
    version: ApiVersion,
}

/// The dated version of the endpoints that outlive OAuth v1.
const DATED: &str = "2026-03";

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
            limits: of("limits"),
            base: base.to_owned(),
            version: version.clone(),
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

    /// Contains the token: must not be logged or shown.
    pub(super) fn access_token(&self, token: &str) -> String {
        format!("{}/oauth/v1/access-tokens/{token}", self.base)
    }

    pub(super) fn introspect(&self) -> String {
        format!("{}/oauth/{}/token/introspect", self.base, self.dated())
    }

    /// Whether the configured version is the one that OAuth v1 belongs to.
    pub(super) fn is_v3(&self) -> bool {
        self.version == ApiVersion::V3
    }

    /// The dated version of OAuth: the configured one, or the one that follows v1.
    fn dated(&self) -> &str {
        match &self.version {
            ApiVersion::V3 => DATED,
            ApiVersion::Dated(date) => date,
        }
    }

    pub(super) fn record_limits(&self) -> String {
        format!("{}/records", self.limits)
    }

    pub(super) fn daily_usage(&self) -> String {
        format!("{}/account-info/{}/api-usage/daily/private-apps", self.base, self.version)
    }

    pub(super) fn account_details(&self) -> String {
        format!("{}/account-info/{}/details", self.base, self.version)
    }

    pub(super) fn search(&self) -> String {
        format!("{}/search", self.objects)
    }

    pub(super) fn record(&self, id: &HubSpotId, property: &str) -> String {
        let id = utf8_percent_encode(id.as_str(), NON_ALPHANUMERIC);
        format!("{}/{id}?properties={property}", self.objects)
    }

    /// The OAuth token endpoints: the one of the configured version, then the one to fall back to.
    pub(super) fn tokens(&self) -> [String; 2] {
        let v1 = format!("{}/oauth/v1/token", self.base);
        let dated = format!("{}/oauth/{}/token", self.base, self.dated());
        if self.is_v3() { [v1, dated] } else { [dated, v1] }
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
            doubt_property: None,
            is_blamed: false,
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
        assert_eq!(
            urls.tokens(),
            ["https://api.hubapi.com/oauth/v1/token", "https://api.hubapi.com/oauth/2026-03/token"]
        );
        assert_eq!(urls.introspect(), "https://api.hubapi.com/oauth/2026-03/token/introspect");
        assert_eq!(urls.account_details(), "https://api.hubapi.com/account-info/v3/details");
        assert_eq!(urls.record_limits(), "https://api.hubapi.com/crm/v3/limits/records");
        let urls = Urls::new("http://127.0.0.1:1", &ApiVersion::Dated("2026-09".into()));
        assert_eq!(
            urls.tokens(),
            ["http://127.0.0.1:1/oauth/2026-09/token", "http://127.0.0.1:1/oauth/v1/token"]
        );
        assert_eq!(urls.introspect(), "http://127.0.0.1:1/oauth/2026-09/token/introspect");
        assert_eq!(urls.account_details(), "http://127.0.0.1:1/account-info/2026-09/details");
        assert_eq!(
            urls.daily_usage(),
            "http://127.0.0.1:1/account-info/2026-09/api-usage/daily/private-apps"
        );
        assert_eq!(urls.record_limits(), "http://127.0.0.1:1/crm/limits/2026-09/records");
        let urls = Urls::new("http://127.0.0.1:1", &ApiVersion::Dated("2026-03".into()));
        assert_eq!(urls.create(), "http://127.0.0.1:1/crm/objects/2026-03/0-410/batch/create");
        assert_eq!(
            urls.read(Place::Archived),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410/batch/read?archived=true"
        );
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
