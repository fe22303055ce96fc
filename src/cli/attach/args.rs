//! The options of `attach` and `detach`.

/// Attach a table of the catalogue: its triggers enqueue and archive courses
///
/// Prints the SQL that creates the triggers, for a migration of the catalogue. With --apply it is also executed. The triggers
/// write to the outbox in the transaction that writes to the table: a row that is inserted or changed enqueues its course,
/// and a row that is deleted, or no longer meets --where, archives it. The catalogue needs no code. To change how a table is
/// attached, attach it again.
#[derive(Debug, Clone, clap::Args)]
#[command(after_long_help = HELP)]
pub struct AttachArgs {
    /// Table of the catalogue, with its schema if that is not in the search path
    pub table: String,
    /// Columns that form the course key
    #[arg(long, value_name = "COLUMN[,COLUMN…]", required = true)]
    pub key: Vec<String>,
    /// Separator between the columns of the key
    #[arg(long, value_name = "TEXT", default_value = "-")]
    pub key_separator: String,
    /// Send a column as a HubSpot property (repeatable)
    #[arg(long, value_name = "COLUMN=PROPERTY", required = true)]
    pub map: Vec<String>,
    /// Set a property to the same value for every course (repeatable)
    #[arg(long, value_name = "PROPERTY=VALUE")]
    pub set: Vec<String>,
    /// Condition that a row must meet to be a course, in SQL; functions and types need their schema
    #[arg(long = "where", value_name = "SQL")]
    pub condition: Option<String>,
    /// Time zone of the columns of type `timestamp` (without time zone)
    #[arg(long, value_name = "ZONE", default_value = "UTC")]
    pub time_zone: String,
    /// Also enqueue the rows that exist; with --apply in pages of 1,000 rows, each in a transaction of its own
    #[arg(long)]
    pub backfill: bool,
    /// Execute the SQL
    #[arg(long)]
    pub apply: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}

const HELP: &str = "\
The names of columns are those that are stored: --map Title=… needs a column \"Title\". Values are sent as HubSpot expects \
them: numbers without trailing zeros, times in UTC, arrays as a;b.

Example:
  course-sync attach catalogue.courses --key code --map title=hs_course_name --map seats=hs_enrollment_capacity \
--where \"published and not cancelled\" --backfill --apply

See \"A catalogue without code\" in docs/integration.md for roles, types, and what the triggers do not see.";

/// Detach a table that was attached
///
/// Prints the SQL that removes the triggers. With --apply it is also executed. The courses stay in the outbox and in
/// HubSpot.
#[derive(Debug, Clone, clap::Args)]
pub struct DetachArgs {
    /// Table of the catalogue, with its schema if that is not in the search path
    pub table: String,
    /// Execute the SQL
    #[arg(long)]
    pub apply: bool,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
}
