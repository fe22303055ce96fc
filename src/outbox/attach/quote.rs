//! Names and values as they are written in SQL. Pure.

/// A name in double quotes. Always quoted, so that no name is taken for a keyword or folded to lower case.
pub(super) fn identifier(name: &str) -> String {
    format!("\"{}\"", name.replace('"', "\"\""))
}

/// A text in single quotes, on one line. The form `E'…'` is used for a backslash, so it does not depend on a setting.
pub(super) fn literal(text: &str) -> String {
    let quoted = text.replace('\'', "''");
    if quoted.contains(['\\', '\n', '\r']) {
        let escaped = quoted.replace('\\', "\\\\").replace('\n', "\\n").replace('\r', "\\r");
        format!("E'{escaped}'")
    } else {
        format!("'{quoted}'")
    }
}

/// A delimiter for a text in dollar quotes that does not occur in the text.
pub(super) fn dollar_delimiter(text: &str) -> String {
    let mut delimiter = "$course_sync$".to_owned();
    let mut number = 1_u32;
    while text.contains(&delimiter) {
        delimiter = format!("$course_sync_{number}$");
        number += 1;
    }
    delimiter
}

/// A text as one line of a comment.
pub(super) fn comment(text: &str) -> String {
    format!("-- {}", text.replace(|c: char| c.is_control() || matches!(c, '\u{2028}' | '\u{2029}'), " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_cannot_be_left() {
        for (name, quoted) in [("a", "\"a\""), ("A b", "\"A b\""), ("a\"; drop--", "\"a\"\"; drop--\"")] {
            assert_eq!(identifier(name), quoted);
        }
        for (text, quoted) in
            [("it's", "'it''s'"), ("a\\'b", "E'a\\\\''b'"), ("a\nb", "E'a\\nb'"), ("", "''")]
        {
            assert_eq!(literal(text), quoted);
        }
        assert_eq!(dollar_delimiter("x"), "$course_sync$");
        assert_eq!(dollar_delimiter("$course_sync$ $course_sync_1$"), "$course_sync_2$");
        assert_eq!(comment("a\n; drop table x"), "-- a ; drop table x");
    }
}
