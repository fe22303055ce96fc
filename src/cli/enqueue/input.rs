//! Opens the file and detects its format by its name and first bytes.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};

use anyhow::Context;
use indicatif::ProgressBar;

use super::args::{EnqueueArgs, Format};
use crate::cli::outcome::UsageError;

/// The opened file, past a byte order mark.
pub(super) struct EnqueueInput {
    pub(super) reader: Box<dyn BufRead>,
    pub(super) format: Format,
    /// Between the columns of CSV.
    pub(super) delimiter: u8,
}

/// Opens the file or stdin; the bar follows the bytes read.
pub(super) fn open_input(args: &EnqueueArgs, progress: &ProgressBar) -> anyhow::Result<EnqueueInput> {
    let raw: Box<dyn Read> = if args.file == OsStr::new("-") {
        Box::new(std::io::stdin())
    } else {
        let file = File::open(&args.file).with_context(|| cannot_read(args))?;
        let meta = file.metadata().with_context(|| cannot_read(args))?;
        if meta.is_dir() {
            return Err(UsageError(format!("{} is a directory; name a file", args.file.display())).into());
        }
        progress.set_length(meta.len());
        Box::new(file)
    };
    let mut reader = BufReader::new(progress.wrap_read(raw));
    let head = reader.fill_buf().with_context(|| cannot_read(args))?;
    let (mark, head) = match head.strip_prefix(b"\xEF\xBB\xBF") {
        Some(rest) => (3, rest),
        None => (0, head),
    };
    let extension = args.file.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
    let (named, usual_delimiter) = match extension.as_deref() {
        Some("csv") => (Some(Format::Csv), b','),
        Some("tsv") => (Some(Format::Csv), b'\t'),
        Some("ndjson" | "jsonl") => (Some(Format::Ndjson), b','),
        _ => (None, b','),
    };
    let format = args.format.or(named).unwrap_or_else(|| by_content(head));
    check_encoding(head, format)?;
    reader.consume(mark);
    let delimiter = args.delimiter.unwrap_or(usual_delimiter);
    Ok(EnqueueInput { reader: Box::new(reader), format, delimiter })
}

fn cannot_read(args: &EnqueueArgs) -> String {
    format!("cannot read {}", args.file.display())
}

fn by_content(head: &[u8]) -> Format {
    match head.trim_ascii_start().first() {
        Some(b'{' | b'[') => Format::Ndjson,
        _ => Format::Csv,
    }
}

/// Refuses what would only give an error for each line.
fn check_encoding(head: &[u8], format: Format) -> Result<(), UsageError> {
    let is_utf16 = head.starts_with(b"\xFF\xFE")
        || head.starts_with(b"\xFE\xFF")
        || matches!(head, [0, 1..=255, ..] | [1..=255, 0, ..]);
    let is_array = format == Format::Ndjson && head.trim_ascii_start().starts_with(b"[");
    if is_utf16 {
        Err(UsageError("the file looks like UTF-16; save it as UTF-8".to_owned()))
    } else if is_array {
        Err(UsageError("the file is one JSON array; convert it to NDJSON with `jq -c '.[]' FILE`".to_owned()))
    } else {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_character_decides_the_format() {
        let table: [(&[u8], Format); 4] = [
            (b"Subject,Number\n", Format::Csv),
            (b" \n{\"course_key\":1}", Format::Ndjson),
            (b"[1]", Format::Ndjson),
            (b"", Format::Csv),
        ];
        for (head, format) in table {
            assert_eq!(by_content(head), format, "{}", head.escape_ascii());
        }
    }

    #[test]
    fn other_encodings_and_arrays_are_refused_at_once() {
        for head in [&b"\xFF\xFEa\0"[..], b"\xFE\xFF\0a", b"a\0,\0", b"\0a\0,"] {
            assert!(check_encoding(head, Format::Csv).is_err(), "{}", head.escape_ascii());
        }
        assert!(check_encoding(b" [{}]", Format::Ndjson).is_err());
        assert!(check_encoding(b"[a],b", Format::Csv).is_ok());
    }
}
