//! Redacts what looks like a secret, and detects unprintable characters. Pure.

use std::borrow::Cow;
use std::ops::Range;

const REDACTED: &str = "[redacted]";

/// Replaces what looks like a HubSpot token, a bearer token or the user and password of a URL.
///
/// A second line of defence: no secret should reach a message in the first place.
#[must_use]
pub fn redact(text: &str) -> Cow<'_, str> {
    let Some(mut secret) = first_secret(text) else { return Cow::Borrowed(text) };
    let (mut clean, mut rest) = (String::with_capacity(text.len()), text);
    loop {
        clean.push_str(rest.get(..secret.start).unwrap_or_default());
        clean.push_str(REDACTED);
        rest = rest.get(secret.end..).unwrap_or_default();
        match first_secret(rest) {
            Some(next) => secret = next,
            None => break,
        }
    }
    clean.push_str(rest);
    Cow::Owned(clean)
}

/// Whether a character could move a cursor, start a line or change the direction of the text around it.
#[must_use]
pub fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{061c}' | '\u{200e}' | '\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

fn first_secret(text: &str) -> Option<Range<usize>> {
    [access_token(text), bearer_token(text), user_info(text)]
        .into_iter()
        .flatten()
        .min_by_key(|found| found.start)
}

/// `pat-na1-…`
fn access_token(text: &str) -> Option<Range<usize>> {
    text.match_indices("pat-").find_map(|(start, prefix)| {
        let token = text.get(start + prefix.len()..)?;
        let (region, _) = token.split_once('-')?;
        let is_region = region.len() >= 3
            && region.starts_with(|c: char| c.is_ascii_lowercase())
            && region.ends_with(|c: char| c.is_ascii_digit())
            && region.bytes().all(|b| b.is_ascii_alphanumeric());
        let length = prefix_length(token, |c| c.is_ascii_alphanumeric() || c == '-' || c == '_');
        is_region.then_some(start..start + prefix.len() + length)
    })
}

/// The token after `Bearer `.
fn bearer_token(text: &str) -> Option<Range<usize>> {
    text.match_indices("earer ").find_map(|(found, prefix)| {
        let start = found + prefix.len();
        let token = text.get(start..)?;
        let length = prefix_length(token, |c| c.is_ascii_graphic() && !matches!(c, '"' | '\'' | '\\' | ','));
        (length > 0).then_some(start..start + length)
    })
}

/// `user:password` in `scheme://user:password@host`.
fn user_info(text: &str) -> Option<Range<usize>> {
    text.match_indices("://").find_map(|(found, prefix)| {
        let start = found + prefix.len();
        let url = text.get(start..)?;
        // A password may contain a slash that should have been percent-encoded, so a slash does not end it.
        let length = prefix_length(url, |c| !c.is_whitespace() && !matches!(c, '"' | '\\'));
        let length = url.get(..length)?.rfind('@')?;
        (length > 0).then_some(start..start + length)
    })
}

/// The length of the longest prefix whose characters all pass.
fn prefix_length(text: &str, passes: impl Fn(char) -> bool) -> usize {
    text.find(|c| !passes(c)).unwrap_or(text.len())
}

#[cfg(test)]
mod tests {
    use super::redact;

    #[test]
    fn redacts_what_looks_like_a_secret_and_nothing_else() {
        let cases = [
            ("token pat-na1-1111-abcd, sent", "token [redacted], sent"),
            ("\u{1b}[2m=\u{1b}[0mpat-eu1-simulator", "\u{1b}[2m=\u{1b}[0m[redacted]"),
            ("pat-na1-a pat-na2-b", "[redacted] [redacted]"),
            (r#"{"authorization":"Bearer abc.def=="}"#, r#"{"authorization":"Bearer [redacted]"}"#),
            ("bearer abc", "bearer [redacted]"),
            ("Authorization: Bearer pat-na1-1111", "Authorization: Bearer [redacted]"),
            ("postgres://u:p@db/x", "postgres://[redacted]@db/x"),
            ("postgres://u:p/w#@db/x and https://h/p", "postgres://[redacted]@db/x and https://h/p"),
            ("https://api.hubapi.com/crm/v3", "https://api.hubapi.com/crm/v3"),
            ("mail a@b.example, the pat-a-cake course", "mail a@b.example, the pat-a-cake course"),
            ("größer als 5", "größer als 5"),
            ("", ""),
        ];
        for (text, clean) in cases {
            assert_eq!(redact(text), clean);
        }
    }
}
