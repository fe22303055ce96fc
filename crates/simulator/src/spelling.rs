//! How values of unique properties are changed when they are stored. Pure.

use unicode_normalization::UnicodeNormalization;

use super::behaviour::Keys;

/// The stored form of `value`.
pub(super) fn stored(value: &str, keys: Keys) -> String {
    match keys {
        Keys::AsSent => value.to_owned(),
        Keys::Composed => value.chars().filter(|one| *one != '\u{200b}').nfc().collect(),
        Keys::LowerCase => value.to_lowercase(),
        Keys::Collapsed => value.split_whitespace().collect::<Vec<_>>().join(" "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_changed_according_to_the_switch() {
        let cases = [
            (Keys::AsSent, " A\u{200b}  e\u{301} ", " A\u{200b}  e\u{301} "),
            (Keys::Composed, "A\u{200b}e\u{301}a\u{308}", "A\u{e9}\u{e4}"),
            (Keys::Composed, "e\u{323}\u{302}", "\u{1ec7}"),
            (Keys::Composed, "\u{301}x\u{301}", "\u{301}x\u{301}"),
            (Keys::LowerCase, "KEY-Ä", "key-ä"),
            (Keys::Collapsed, "  a \t b  ", "a b"),
        ];
        for (keys, sent, expected) in cases {
            assert_eq!(stored(sent, keys), expected, "{keys:?} {sent:?}");
        }
    }
}
