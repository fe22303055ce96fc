//! Detects how the columns of a CSV file are separated. Pure.
//!
//! The best evidence is the columns that the options name: only the right delimiter finds them in the header. Where
//! several do, or none, the delimiter is chosen that divides most rows into as many cells as the header.

use super::CsvOptions;
use super::head::{header_names, read_records};
use super::scanner::Dialect;
use crate::cli::enqueue::columns::CsvColumns;
use crate::cli::enqueue::input::FileHead;
use crate::cli::enqueue::plan::EnqueuePlan;

/// The delimiters that are detected.
const DELIMITERS: [u8; 4] = [b',', b';', b'\t', b'|'];

/// The dialect of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DetectedDialect {
    pub(super) dialect: Dialect,
    pub(super) origin: DelimiterOrigin,
    /// The first line is Excel's `sep=;`.
    pub(super) has_separator_line: bool,
}

/// What the delimiter is based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum DelimiterOrigin {
    Option,
    SeparatorLine,
    Detected,
}

/// Detects the dialect of a file by its beginning.
pub(super) fn detect(head: &FileHead, options: CsvOptions, plan: &EnqueuePlan) -> DetectedDialect {
    let stated = separator_line(&head.text);
    let (delimiter, origin) = match (options.delimiter, stated) {
        (Some(delimiter), _) => (delimiter, DelimiterOrigin::Option),
        (None, Some(delimiter)) => (delimiter, DelimiterOrigin::SeparatorLine),
        (None, None) => (best_delimiter(head, options, plan), DelimiterOrigin::Detected),
    };
    let dialect = Dialect { delimiter, has_quotes: options.has_quotes };
    DetectedDialect { dialect, origin, has_separator_line: stated.is_some() }
}

/// The delimiters to try, the usual one first.
pub(super) fn candidates(options: CsvOptions) -> impl Iterator<Item = u8> {
    let usual = options.usual_delimiter;
    std::iter::once(usual).chain(DELIMITERS.into_iter().filter(move |delimiter| *delimiter != usual))
}

fn best_delimiter(head: &FileHead, options: CsvOptions, plan: &EnqueuePlan) -> u8 {
    let mut best = (options.usual_delimiter, None);
    for delimiter in candidates(options) {
        let quality = Some(quality(head, Dialect { delimiter, has_quotes: options.has_quotes }, plan));
        // Of equal ones the first one stays.
        if quality > best.1 {
            best = (delimiter, quality);
        }
    }
    best.0
}

/// How well a dialect fits: whether the columns exist, the share of the rows that have the width of the header, and this
/// width.
fn quality(head: &FileHead, dialect: Dialect, plan: &EnqueuePlan) -> (bool, usize, usize) {
    let records = read_records(head, dialect, false);
    let Some((header, rows)) = records.split_first() else { return (false, 0, 0) };
    let has_columns = CsvColumns::find_in(plan, &header_names(header)).is_ok();
    let width = header.width();
    let fitting = rows.iter().filter(|row| row.fault.is_none() && row.width() == width).count();
    let percent = if width > 1 && !rows.is_empty() { fitting * 100 / rows.len() } else { 0 };
    (has_columns, percent, width)
}

/// The delimiter in Excel's first line, `sep=;`.
fn separator_line(text: &[u8]) -> Option<u8> {
    let line = text.split(|byte| matches!(byte, b'\r' | b'\n')).next()?;
    let line = line.strip_prefix(b"\"").and_then(|line| line.strip_suffix(b"\"")).unwrap_or(line);
    let (prefix, rest) = line.split_at_checked(b"sep=".len())?;
    match rest {
        [delimiter] if prefix.eq_ignore_ascii_case(b"sep=") && delimiter.is_ascii() => Some(*delimiter),
        _ => None,
    }
}

/// The delimiter in words, in the plural.
pub(super) fn delimiter_name(delimiter: u8) -> String {
    match delimiter {
        b',' => "commas".to_owned(),
        b';' => "semicolons".to_owned(),
        b'\t' => "tabs".to_owned(),
        b'|' => "vertical bars".to_owned(),
        b' ' => "spaces".to_owned(),
        other => format!("{:?}", char::from(other)),
    }
}

/// The delimiter as `--delimiter` takes it.
pub(super) fn delimiter_argument(delimiter: u8) -> String {
    if delimiter == b'\t' { "tab".to_owned() } else { format!("'{}'", char::from(delimiter)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_separator_line_of_excel_is_recognised() {
        for (text, delimiter) in [
            ("sep=;\r\na;b", Some(b';')),
            ("SEP=\t\na\tb", Some(b'\t')),
            ("\"sep=,\"\n", Some(b',')),
            ("sep=;", Some(b';')),
            ("sep=;;\n", None),
            ("sep=\n", None),
            ("sep,a\n", None),
            ("", None),
        ] {
            assert_eq!(separator_line(text.as_bytes()), delimiter, "{text:?}");
        }
    }
}
