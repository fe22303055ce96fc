//! The options of `enqueue`.

use std::path::PathBuf;

use encoding_rs::Encoding;

use super::encoding::parse_encoding;

/// Add courses from a CSV or NDJSON file to the outbox
///
/// A course whose key is already in the outbox, or appears earlier in the file, is left unchanged, so it is
/// safe to enqueue a file again. With --update a course in the outbox is changed to what the file says, and
/// course-sync updates its record in HubSpot. Valid lines are added even if other lines are refused. Each refused line is
/// reported with its number and the reason, and the exit code is then 1. A file that is not what the options say is
/// refused as a whole, with exit code 2.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_long_help = HELP)]
pub struct EnqueueArgs {
    /// File to read; - for stdin
    pub file: PathBuf,
    /// Change courses that are already in the outbox: their properties become those of the file
    #[arg(long)]
    pub update: bool,
    /// Format of the file [default: detected by extension, else by first character]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Columns that form the course key (repeatable) [default: `course_key`]
    #[arg(long, value_name = "COLUMN[,COLUMN…]")]
    pub key: Vec<String>,
    /// Separator between the columns of the key
    #[arg(long, value_name = "TEXT", default_value = "-")]
    pub key_separator: String,
    /// Send a column as a HubSpot property (repeatable)
    #[arg(long, value_name = "COLUMN=PROPERTY")]
    pub map: Vec<String>,
    /// Set a property to the same value for every course (repeatable)
    #[arg(long, value_name = "PROPERTY=VALUE")]
    pub set: Vec<String>,
    /// Decode HTML entities in values (`&amp;` becomes `&`)
    #[arg(long)]
    pub decode_entities: bool,
    /// Column separator of a CSV file: one ASCII character, or `tab` [default: detected]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter)]
    pub delimiter: Option<u8>,
    /// Encoding of the file, such as windows-1252, utf-16 or `shift_jis` [default: UTF-8]
    #[arg(long, value_name = "NAME", value_parser = parse_encoding)]
    pub encoding: Option<&'static Encoding>,
    /// Skip so many lines at the beginning of the file, before the header
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub skip_lines: u64,
    /// Quotes in CSV are ordinary text; for exports that never quote
    #[arg(long)]
    pub no_quotes: bool,
    /// Read and check the file without writing anything; needs no database
    #[arg(long)]
    pub dry_run: bool,
    /// Print the report as JSON
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
CSV needs a header row. With --map, only the mapped columns are sent. Without --map, each column is sent as \
the property with the same name, except `course_key` and columns whose names are not valid property names \
(lower-case letters, digits and underscores). Empty cells are not sent. Empty rows are skipped.

The separator of the columns (comma, semicolon, tab or vertical bar) is detected and reported. The line `sep=;` of Excel is \
accepted. A cell in quotes may contain separators and line ends; a quote inside it is written twice. A row whose quotes are \
not valid is refused, with all lines that it spans. With --no-quotes, every line is a row.

A key that occurs again is counted as repeated if the row sends the same; otherwise the row is refused. The name of a key \
column may contain commas: the longest name that exists is taken. A course without `hs_course_name` is reported, because \
HubSpot refuses to create it.

--dry-run shows the first course as it would be stored. If a HubSpot token is configured, it also reads the account's \
properties and shows which courses HubSpot would refuse, and why; the exit code is then 1.

NDJSON has one object per line, in either of these forms:
  {\"course_key\": \"MATH-101\", \"properties\": {\"hs_course_name\": \"Algebra\"}, \"associations\": []}
  {\"course_key\": \"MATH-101\", \"hs_course_name\": \"Algebra\"}
In the first form, \"archived\": true withdraws the course, so that its record is archived, and \"archived\": false offers \
it again. In the second form, --key and --map select members as they select columns; without --map every member is sent.

With --update, \"associations\" and \"archived\" stay as they are unless the line has them. Associations cannot be \
changed after the course was sent to HubSpot; such a line is refused.

Examples:
  course-sync enqueue courses.csv --key Subject,Number --map Name=hs_course_name --set term=2026-su --dry-run
  course-sync enqueue kurse.csv --encoding windows-1252 --skip-lines 3 --key Nr --map Titel=hs_course_name --dry-run";

/// What a file holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Columns with a header row.
    Csv,
    /// One JSON object per line.
    Ndjson,
}

fn parse_delimiter(text: &str) -> Result<u8, String> {
    match text.as_bytes() {
        b"tab" | b"\\t" => Ok(b'\t'),
        [byte] if byte.is_ascii() && !matches!(byte, b'"' | b'\r' | b'\n') => Ok(*byte),
        _ => Err("expected one ASCII character, or `tab`".to_owned()),
    }
}
