//! Formats times, numbers and external texts for a terminal. Pure.

use jiff::Timestamp;

/// The text on one line, without characters that could move the cursor, change colours or reorder text.
pub(super) fn sanitize(text: &str) -> String {
    text.chars().map(|c| if is_control(c) { ' ' } else { c }).collect()
}

/// Whether a terminal may act on the character: break the line, or reorder the text.
fn is_control(c: char) -> bool {
    c.is_control() || matches!(c, '\u{2028}' | '\u{2029}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}')
}

/// The sanitized text, truncated to so many characters.
pub(super) fn truncate(text: &str, characters: usize) -> String {
    let text = sanitize(text);
    match text.char_indices().nth(characters) {
        Some((end, _)) => format!("{}…", text.get(..end).unwrap_or_default()),
        None => text,
    }
}

/// A time to the second, in UTC.
pub(super) fn format_time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%d %H:%M:%SZ").to_string()
}

/// `1 course`, `2 courses`.
pub(super) fn pluralize(count: i64, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sanitized_text_cannot_move_the_cursor() {
        assert_eq!(sanitize("a\u{1b}[31mb\r\nc\u{202e}d"), "a [31mb  c d");
        assert_eq!(truncate("äöü", 2), "äö…");
        assert_eq!(truncate("äöü", 3), "äöü");
    }
}
