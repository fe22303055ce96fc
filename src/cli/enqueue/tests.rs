//! Files of every dialect through the whole reading path: what a standard CSV writer writes is read back exactly.

use std::borrow::Cow;

use ::csv::{QuoteStyle, Terminator, WriterBuilder};
use clap::Parser;
use encoding_rs::Encoding;
use proptest::prelude::*;

use super::*;

#[derive(Parser)]
struct ReadingCommandLine {
    #[command(flatten)]
    args: EnqueueArgs,
}

/// Reads a file with these options: the report, and the courses with their lines.
fn read(content: &[u8], options: &[&str]) -> anyhow::Result<(EnqueueReport, Chunk)> {
    let folder = tempfile::tempdir()?;
    let path = folder.path().join("courses");
    std::fs::write(&path, content)?;
    let words = ["enqueue", path.to_str().unwrap()].into_iter().chain(options.iter().copied());
    let args = ReadingCommandLine::try_parse_from(words).unwrap().args;
    let plan = EnqueuePlan::new(&args)?;
    let (chunks_in, mut chunks) = mpsc::channel(1000);
    let reading = ReadingContext {
        plan,
        account: AccountCheck::default(),
        is_dry: false,
        progress: progress_bar(),
        print_note: |_, _| (),
    };
    let (report, failure) = read_file(&args, &reading, &chunks_in)?;
    assert!(failure.is_none(), "{failure:?}");
    let received = std::iter::from_fn(|| chunks.try_recv().ok());
    Ok((report, received.flatten().collect()))
}

/// How a writer writes.
#[derive(Debug, Clone)]
struct WriterDialect {
    delimiter: u8,
    quotes: QuoteStyle,
    line_end: &'static str,
    encoding: Option<&'static str>,
    has_mark: bool,
    /// Lines above the header.
    preamble: usize,
}

impl WriterDialect {
    /// The file with these rows.
    fn write(&self, rows: &[[String; 3]]) -> Vec<u8> {
        let terminator = match self.line_end {
            "\n" => Terminator::Any(b'\n'),
            "\r" => Terminator::Any(b'\r'),
            _ => Terminator::CRLF,
        };
        let mut writer = WriterBuilder::new()
            .delimiter(self.delimiter)
            .quote_style(self.quotes)
            .terminator(terminator)
            .from_writer(Vec::new());
        writer.write_record(["hs_course_name", "course_key", "note"]).unwrap();
        for row in rows {
            writer.write_record(row).unwrap();
        }
        let text = String::from_utf8(writer.into_inner().unwrap()).unwrap();
        let preamble = format!("A list; \"open, of\tcourses{}", self.line_end).repeat(self.preamble);
        self.encode(&format!("{preamble}{text}"))
    }

    fn encode(&self, text: &str) -> Vec<u8> {
        let marked = format!("\u{feff}{text}");
        let text = if self.has_mark { marked.as_str() } else { text };
        match self.encoding {
            Some("utf-16le") => text.encode_utf16().flat_map(u16::to_le_bytes).collect(),
            Some("utf-16be") => text.encode_utf16().flat_map(u16::to_be_bytes).collect(),
            Some(name) => Encoding::for_label(name.as_bytes()).unwrap().encode(text).0.into_owned(),
            None => text.as_bytes().to_vec(),
        }
    }

    fn options(&self) -> Vec<String> {
        let mut options = vec![format!("--skip-lines={}", self.preamble)];
        options.extend(self.encoding.map(|name| format!("--encoding={name}")));
        if matches!(self.quotes, QuoteStyle::Never) {
            options.push("--no-quotes".to_owned());
        }
        options
    }
}

/// Characters that the encoding has, those that are special in CSV more often than others.
fn characters(encoding: Option<&str>) -> Vec<char> {
    let special = "\"\"\"',;|\t\n\r\n\r \\=-a0";
    let others = match encoding {
        Some("windows-1252" | "macintosh") => "äöüßéÑ€–“”",
        Some("shift_jis") => "日本語講座ｱｲ表ソ",
        _ => "äß€日本語\u{1f600}\u{301}\u{feff}\u{2028}\u{85}\u{fffd}",
    };
    special.chars().chain(others.chars()).collect()
}

