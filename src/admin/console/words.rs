//! Formats numbers, times and external texts for the console. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::config::{is_unprintable, redact};
use crate::course::clip;

/// The longest external text that is shown, in bytes.
const MAX_TEXT_BYTES: usize = 2_000;

/// An external text, redacted, truncated, and without characters that could hide or reorder the text around it.
pub(super) fn sanitize(text: &str) -> String {
    clip(&redact(text), MAX_TEXT_BYTES).chars().map(to_printable).collect()
}

fn to_printable(c: char) -> char {
    match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    }
}

/// The text with an upper-case first letter.
pub(super) fn capitalize(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `1234567` as `1,234,567`.
pub(super) fn format_number(number: i64) -> String {
    let digits = number.unsigned_abs().to_string();
    let mut grouped = String::from(if number < 0 { "−" } else { "" });
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 course`, `2 courses`.
pub(super) fn pluralize(count: i64, what: &str) -> String {
    format!("{} {what}{}", format_number(count), if count == 1 { "" } else { "s" })
}

/// A rounded value with its thousands grouped.
#[allow(clippy::cast_possible_truncation)] // saturates, and nothing here is near the edge
pub(super) fn format_rounded(value: f64) -> String {
    format_number(value.round() as i64)
}

/// A duration in one or two units, such as `2 min 30 s`.
#[allow(clippy::cast_possible_truncation)] // saturates
pub(super) fn format_duration(seconds: f64) -> String {
    let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
    let whole = seconds.max(0.0).round() as i64;
    match whole {
        0 if seconds > 0.0 => format!("{} ms", (seconds * 1000.0).round()),
        1..10 if seconds.fract() != 0.0 => format!("{seconds:.1} s"),
        ..90 => format!("{whole} s"),
        whole if whole < 10 * minute => format_two_units(whole, (minute, "min"), (1, "s")),
        whole if whole < hour => format!("{} min", whole / minute),
        whole if whole < day => format_two_units(whole, (hour, "h"), (minute, "min")),
        whole if whole < 10 * day => {
            let name = if whole < 2 * day { "day" } else { "days" };
            format_two_units(whole, (day, name), (hour, "h"))
        }
        whole => format!("{} days", format_number(whole / day)),
    }
}

/// Seconds in two units, such as `3 h 5 min`. A unit: its length in seconds, and its name. The smaller one is left out if
/// it is 0.
fn format_two_units(
    seconds: i64,
    (large, large_name): (i64, &str),
    (small, small_name): (i64, &str),
) -> String {
    let (count, rest) = (seconds / large, seconds % large / small);
    if rest == 0 {
        format!("{count} {large_name}")
    } else {
        format!("{count} {large_name} {rest} {small_name}")
    }
}

/// Seconds from one time to another; 0 if the clocks of database and host disagree.
pub(super) fn seconds_between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A time relative to now, with the full time as a tooltip.
pub(super) fn relative_time(at: Timestamp, now: Timestamp) -> Markup {
    let text = match (seconds_between(at, now), seconds_between(now, at)) {
        (past, ahead) if past < 1.5 && ahead < 1.5 => "just now".to_owned(),
        (past, ahead) if past < ahead => format!("in {}", format_duration(ahead.round())),
        (past, _) => format!("{} ago", format_duration(past.round())),
    };
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(full_time(at)) { (text) } }
}

/// The time of day, with the full time as a tooltip.
pub(super) fn time_of_day(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(full_time(at)) { (at.strftime("%H:%M:%S").to_string()) }
    }
}

fn full_time(at: Timestamp) -> String {
    at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_grouped() {
        for (value, expected) in
            [(0, "0"), (999, "999"), (1_000, "1,000"), (1_234_567, "1,234,567"), (-40_000, "−40,000")]
        {
            assert_eq!(format_number(value), expected);
        }
        assert_eq!(
            (pluralize(1, "course"), pluralize(2_000, "course")),
            ("1 course".into(), "2,000 courses".into())
        );
    }

    #[test]
    fn durations_have_one_or_two_units() {
        for (seconds, expected) in [
            (0.0, "0 s"),
            (0.25, "250 ms"),
            (1.54, "1.5 s"),
            (9.0, "9 s"),
            (61.0, "61 s"),
            (150.0, "2 min 30 s"),
            (1_800.0, "30 min"),
            (7_260.0, "2 h 1 min"),
            (7_200.0, "2 h"),
            (90_000.0, "1 day 1 h"),
            (864_000.0, "10 days"),
            (-5.0, "0 s"),
        ] {
            assert_eq!(format_duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn external_text_cannot_hide_or_reorder_the_text_around_it() {
        let hostile = "a\u{1b}[31m\nb\u{202e}c\u{2066}d pat-na1-canary-7d1f0c52";
        assert_eq!(sanitize(hostile), "a\u{fffd}[31m b\u{fffd}c\u{fffd}d [redacted]");
        assert!(sanitize(&"ü".repeat(5_000)).len() <= MAX_TEXT_BYTES);
    }
}
