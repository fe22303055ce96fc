//! Requests for all records of an account, for the operators' commands: a page of the list, a count, and the keys of
//! records. Each method sends one request.

use crate::course::{CourseKey, HubSpotId};
use crate::hubspot::api::listing::{FoundCount, RecordPage};
use crate::hubspot::api::read::ReadResponse;
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::request;
use crate::hubspot::api::response::{Exchange, NotSent};
use crate::hubspot::client::Client;

impl Client {
    /// The page after this cursor, with these properties. HubSpot ignores names of properties that do not exist.
    pub async fn list_records(
        &self,
        after: Option<&str>,
        properties: &[&str],
        state: RecordState,
    ) -> ReadResponse<RecordPage> {
        let url = self.urls.list(after, properties, state);
        self.ask(self.http.get(url)).await
    }

    /// The number of live records that have no value of this property. HubSpot's search lags behind by seconds.
    pub async fn count_without(&self, property: &str) -> ReadResponse<FoundCount> {
        let body = request::search_without(property);
        self.ask(self.with_json(self.urls.search(), &body)).await
    }

    /// Writes keys onto existing records, and nothing else.
    pub async fn set_keys(&self, keys: &[(&HubSpotId, &CourseKey)], unique_property: &str) -> Exchange {
        match request::encode_keys(keys, unique_property) {
            Ok(body) => self.post(self.urls.update(), body).await,
            Err(error) => Exchange::NotSent(NotSent::Unbuildable(error.to_string())),
        }
    }
}
