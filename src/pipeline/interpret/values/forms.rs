//! A value in three forms: the exact text, the typed value, and what remains whatever notation HubSpot stores. Pure.
//!
//! Equal forms have equal numbers, so that every record can be compared with every course without comparing texts.

use std::borrow::Cow;
use std::collections::{BTreeSet, HashMap};

use jiff::Timestamp;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use unicode_normalization::UnicodeNormalization;

/// How closely a stored value must agree with the sent one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Level {
    /// Letter by letter.
    Exact,
    /// Numbers by value, dates as instants, lists as sets, text without surrounding white space.
    Typed,
    /// As `Typed`, and text without regard to case, markup and invisible characters.
    Loose,
}

/// A value's forms, as numbers. 0 is the empty value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Forms {
    exact: u32,
    typed: u32,
    loose: u32,
}

impl Forms {
    pub(crate) fn at(self, level: Level) -> u32 {
        match level {
            Level::Exact => self.exact,
            Level::Typed => self.typed,
            Level::Loose => self.loose,
        }
    }

    /// Whether both are equal at this level. Every level includes `Loose`: two texts may be equal as lists of options,
    /// but not as markup.
    pub(crate) fn equals(self, other: Self, level: Level) -> bool {
        self.loose == other.loose && self.at(level) == other.at(level)
    }

    /// HubSpot returns an empty value as empty, as null or not at all.
    pub(crate) fn is_empty(self) -> bool {
        self.loose == 0
    }
}

/// Gives equal forms equal numbers.
#[derive(Debug, Default)]
pub(crate) struct Interner {
    /// By exact text, since records repeat what was sent.
    known: HashMap<String, Forms>,
    numbers: HashMap<String, u32>,
}

impl Interner {
    pub(crate) fn forms(&mut self, text: &str) -> Forms {
        if let Some(forms) = self.known.get(text) {
            return *forms;
        }
        let loose = loose(text);
        let forms =
            Forms { exact: self.number(text), typed: self.number(&typed(text)), loose: self.number(&loose) };
        self.known.insert(text.to_owned(), forms);
        forms
    }

    fn number(&mut self, form: &str) -> u32 {
        if form.is_empty() {
            return 0;
        }
        if let Some(number) = self.numbers.get(form) {
            return *number;
        }
        let number = u32::try_from(self.numbers.len() + 1).unwrap_or(u32::MAX);
        self.numbers.insert(form.to_owned(), number);
        number
    }
}

fn typed(text: &str) -> Cow<'_, str> {
    let text = text.trim();
    quantity(text).map_or_else(|| option_set(text), Cow::Owned)
}

pub(super) fn loose(text: &str) -> String {
    let plain = plain(text);
    let plain = plain.trim();
    quantity(plain).unwrap_or_else(|| option_set(&plain.to_lowercase()).into_owned())
}

/// Several options as a set: sorted, each once. A text without a semicolon is unchanged.
fn option_set(text: &str) -> Cow<'_, str> {
    if !text.contains(';') {
        return Cow::Borrowed(text);
    }
    let options: BTreeSet<&str> =
        text.split(';').map(str::trim).filter(|option| !option.is_empty()).collect();
    let mut set = String::with_capacity(text.len());
    for option in options {
        if !set.is_empty() {
            set.push(';');
        }
        set.push_str(option);
    }
    Cow::Owned(set)
}

/// A text without markup, entities and invisible characters, composed, and with single spaces.
fn plain(text: &str) -> Cow<'_, str> {
    // Most texts are plain already, and this function runs for every value of every record.
    if text.bytes().all(is_plain) && !text.contains("  ") {
        return Cow::Borrowed(text);
    }
    let text: Cow<'_, str> = if text.contains('&') { htmlize::unescape(text) } else { text.into() };
    let text = if text.contains('<') { without_tags(&text).into() } else { text };
    let mut plain = String::with_capacity(text.len());
    let composed: Box<dyn Iterator<Item = char>> =
        if text.is_ascii() { Box::new(text.chars()) } else { Box::new(text.nfc()) };
    for c in composed {
        if c.is_whitespace() {
            if !plain.ends_with(' ') {
                plain.push(' ');
            }
        } else if !is_invisible(c) {
            plain.push(c);
        }
    }
    Cow::Owned(plain)
}

fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'&' | b'<') || byte == b' '
}

fn is_invisible(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{ad}' | '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2064}' | '\u{feff}')
}

/// A tag begins with `<` and a letter, `/` or `!`. A `<` between numbers is not a tag.
fn without_tags(text: &str) -> String {
    let mut clean = String::with_capacity(text.len());
    let mut rest = text;
    while let Some((before, from)) = rest.find('<').and_then(|at| rest.split_at_checked(at)) {
        clean.push_str(before);
        let is_tag = from.chars().nth(1).is_some_and(|c| c.is_ascii_alphabetic() || matches!(c, '/' | '!'));
        match from.find('>').filter(|_| is_tag).and_then(|end| from.get(end + 1..)) {
            Some(after) => rest = after,
            None => {
                clean.push('<');
                rest = from.get(1..).unwrap_or_default();
            }
        }
    }
    clean.push_str(rest);
    clean
}

