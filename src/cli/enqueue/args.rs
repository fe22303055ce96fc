//! The options of `enqueue`.

use std::path::PathBuf;

/// Add courses from a CSV or NDJSON file to the outbox
///
/// A course whose key is already in the outbox, or appears earlier in the file, is left unchanged, so it is
/// safe to enqueue a file again. With --update a course in the outbox is changed to what the file says, and
/// course-sync updates its record in HubSpot. Valid lines are added even if other lines are refused. Each refused line is
/// reported with its number and the reason, and the exit code is then 1.
#[derive(Debug, Clone, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(after_long_help = HELP)]
pub struct EnqueueArgs {
    /// File to read, in UTF-8; - for stdin
    pub file: PathBuf,
    /// Change courses that are already in the outbox: their properties become those of the file
    #[arg(long)]
    pub update: bool,
    /// Format of the file [default: detected by extension, else by first character]
    #[arg(long, value_enum)]
    pub format: Option<Format>,
    /// Columns that form the course key [default: `course_key`]
    #[arg(long, value_name = "COLUMN[,COLUMN…]", value_delimiter = ',')]
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
    /// Column separator of a CSV file: one ASCII character, or `tab` [default: a comma; a tab for .tsv]
    #[arg(long, value_name = "CHARACTER", value_parser = parse_delimiter)]
    pub delimiter: Option<u8>,
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
(lower-case letters, digits and underscores). Empty cells are not sent.

NDJSON has one object per line, in either of these forms:
  {\"course_key\": \"MATH-101\", \"properties\": {\"hs_course_name\": \"Algebra\"}, \"associations\": []}
  {\"course_key\": \"MATH-101\", \"hs_course_name\": \"Algebra\"}
In the first form, \"archived\": true withdraws the course, so that its record is archived, and \"archived\": false offers \
it again. In the second form, --key and --map select members as they select columns; without --map every member is sent.

With --update, \"associations\" and \"archived\" stay as they are unless the line has them. Associations cannot be \
changed after the course was sent to HubSpot; such a line is refused.

Example:
  course-sync enqueue courses.csv --key Subject,Number --map Name=hs_course_name --set term=2026-su --dry-run";

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
