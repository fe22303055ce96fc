//! Responses of the OAuth token endpoint: a token, or a refusal in the form of RFC 6749 or in HubSpot's older form. Pure.
//!
//! Sources: HubSpot's description of `/oauth/2026-03/token`, recorded responses of `/oauth/v1/token`, RFC 6749 section 5.2.

use secrecy::{ExposeSecret, SecretString};
use serde::{Deserialize, Deserializer};
use serde_json::Value;

use crate::course::clip;

/// How much of the endpoint's text is kept, in bytes.
const REASON_BYTES: usize = 500;

/// A granted token.
#[derive(Deserialize)]
pub(crate) struct TokenReply {
    pub(crate) access_token: SecretString,
    /// Seconds. RFC 6749 allows to omit it, and some gateways write it as text.
    #[serde(default, deserialize_with = "seconds")]
    pub(crate) expires_in: Option<u64>,
    pub(crate) refresh_token: Option<SecretString>,
}

fn seconds<'de, D: Deserializer<'de>>(from: D) -> Result<Option<u64>, D::Error> {
    Ok(match Value::deserialize(from)? {
        Value::Number(number) => number.as_u64(),
        Value::String(text) => text.trim().parse().ok(),
        _ => None,
    })
}

/// A refusal. Fields of the wrong type read as absent.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct TokenRefusal {
    /// The code of RFC 6749, such as `invalid_grant`.
    error: Option<String>,
    /// HubSpot's older code, such as `BAD_REFRESH_TOKEN`.
    status: Option<String>,
    /// The text: `error_description`, else the older `message`.
    text: Option<String>,
}

impl TokenRefusal {
    /// Decodes a body. An unreadable body is a refusal without a reason.
    pub(crate) fn read(bytes: &[u8]) -> Self {
        let body: Value = serde_json::from_slice(bytes).unwrap_or_default();
        Self {
            error: text_field(&body, "error"),
            status: text_field(&body, "status"),
            text: text_field(&body, "error_description").or_else(|| text_field(&body, "message")),
        }
    }

    /// Whether the endpoint reports a temporary failure of its own, so that the same request may succeed later.
    pub(crate) fn is_temporary(&self) -> bool {
        matches!(self.error.as_deref(), Some("server_error" | "temporarily_unavailable" | "slow_down"))
    }

    /// Whether the same credentials are refused again until an operator acts.
    pub(crate) fn needs_operator(&self) -> bool {
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

    /// The endpoint's message without the secrets that were sent, and what to do.
    pub(crate) fn describe(&self, http_status: u16, secrets: &[&SecretString]) -> String {
        if *self == Self::default() {
            return format!("{http_status} without a readable reason");
        }
        let text = self.text.as_deref().unwrap_or("without a message");
        let parts = [self.error.as_deref(), self.status.as_deref(), Some(text)];
        let parts: Vec<&str> = parts.into_iter().flatten().collect();
        let mut message = format!("{http_status} {}", parts.join(" "));
        for secret in secrets {
            let secret = secret.expose_secret();
            let encoded: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
            message = message.replace(secret, "[redacted]").replace(&encoded, "[redacted]");
        }
        format!("{}; {}", clip(&message, REASON_BYTES), self.suggestion())
    }

    /// What the operator should do. HubSpot's older codes are more precise, so they come first.
    fn suggestion(&self) -> &'static str {
        match (self.status.as_deref(), self.error.as_deref()) {
            (Some("BAD_CLIENT_ID"), _) => "check hubspot.oauth.client_id: it is on the app's page in HubSpot",
            (Some("BAD_CLIENT_SECRET"), _) => {
                "check hubspot.oauth.client_secret: it is on the app's page in HubSpot"
            }
            (Some("BAD_REFRESH_TOKEN"), _) | (_, Some("invalid_grant")) => {
                "the refresh token is no longer valid: install the app again and set hubspot.oauth.refresh_token to the new token"
            }
            (Some("BAD_HUB"), _) | (_, Some("access_denied")) => {
                "the app is no longer installed in the account: install it again and set hubspot.oauth.refresh_token to the new \
                 token"
            }
            (_, Some("invalid_client" | "unauthorized_client")) => {
                "check hubspot.oauth.client_id and hubspot.oauth.client_secret: they are on the app's page in HubSpot"
            }
            _ => "check hubspot.oauth.client_id, .client_secret and .refresh_token",
        }
    }
}

fn text_field(body: &Value, name: &str) -> Option<String> {
    body.get(name).and_then(Value::as_str).map(str::to_owned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_rfc_6749_are_read_before_the_older_ones() {
        let body =
            br#"{"error":"invalid_grant","error_description":"refresh token is invalid, expired or revoked",
            "status":"BAD_REFRESH_TOKEN","message":"an older text"}"#;
        let refusal = TokenRefusal::read(body);
        assert_eq!(
            refusal.describe(400, &[]),
            "400 invalid_grant BAD_REFRESH_TOKEN refresh token is invalid, expired or revoked; the refresh token is no \
             longer valid: install the app again and set hubspot.oauth.refresh_token to the new token"
        );
    }

    #[test]
    fn the_lifetime_of_a_token_may_be_text_or_missing() {
        for (member, expected) in [
            (r#","expires_in":1800"#, Some(1800)),
            (r#","expires_in":"1800""#, Some(1800)),
            (r#","expires_in":null"#, None),
            (r#","expires_in":-1"#, None),
            ("", None),
        ] {
            let body = format!(r#"{{"access_token":"a"{member}}}"#);
            assert_eq!(serde_json::from_str::<TokenReply>(&body).unwrap().expires_in, expected, "{body}");
        }
    }

    #[test]
    fn a_refusal_is_final_temporary_or_undecided() {
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
            let refusal = TokenRefusal::read(body.as_bytes());
            assert_eq!((refusal.needs_operator(), refusal.is_temporary()), (operator, temporary), "{body}");
        }
    }

    #[test]
    fn no_secret_is_repeated_in_plain_or_encoded_form() {
        let secret = SecretString::from("sekret&refresh=1");
        let body =
            r#"{"error":"invalid_grant","error_description":"got sekret&refresh=1, sekret%26refresh%3D1"}"#;
        let text = TokenRefusal::read(body.as_bytes()).describe(400, &[&secret]);
        assert!(text.contains("got [redacted], [redacted];") && !text.contains("sekret"), "{text}");
    }

    #[test]
    fn a_body_without_a_reason() {
        for body in ["", "[]", "<html>", "{}"] {
            assert_eq!(
                TokenRefusal::read(body.as_bytes()).describe(401, &[]),
                "401 without a readable reason"
            );
        }
        let text = TokenRefusal::read(br#"{"error":"invalid_client"}"#).describe(401, &[]);
        assert!(
            text.starts_with("401 invalid_client without a message; check hubspot.oauth.client_id and "),
            "{text}"
        );
    }
}
