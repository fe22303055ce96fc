//! Warnings about settings that are accepted but risky. Touches the permissions of secret files.

use std::time::Duration;

use super::secret::SecretSource;
use super::settings::{Config, Credentials, Unconfirmed};

impl Config {
    /// One line for each risky setting, for the log and for `check`. Never fails.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if self.hubspot.unique_property.is_none() {
            warnings.push(self.weaker_guarantee().to_owned());
        }
        warnings.extend(self.long_timeout(
            "the part of shutdown.grace for open requests",
            self.shutdown.for_requests(),
            "a slow request is cut off at shutdown and its courses become unconfirmed",
        ));
        warnings.extend(self.long_timeout(
            "outbox.lease",
            self.outbox.lease,
            "a slow request may outlast the lease under which it was sent",
        ));
        warnings.extend(self.short_settle());
        warnings.extend(self.secrets().into_iter().filter_map(SecretSource::permission_warning));
        warnings
    }

    fn long_timeout(&self, limit_name: &str, limit: Duration, consequence: &str) -> Option<String> {
        let timeout = self.hubspot.request_timeout;
        (timeout >= limit).then(|| {
            format!(
                "hubspot.request_timeout ({}) is not below {limit_name} ({}): {consequence}",
                humantime::format_duration(timeout),
                humantime::format_duration(limit)
            )
        })
    }

    /// Nothing in HubSpot prevents a late archive or update. Only the look afterwards notices it.
    fn short_settle(&self) -> Option<String> {
        let (settle, timeout) = (self.outbox.settle, self.hubspot.request_timeout);
        (settle < timeout).then(|| {
            format!(
                "outbox.settle ({}) is below hubspot.request_timeout ({}): a lost request may be executed after its record \
                 was read, and its effect may stay unnoticed",
                humantime::format_duration(settle),
                humantime::format_duration(timeout)
            )
        })
    }

    fn weaker_guarantee(&self) -> &'static str {
        match self.outbox.unconfirmed {
            Unconfirmed::Hold => {
                "hubspot.unique_property is not set: the outcome of a request without a response cannot be looked up; \
                 its courses are held for an operator (outbox.unconfirmed = \"hold\")"
            }
            Unconfirmed::Resend => {
                "hubspot.unique_property is not set and outbox.unconfirmed is \"resend\": a request without a \
                 response is sent again and may create its courses twice"
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