fn dialects() -> impl Strategy<Value = WriterDialect> {
    let encodings = prop::sample::select(vec![
        None,
        None,
        Some("utf-16le"),
        Some("utf-16be"),
        Some("windows-1252"),
        Some("macintosh"),
        Some("shift_jis"),
    ]);
    let quotes = prop::sample::select(vec![
        QuoteStyle::Necessary,
        QuoteStyle::Always,
        QuoteStyle::NonNumeric,
        QuoteStyle::Never,
    ]);
    let delimiters = prop::sample::select(b",;\t|".to_vec());
    let line_ends = prop::sample::select(vec!["\n", "\r\n", "\r"]);
    (delimiters, quotes, line_ends, encodings, any::<bool>(), 0..3_usize).prop_map(
        |(delimiter, quotes, line_end, encoding, has_mark, preamble)| {
            let has_marks = matches!(encoding, None | Some("utf-16le" | "utf-16be"));
            WriterDialect { delimiter, quotes, line_end, encoding, has_mark: has_mark && has_marks, preamble }
        },
    )
}

/// A dialect, and rows that it can write.
fn files() -> impl Strategy<Value = (WriterDialect, Vec<[String; 3]>)> {
    dialects().prop_flat_map(|dialect| {
        let mut allowed = characters(dialect.encoding);
        if matches!(dialect.quotes, QuoteStyle::Never) {
            allowed.retain(|c| !matches!(c, '\n' | '\r') && *c != char::from(dialect.delimiter));
        }
        let cell = prop::collection::vec(prop::sample::select(allowed), 0..12);
        let cell = cell.prop_map(|chars| chars.into_iter().collect::<String>());
        let cell = cell.prop_filter("a null of other databases", |text| text != r"\N");
        let rows = prop::collection::vec((cell.clone(), cell), 0..8).prop_map(|cells| {
            let row = |(at, (name, note))| [name, format!("K {at}"), note];
            cells.into_iter().enumerate().map(row).collect()
        });
        (Just(dialect), rows)
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_a_standard_writer_writes_is_read_back_exactly((dialect, rows) in files()) {
        let content = dialect.write(&rows);
        let options = dialect.options();
        let options: Vec<&str> = options.iter().map(String::as_str).collect();
        let (report, courses) = read(&content, &options).unwrap();
        prop_assert!(report.refusals.is_empty(), "{:?}", report.refusals);
        prop_assert_eq!(report.delimiter, Some(char::from(dialect.delimiter)));
        prop_assert_eq!(courses.len(), rows.len());
        for ((_, course), [name, key, note]) in courses.iter().zip(&rows) {
            prop_assert_eq!(course.key.as_str(), key);
            let sent = |text: &String| Some(text.clone()).filter(|text| !text.trim().is_empty());
            prop_assert_eq!(course.properties.get("hs_course_name").map(Cow::into_owned), sent(name));
            prop_assert_eq!(course.properties.get("note").map(Cow::into_owned), sent(note));
        }
    }

    /// Whatever a file contains, each line with text is part of a course, or of a repeat, or of a refusal that names it.
    #[test]
    fn no_line_is_lost(text in prop::collection::vec(prop::sample::select(b"\"\"\",\n\n\r\nab \\\xFF".to_vec()), 0..80)) {
        let content = [b"course_key,n\n".as_slice(), &text].concat();
        let Ok((report, courses)) = read(&content, &["--set", "term=x", "--format", "csv"]) else {
            // The file as a whole was refused.
            return Ok(());
        };
        let counted = courses.len() as u64 + report.repeated + report.refused;
        let places: Vec<u64> = report.refusals.iter().map(|refusal| refusal.line).collect();
        prop_assert_eq!(places.len() as u64, report.refused.min(20));
        let mut lines = lines::LineCounter::new(lines::LineEnds::detect(&content, true));
        let mut filled = std::collections::BTreeSet::new();
        for byte in &content {
            if !matches!(byte, b'\n' | b'\r' | b',' | b'"' | b' ') {
                filled.insert(lines.line());
            }
            lines.advance(*byte);
        }
        // Each record begins on a line of its own.
        prop_assert!(counted <= lines.line(), "{counted} records");
        let mut covered: std::collections::BTreeSet<u64> = [1].into();
        covered.extend(courses.iter().flat_map(|(span, _)| span.first..=span.last));
        for refusal in &report.refusals {
            let last = refusal.reason.rsplit_once(" to ").and_then(|(_, text)| text.strip_suffix(')'));
            let last = last.and_then(|text| text.parse().ok()).unwrap_or(refusal.line);
            covered.extend(refusal.line..=last);
        }
        // Exact repeats have no place in the report; they are at most one line each, or their text covers more.
        if report.repeated == 0 && report.refused <= 20 {
            let lost: Vec<_> = filled.difference(&covered).collect();
            prop_assert!(lost.is_empty(), "lines {lost:?}");
        }
    }
}
