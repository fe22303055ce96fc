//! The URLs of HubSpot's operations, by base URL and API version. Pure.

use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};

use crate::config::ApiVersion;
use crate::course::{HubSpotId, Write};
use crate::hubspot::api::OBJECT_TYPE;
use crate::hubspot::api::listing::MAX_PAGE;
use crate::hubspot::api::properties::Sensitivity;
use crate::hubspot::api::record_state::RecordState;

/// The URLs of the operations below one base URL.
#[derive(Debug, Clone)]
pub(super) struct Urls {
    objects: String,
    properties: String,
    library: String,
    limits: String,
    base: String,
    version: ApiVersion,
}

/// The dated version of the OAuth endpoints that replaces v1.
const OAUTH_DATED: &str = "2026-03";

impl Urls {
    pub(super) fn new(base: &str, version: &ApiVersion) -> Self {
        Self {
            objects: format!("{}/{OBJECT_TYPE}", crm(base, version, "objects")),
            properties: format!("{}/{OBJECT_TYPE}", crm(base, version, "properties")),
            library: crm(base, version, "object-library"),
            limits: crm(base, version, "limits"),
            base: base.to_owned(),
            version: version.clone(),
        }
    }

    pub(super) fn write(&self, write: Write) -> String {
        format!("{}/batch/{}", self.objects, write.as_str())
    }

    pub(super) fn create(&self) -> String {
        self.write(Write::Create)
    }

    pub(super) fn read(&self, state: RecordState) -> String {
        format!("{}/batch/read?archived={}", self.objects, is_archived(state))
    }

    /// A page of the list: the largest that HubSpot accepts.
    pub(super) fn list(&self, after: Option<&str>, properties: &[&str], state: RecordState) -> String {
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let names: Vec<String> = properties.iter().map(|name| encode(name)).collect();
        let after = after.map(|after| format!("&after={}", encode(after))).unwrap_or_default();
        let (archived, names) = (is_archived(state), names.join(","));
        format!("{}?limit={MAX_PAGE}&archived={archived}&properties={names}{after}", self.objects)
    }

    pub(super) fn update(&self) -> String {
        self.write(Write::Update)
    }

    pub(super) fn archive(&self) -> String {
        self.write(Write::Archive)
    }

    pub(super) fn properties(&self, sensitivity: Sensitivity) -> String {
        let query = match sensitivity {
            Sensitivity::None => "",
            Sensitivity::Sensitive => "?dataSensitivity=sensitive",
            Sensitivity::HighlySensitive => "?dataSensitivity=highly_sensitive",
        };
        format!("{}{query}", self.properties)
    }

    pub(super) fn property(&self, name: &str) -> String {
        format!("{}/{}", self.properties, utf8_percent_encode(name, NON_ALPHANUMERIC))
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

    /// Contains the token: must not be logged.
    pub(super) fn access_token(&self, token: &str) -> String {
        format!("{}/oauth/v1/access-tokens/{token}", self.base)
    }

    pub(super) fn introspect(&self) -> String {
        format!("{}/oauth/{}/token/introspect", self.base, self.oauth_date())
    }

    /// Whether the configured API version is v3, to which OAuth v1 belongs.
    pub(super) fn is_v3(&self) -> bool {
        self.version == ApiVersion::V3
    }

    /// The dated version of OAuth: the configured one, or the successor of v1.
    fn oauth_date(&self) -> &str {
        match &self.version {
            ApiVersion::V3 => OAUTH_DATED,
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

    /// The OAuth token endpoints: the one of the configured version, then the fallback.
    pub(super) fn tokens(&self) -> [String; 2] {
        let v1 = format!("{}/oauth/v1/token", self.base);
        let dated = format!("{}/oauth/{}/token", self.base, self.oauth_date());
        if self.is_v3() { [v1, dated] } else { [dated, v1] }
    }
}

fn is_archived(state: RecordState) -> bool {
    match state {
        RecordState::Live => false,
        RecordState::Archived => true,
    }
}

/// The path of an area of the CRM API: v3 has the version first, the dated versions have it last.
fn crm(base: &str, version: &ApiVersion, area: &str) -> String {
    match version {
        ApiVersion::V3 => format!("{base}/crm/v3/{area}"),
        ApiVersion::Dated(date) => format!("{base}/crm/{area}/{date}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_of_v3_and_of_a_dated_version() {
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
            urls.read(RecordState::Archived),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410/batch/read?archived=true"
        );
        assert_eq!(
            urls.properties(Sensitivity::Sensitive),
            "http://127.0.0.1:1/crm/properties/2026-03/0-410?dataSensitivity=sensitive"
        );
        assert_eq!(urls.enablement(), "http://127.0.0.1:1/crm/object-library/2026-03/enablement");
        assert_eq!(urls.search(), "http://127.0.0.1:1/crm/objects/2026-03/0-410/search");
        assert_eq!(
            urls.list(None, &["a_b", "c"], RecordState::Live),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410?limit=100&archived=false&properties=a%5Fb,c"
        );
        assert_eq!(
            urls.list(Some("9&x"), &["c"], RecordState::Archived),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410?limit=100&archived=true&properties=c&after=9%26x"
        );
        let id = HubSpotId::parse("7/../8").unwrap();
        assert_eq!(
            urls.record(&id, "n"),
            "http://127.0.0.1:1/crm/objects/2026-03/0-410/7%2F%2E%2E%2F8?properties=n"
        );
    }
}