/// A number, or an instant as its milliseconds since 1970: HubSpot returns either for a date.
fn quantity(text: &str) -> Option<String> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    number(text).or_else(|| number(&instant(text)?.as_millisecond().to_string()))
}

/// A date, or a date with time and offset.
fn instant(text: &str) -> Option<Timestamp> {
    // The parser also accepts shorter forms, which are numbers to HubSpot.
    let is_date = matches!(text.as_bytes(), [y, _, _, _, b'-', _, _, b'-', _, d, ..] if y.is_ascii_digit() && d.is_ascii_digit());
    match text.len() {
        _ if !is_date => None,
        10 => text.parse::<Date>().ok()?.to_zoned(TimeZone::UTC).ok().map(|day| day.timestamp()),
        _ => text.parse().ok(),
    }
}

/// A decimal number of any length by its value: sign, digits without leading and trailing zeros, power of ten.
fn number(text: &str) -> Option<String> {
    if !text.bytes().all(may_be_in_number) {
        return None;
    }
    let (sign, unsigned) = match text.as_bytes().first()? {
        b'-' => ("-", text.get(1..)?),
        b'+' => ("", text.get(1..)?),
        _ => ("", text),
    };
    let (mantissa, power) = match unsigned.split_once(['e', 'E']) {
        Some((mantissa, power)) => (mantissa, power.parse::<i32>().ok()?),
        None => (unsigned, 0),
    };
    let (whole, fraction) = mantissa.split_once('.').unwrap_or((mantissa, ""));
    let digits = format!("{whole}{fraction}");
    // A second point, or a sign within.
    if digits.is_empty() || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let significant = digits.trim_end_matches('0');
    let zeros = digits.len() - significant.len();
    let significant = significant.trim_start_matches('0');
    if significant.is_empty() {
        return Some("#0".to_owned());
    }
    let power = i64::from(power) + i64::try_from(zeros).ok()? - i64::try_from(fraction.len()).ok()?;
    Some(format!("#{sign}{significant}e{power}"))
}

fn may_be_in_number(byte: u8) -> bool {
    byte.is_ascii_digit() || matches!(byte, b'.' | b'+' | b'-' | b'e' | b'E')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn equal(level: Level, one: &str, other: &str) -> bool {
        let mut interner = Interner::default();
        interner.forms(one).at(level) == interner.forms(other).at(level)
    }

    #[test]
    fn notations_of_the_same_value_are_equal() {
        for (one, other) in [
            ("50", "50.0"),
            ("50", "5e1"),
            ("50", "+050.000"),
            ("0.5", ".5"),
            ("-0", "0.00"),
            ("1e3", "1000"),
            ("12345678901234567890.10", "12345678901234567890.1"),
            ("2026-09-01T09:00:00Z", "2026-09-01T09:00:00.000Z"),
            ("2026-09-01T09:00:00Z", "2026-09-01T11:00:00+02:00"),
            ("2026-09-01T09:00:00Z", "1788253200000"),
            ("2026-09-01", "2026-09-01T00:00:00Z"),
            ("2026-09-01", "1788220800000"),
            ("1969-12-31T23:59:59.999Z", "-1"),
            (" Algebra\n", "Algebra"),
            ("mon;wed;fri", "fri; mon;wed"),
            ("mon;mon;", "mon"),
            ("", " "),
        ] {
            assert!(equal(Level::Typed, one, other), "{one:?} {other:?}");
            assert!(equal(Level::Loose, one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn loose_text_ignores_case_markup_and_invisible_characters() {
        for (one, other) in [
            ("Algebra", "ALGEBRA"),
            ("ÄRGER", "ärger"),
            ("<p>Bees &amp; honey</p>", "Bees & honey"),
            ("Bees & honey", "Bees &amp; honey"),
            ("a  b", "a\nb"),
            ("e\u{301}", "\u{e9}"),
            ("a\u{200b}b", "ab"),
            ("A;b", "B;a"),
            ("<b>50</b>", "50.0"),
        ] {
            assert!(!equal(Level::Typed, one, other), "{one:?} {other:?}");
            assert!(equal(Level::Loose, one, other), "{one:?} {other:?}");
        }
    }

    #[test]
    fn different_values_are_not_equal() {
        for (one, other) in [
            ("9007199254740992", "9007199254740993"),
            ("0.1", "0.10000000000000001"),
            ("1e999", "2e999"),
            ("1e99999999999", "1e99999999998"),
            ("NaN", "inf"),
            ("50", "-50"),
            ("1.2.3", "1.23"),
            ("e5", "0"),
            (".", "0"),
            ("2026-09-01T09:00:00Z", "2026-09-01T09:00:00+02:00"),
            ("2026-09-01", "20260901"),
            ("2026-13-01", "2026-01-13"),
            ("a;b", "a;b;c"),
            ("a b", "ab"),
            ("3 < 5", "3"),
            ("x", ""),
            ("0", ""),
        ] {
            assert!(!equal(Level::Loose, one, other), "{one:?} {other:?}");
        }
    }
}
