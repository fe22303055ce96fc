//! Whether a response shows that `hubspot.base_url` is wrong: another region's API, or an address that redirects. Pure.

use std::fmt;

use super::error::ErrorReply;
use super::response::{Body, Meta};
use super::status::StatusMeaning;

/// HubSpot's regional API hosts are named after the region. The host of the first region has no region in its name.
const FIRST_REGION: &str = "na1";

/// A wrong base URL: what HubSpot answered, and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrongAddress {
    /// What HubSpot answered.
    pub text: String,
    /// What the operator should do.
    pub suggestion: String,
}

impl fmt::Display for WrongAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}; {}", self.text, self.suggestion)
    }
}

/// What a response shows about the base URL; `None` where the base URL is right.
#[must_use]
pub fn wrong_address(meta: &Meta, body: &Body) -> Option<WrongAddress> {
    match meta.meaning() {
        StatusMeaning::WrongRegion => Some(wrong_region(body)),
        StatusMeaning::Redirect => Some(redirect(meta)),
        _ => None,
    }
}

fn wrong_region(body: &Body) -> WrongAddress {
    let error = match body {
        Body::Error(error) => Some(error.as_ref()),
        Body::Batch(_) | Body::Unreadable(_) => None,
    };
    let message = error.and_then(|error| error.message.as_deref()).unwrap_or("no readable response");
    let text = format!("HubSpot answered 488: the account belongs to another region: {message}");
    let suggestion = match error.and_then(region) {
        Some(FIRST_REGION) => {
            format!(
                "the account is in the region {FIRST_REGION}: set hubspot.base_url to https://api.hubapi.com"
            )
        }
        Some(region) => {
            format!(
                "the account is in the region {region}: set hubspot.base_url to https://api-{region}.hubapi.com"
            )
        }
        None => "set hubspot.base_url to the API of the account's region, such as https://api-eu1.hubapi.com"
            .to_owned(),
    };
    WrongAddress { text, suggestion }
}

/// The region that HubSpot names, in a field or at the end of the message. It becomes part of a suggested URL, so only a
/// short word of letters and digits is accepted.
fn region(error: &ErrorReply) -> Option<&str> {
    let in_field = error.correct_hublet.as_deref();
    in_field.filter(is_region).or_else(|| region_in_message(error).filter(is_region))
}

fn is_region(word: &&str) -> bool {
    (2..=8).contains(&word.len())
        && word.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

fn region_in_message(error: &ErrorReply) -> Option<&str> {
    let (_, after) = error.message.as_deref()?.rsplit_once("Hublet ")?;
    after.split(|c: char| !c.is_ascii_alphanumeric()).next()
}

fn redirect(meta: &Meta) -> WrongAddress {
    let to = meta.location.as_deref().map(|to| format!(" to {to}")).unwrap_or_default();
    WrongAddress {
        text: format!("HubSpot answered {}: a redirect{to}, which is not followed", meta.status),
        suggestion: "set hubspot.base_url to HubSpot's API itself, https://api.hubapi.com or that of the account's region. \
                     A proxy or a sign-in page may have answered instead"
            .to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn answer(status: u16, error: ErrorReply) -> Option<WrongAddress> {
        let location = Some("https://login.example.com/".to_owned());
        wrong_address(&Meta { status, location, ..Meta::default() }, &Body::Error(Box::new(error)))
    }

    fn error(message: &str, hublet: Option<&str>) -> ErrorReply {
        ErrorReply {
            message: Some(message.to_owned()),
            correct_hublet: hublet.map(str::to_owned),
            ..ErrorReply::default()
        }
    }

    #[test]
    fn the_region_becomes_part_of_the_suggested_url() {
        let text = "Hub 12345 is unknown to this Hublet, but it appears to exist in Hublet eu1";
        for (message, hublet, url) in [
            (text, Some("eu1"), "region eu1: set hubspot.base_url to https://api-eu1.hubapi.com"),
            (text, None, "region eu1: set hubspot.base_url to https://api-eu1.hubapi.com"),
            ("unknown", Some("na1"), "region na1: set hubspot.base_url to https://api.hubapi.com"),
            ("unknown", None, "such as https://api-eu1.hubapi.com"),
            ("unknown", Some("evil.example/"), "such as https://api-eu1.hubapi.com"),
        ] {
            let wrong = answer(488, error(message, hublet)).unwrap();
            assert!(wrong.text.contains(message), "{wrong}");
            assert!(wrong.suggestion.contains(url), "{url:?} in {wrong}");
        }
    }

    #[test]
    fn a_redirect_shows_its_location() {
        for status in [301, 302, 307, 308] {
            let wrong = answer(status, ErrorReply::default()).unwrap();
            assert!(
                wrong.text.contains(&format!("{status}: a redirect to https://login.example.com/")),
                "{wrong}"
            );
        }
        let bare = Meta { status: 302, ..Meta::default() };
        let wrong = wrong_address(&bare, &Body::Error(Box::default())).unwrap();
        assert!(wrong.text.contains("302: a redirect, which"), "{wrong}");
    }

    #[test]
    fn other_statuses_show_nothing_about_the_base_url() {
        for status in [200, 207, 304, 400, 401, 404, 487, 489, 500] {
            assert_eq!(answer(status, ErrorReply::default()), None, "{status}");
        }
    }
}
