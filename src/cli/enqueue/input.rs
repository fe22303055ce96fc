//! Opens the file, recognises what it is by its name and first bytes, and decodes it.
//!
//! May touch: the file or stdin.

use std::ffi::OsStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, ErrorKind, Read};

use anyhow::Context;
use indicatif::ProgressBar;

use super::args::{EnqueueArgs, Format};
use super::encoding::SourceEncoding;
use super::foreign;
use super::lines::{LineCounter, LineEnds};
use crate::cli::outcome::UsageError;

/// The bytes by which a file is recognised.
const SIGNATURE_BYTES: u64 = 64 * 1024;
/// The text of which the first records are examined before any course is added.
const HEAD_BYTES: u64 = 256 * 1024;

/// The opened file, as UTF-8 without byte order mark, past the lines to skip.
pub(super) struct EnqueueInput {
    pub(super) reader: Box<dyn BufRead>,
    /// The beginning of what the reader reads.
    pub(super) head: FileHead,
    pub(super) encoding: SourceEncoding,
    pub(super) format: Format,
    /// The delimiter of files with this extension.
    pub(super) usual_delimiter: u8,
}

/// The beginning of a text.
#[derive(Debug, Clone)]
pub(super) struct FileHead {
    pub(super) text: Vec<u8>,
    /// Nothing follows.
    pub(super) is_whole: bool,
    /// The line at which it begins.
    pub(super) lines: LineCounter,
}

/// Opens the file or stdin; the bar follows the bytes read.
pub(super) fn open_input(args: &EnqueueArgs, progress: &ProgressBar) -> anyhow::Result<EnqueueInput> {
    let raw = progress.wrap_read(open_file(args, progress)?);
    open_text(args, Box::new(raw)).map_err(|error| match error.downcast::<UsageError>() {
        Ok(usage) => usage.into(),
        Err(error) => error.context(format!("cannot read {}", args.file.display())),
    })
}

fn open_file(args: &EnqueueArgs, progress: &ProgressBar) -> anyhow::Result<Box<dyn Read>> {
    if args.file == OsStr::new("-") {
        return Ok(Box::new(io::stdin()));
    }
    let cannot_read = || format!("cannot read {}", args.file.display());
    let file = File::open(&args.file).with_context(cannot_read)?;
    let meta = file.metadata().with_context(cannot_read)?;
    if meta.is_dir() {
        return Err(UsageError(format!("{} is a directory; name a file", args.file.display())).into());
    }
    progress.set_length(meta.len());
    Ok(Box::new(file))
}

fn open_text(args: &EnqueueArgs, mut raw: Box<dyn Read>) -> anyhow::Result<EnqueueInput> {
    let signature = read_start(&mut raw, SIGNATURE_BYTES)?;
    if let Some(what) = foreign::recognize(&signature, args.encoding) {
        return Err(UsageError(what).into());
    }
    let encoding = SourceEncoding::new(args.encoding, &signature);
    let whole = Box::new(BufReader::new(Cursor::new(signature).chain(raw)));
    let mut decoded = encoding.decode_reader(whole)?;
    let probe = read_start(&mut decoded, HEAD_BYTES)?;
    // Quotes in lines that are skipped have no meaning.
    let ends = LineEnds::detect(&probe, args.skip_lines == 0 && !args.no_quotes);
    let mut text = Cursor::new(probe).chain(decoded);
    let lines = skip_lines(&mut text, LineCounter::new(ends), args.skip_lines)?;
    let start = read_start(&mut text, HEAD_BYTES)?;
    let is_whole = (start.len() as u64) < HEAD_BYTES;
    let reader = Box::new(Cursor::new(start.clone()).chain(text));
    let (named, usual_delimiter) = by_extension(args);
    let format = args.format.or(named).unwrap_or_else(|| by_content(&start));
    let head = FileHead { text: start, is_whole, lines };
    Ok(EnqueueInput { reader, head, encoding, format, usual_delimiter })
}

/// Reads up to so many bytes; fewer only if the file ends.
fn read_start(reader: &mut impl Read, limit: u64) -> io::Result<Vec<u8>> {
    let mut start = Vec::new();
    reader.take(limit).read_to_end(&mut start)?;
    Ok(start)
}

/// Skips lines, and returns the position after them.
fn skip_lines(text: &mut impl BufRead, mut lines: LineCounter, count: u64) -> anyhow::Result<LineCounter> {
    while lines.line() <= count {
        let buffer = match text.fill_buf() {
            Ok(buffer) => buffer,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(error.into()),
        };
        if buffer.is_empty() {
            let there = lines.line();
            return Err(UsageError(format!(
                "--skip-lines {count} leaves nothing of the file, which has {there} lines"
            ))
            .into());
        }
        let mut used = 0;
        for byte in buffer {
            if lines.line() > count {
                break;
            }
            lines.advance(*byte);
            used += 1;
        }
        text.consume(used);
    }
    Ok(lines)
}

fn by_extension(args: &EnqueueArgs) -> (Option<Format>, u8) {
    let extension = args.file.extension().map(|text| text.to_string_lossy().to_ascii_lowercase());
    match extension.as_deref() {
        Some("csv") => (Some(Format::Csv), b','),
        Some("tsv" | "tab") => (Some(Format::Csv), b'\t'),
        Some("ndjson" | "jsonl") => (Some(Format::Ndjson), b','),
        _ => (None, b','),
    }
}

fn by_content(head: &[u8]) -> Format {
    match head.trim_ascii_start().first() {
        Some(b'{' | b'[') => Format::Ndjson,
        _ => Format::Csv,
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
    fn skipped_lines_are_counted_with_every_line_end() {
        for end in ["\n", "\r\n", "\r", "\r\r\n"] {
            let content = ["1", "", "3", "4"].join(end);
            let mut text = BufReader::with_capacity(3, content.as_bytes());
            let lines = LineCounter::new(LineEnds::detect(content.as_bytes(), true));
            let lines = skip_lines(&mut text, lines, 2).unwrap();
            let mut rest = String::new();
            text.read_to_string(&mut rest).unwrap();
            assert_eq!((lines.line(), rest), (3, format!("3{end}4")), "{end:?}");
        }
        let error = skip_lines(&mut &b"1\n2\n"[..], LineCounter::new(LineEnds::Lf), 5).unwrap_err();
        assert!(error.to_string().contains("has 3 lines"), "{error}");
    }
}
