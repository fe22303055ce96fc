//! What the OAuth token endpoint answers: a token, or a refusal, after RFC 6749 or in HubSpot's older form. Pure.
//!
//! Sources: HubSpot's description of `/oauth/2026-03/token`, recorded answers of `/oauth/v1/token`, RFC 6749 section 5.2.

use secrecy::{ExposeSecret, SecretString};
use serde::Deserialize;
use serde_json::Value;

use crate::course::clip;

/// How much of the endpoint's own text is kept, in bytes.
const REASON_BYTES: usize = 500;

/// A granted token.
#[derive(Deserialize)]
pub(super) struct TokenReply {
    pub(super) access_token: SecretString,
    pub(super) expires_in: u64,
    pub(super) refresh_token: Option<SecretString>,
}

/// A refusal. Fields of the wrong type read as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Refusal {
    /// The code of RFC 6749, such as `invalid_grant`.
    error: Option<String>,
    /// HubSpot's older code, such as `BAD_REFRESH_TOKEN`.
    status: Option<String>,
    /// The text: `error_description`, else the older `message`.
    text: Option<String>,
}

impl Refusal {
    /// Reads a body; an unreadable one gives a refusal without a reason.
    pub(super) fn read(bytes: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        let field = |name: &str| body.get(name).and_then(Value::as_str).map(str::to_owned);
        Self {
            error: field("error"),
            status: field("status"),
            text: field("error_description").or_else(|| field("message")),
        }
    }

    /// Whether the endpoint reports a failure of its own, after which the same request may succeed.
    pub(super) fn is_temporary(&self) -> bool {
        matches!(self.error.as_deref(), Some("server_error" | "temporarily_unavailable" | "slow_down"))
    }

    /// Whether the same credentials are refused again until an operator acts.
    pub(super) fn needs_an_operator(&self) -> bool {
        let by_error = matches!(
            self.error.as_deref(),
            Some(
                "invalid_grant"
                    | "invalid_client"
                    | "unauthorized_client"
                    | "access_denied"
                    | "invalid_scope"
                    | "unsupported_grant_type"
            )
        );
        by_error || self.status.as_deref().is_some_and(|status| status.starts_with("BAD_"))
    }

    /// The refusal in the endpoint's own words, without the secrets that were sent, and what to do about it.
    pub(super) fn describe(&self, http_status: u16, secrets: &[&SecretString]) -> String {
        if *self == Self::default() {
            return format!("{http_status} without a readable reason");
        }
        let text = self.text.as_deref().unwrap_or("without a message");
        let parts = [self.error.as_deref(), self.status.as_deref(), Some(text)];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let mut words = format!("{http_status} {}", parts.join(" "));
        for secret in secrets {
            let secret = secret.expose_secret();
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            words = words.replace(secret, "[redacted]").replace(&encoded, "[redacted]");
        }
        format!("{}; {}", clip(&words, REASON_BYTES), self.suggestion())
    }

    /// What the operator does about it. HubSpot's older codes are the more precise ones.
    fn suggestion(&self) -> &'static str {
        match (self.status.as_deref(), self.error.as_deref()) {
            (Some("BAD_CLIENT_ID"), _) => "check hubspot.oauth.client_id: it is on the app's page in HubSpot",
            (Some("BAD_CLIENT_SECRET"), _) => {
                "check hubspot.oauth.client_secret: it is on the app's page in HubSpot"
            }
            (Some("BAD_REFRESH_TOKEN"), _) | (_, Some("invalid_grant")) => {
                "the grant has ended: install the app again and set hubspot.oauth.refresh_token to the new one"
            }
            (Some("BAD_HUB"), _) | (_, Some("access_denied")) => {
                "the app is not installed in the account any more: install it again and set \
                 hubspot.oauth.refresh_token to the new one"
            }
            (_, Some("invalid_client" | "unauthorized_client")) => {
                "check hubspot.oauth.client_id and hubspot.oauth.client_secret: they are on the app's page in HubSpot"
            }
            _ => "check hubspot.oauth.client_id, .client_secret and .refresh_token",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_rfc_6749_are_read_before_the_older_ones() {
        let body =
            br#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked",
            "status":"BAD_REFRESH_TOKEN","message":"an older text"}"#;
        let refusal = Refusal::read(body);
        assert_eq!(
            refusal.describe(400, &[]),
            "400 invalid_grant BAD_REFRESH_TOKEN refresh token is invalid, expired or revoked; the grant has ended: install \
             the app again and set hubspot.oauth.refresh_token to the new one"
        );
    }

    #[test]
    fn who_has_to_act() {
        for (body, operator, temporary) in [
            (r#"{"error":"invalid_grant"}"#, true, false),
            (r#"{"error":"invalid_client","error_description":"x"}"#, true, false),
            (r#"{"status":"BAD_HUB","message":"x","error":"access_denied"}"#, true, false),
            (r#"{"status":"BAD_CLIENT_ID","message":"x"}"#, true, false),
            (r#"{"error":"temporarily_unavailable"}"#, false, true),
            (r#"{"error":"server_error"}"#, false, true),
            (r#"{"error":"brand_new"}"#, false, false),
            (r#"{"status":"error","message":"x"}"#, false, false),
            (r#"{"error":7}"#, false, false),
            ("<html>", false, false),
            ("", false, false),
        ] {
            let refusal = Refusal::read(body.as_bytes());
            assert_eq!(
                (refusal.needs_an_operator(), refusal.is_temporary()),
                (operator, temporary),
                "{body}"
            );
        }
    }

    #[test]
    fn no_secret_is_repeated_neither_plain_nor_as_it_was_sent() {
        let secret = SecretString::from("sekret&refresh=1");
        let body =
            r#"{"error":"invalid_grant","error_description":"got sekret&refresh=1, sekret%26refresh%3D1"}"#;
        let text = Refusal::read(body.as_bytes()).describe(400, &[&secret]);
        assert!(text.contains("got [redacted], [redacted];") && !text.contains("sekret"), "{text}");
    }

    #[test]
    fn a_body_without_a_reason() {
        for body in ["", "[]", "<html>", "{}"] {
            assert_eq!(Refusal::read(body.as_bytes()).describe(401, &[]), "401 without a readable reason");
        }
        let text = Refusal::read(br#"{"error":"invalid_client"}"#).describe(401, &[]);
        assert!(
            text.starts_with("401 invalid_client without a message; check hubspot.oauth.client_id and "),
            "{text}"
        );
    }
}
