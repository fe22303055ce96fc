//! Numbers, times and foreign texts as the console prints them. Pure.

use jiff::Timestamp;
use maud::{Markup, html};

use crate::config::{is_unprintable, redact};
use crate::course::clip;

/// The longest foreign text that is shown, in bytes.
const MAX_TEXT_BYTES: usize = 2_000;

/// A text from outside: clipped, and without what could hide or turn what stands around it.
pub(super) fn clean(text: &str) -> String {
    let visible = |c: char| match c {
        '\n' | '\r' | '\t' => ' ',
        c if is_unprintable(c) => '\u{fffd}',
        c => c,
    };
    clip(&redact(text), MAX_TEXT_BYTES).chars().map(visible).collect()
}

/// With its first letter as a capital.
pub(super) fn capital(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map(|first| first.to_uppercase().chain(letters).collect()).unwrap_or_default()
}

/// `1234567` as `1,234,567`.
pub(super) fn number(number: i64) -> String {
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
pub(super) fn counted(count: i64, what: &str) -> String {
    format!("{} {what}{}", number(count), if count == 1 { "" } else { "s" })
}

/// A rounded value with its thousands grouped.
#[allow(clippy::cast_possible_truncation)] // saturates, and nothing here is near the edge
pub(super) fn rounded(value: f64) -> String {
    number(value.round() as i64)
}

/// How long, in one or two units, as a person would say it.
#[allow(clippy::cast_possible_truncation)] // saturates
pub(super) fn duration(seconds: f64) -> String {
    let (minute, hour, day) = (60, 60 * 60, 24 * 60 * 60);
    let whole = seconds.max(0.0).round() as i64;
    let two = |large: i64, name: &str, small: i64, small_name: &str| {
        let (count, rest) = (whole / large, whole % large / small);
        if rest == 0 { format!("{count} {name}") } else { format!("{count} {name} {rest} {small_name}") }
    };
    match whole {
        0 if seconds > 0.0 => format!("{} ms", (seconds * 1000.0).round()),
        1..10 if seconds.fract() != 0.0 => format!("{seconds:.1} s"),
        ..90 => format!("{whole} s"),
        whole if whole < 10 * minute => two(minute, "min", 1, "s"),
        whole if whole < hour => format!("{} min", whole / minute),
        whole if whole < day => two(hour, "h", minute, "min"),
        whole if whole < 10 * day => two(day, if whole < 2 * day { "day" } else { "days" }, hour, "h"),
        whole => format!("{} days", number(whole / day)),
    }
}

/// Seconds from one time to another; 0 where the clocks disagree.
pub(super) fn between(from: Timestamp, to: Timestamp) -> f64 {
    to.duration_since(from).as_secs_f64().max(0.0)
}

/// A time as an age or a wait, and in full for who points at it.
pub(super) fn relative(at: Timestamp, now: Timestamp) -> Markup {
    let whole = |seconds: f64| duration(seconds.round());
    let text = match (between(at, now), between(now, at)) {
        (past, ahead) if past < 1.5 && ahead < 1.5 => "just now".to_owned(),
        (past, ahead) if past < ahead => format!("in {}", whole(ahead)),
        (past, _) => format!("{} ago", whole(past)),
    };
    html! { time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(full(at)) { (text) } }
}

/// A time of day.
pub(super) fn clock(at: Timestamp) -> Markup {
    html! {
        time datetime=(at.strftime("%Y-%m-%dT%H:%M:%SZ")) title=(full(at)) { (at.strftime("%H:%M:%S").to_string()) }
    }
}

fn full(at: Timestamp) -> String {
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
            assert_eq!(number(value), expected);
        }
        assert_eq!(
            (counted(1, "course"), counted(2_000, "course")),
            ("1 course".into(), "2,000 courses".into())
        );
    }

    #[test]
    fn durations_are_said_as_a_person_would() {
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
            assert_eq!(duration(seconds), expected, "{seconds}");
        }
    }

    #[test]
    fn nothing_from_outside_hides_or_turns_its_neighbours() {
        let hostile = "a\u{1b}[31m\nb\u{202e}c\u{2066}d pat-na1-canary-7d1f0c52";
        assert_eq!(clean(hostile), "a\u{fffd}[31m b\u{fffd}c\u{fffd}d [redacted]");
        assert!(clean(&"ü".repeat(5_000)).len() <= MAX_TEXT_BYTES);
    }
}
