//! What is permitted but worth a word at start.

use std::time::Duration;

use super::secret::SecretSource;
use super::settings::{Config, Credentials, Unconfirmed};

impl Config {
    /// What works, but not as well as it could: one line each, for the log and for `check`.
    ///
    /// Looks at the permissions of secret files; never fails.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let request = self.hubspot.request_timeout;
        let not_below = |key: &str, limit: Duration, consequence: &str| {
            (request >= limit).then(|| {
                format!(
                    "hubspot.request_timeout ({}) is not below {key} ({}): {consequence}",
                    humantime::format_duration(request),
                    humantime::format_duration(limit)
                )
            })
        };
        let promise = self.hubspot.unique_property.is_none().then(|| self.weaker_promise().to_owned());
        promise
            .into_iter()
            .chain(not_below(
                "what shutdown.grace leaves to requests",
                self.shutdown.for_requests(),
                "a slow request is cut off at shutdown and its courses become unconfirmed",
            ))
            .chain(not_below(
                "outbox.lease",
                self.outbox.lease,
                "a slow request may outlive the lease it was sent under",
            ))
            .chain(self.secrets().into_iter().filter_map(SecretSource::exposure))
            .collect()
    }

    fn weaker_promise(&self) -> &'static str {
        match self.outbox.unconfirmed {
            Unconfirmed::Hold => {
                "hubspot.unique_property is not set: nothing can prove what became of a request without an answer; \
                 its courses are held for a person (outbox.unconfirmed = \"hold\")"
            }
            Unconfirmed::Resend => {
                "hubspot.unique_property is not set and outbox.unconfirmed is \"resend\": a request without an \
                 answer is sent again and may create its courses twice"
            }
        }
    }

    fn secrets(&self) -> Vec<&SecretSource> {
        let credentials = match &self.hubspot.credentials {
            None => vec![],
            Some(Credentials::AccessToken(token)) => vec![token],
            Some(Credentials::OAuth { client_secret, refresh_token, .. }) => {
                vec![client_secret, refresh_token]
            }
        };
        self.database.url.iter().chain(credentials).collect()
    }
}
