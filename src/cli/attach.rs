//! `attach` and `detach`: print, and execute if asked to, the SQL that feeds the outbox from a table of the catalogue.
//!
//! May touch: the database, and HubSpot to read its properties. `options` decides, without I/O, what the options mean.

mod account;
mod args;
mod options;
mod report;

use std::cell::Cell;

use anyhow::Context;
use indicatif::{ProgressBar, ProgressStyle};

pub(super) use self::args::{AttachArgs, DetachArgs};
use self::options::WrittenTable;
use self::report::AttachReport;
use super::outcome::{CommandOutcome, UsageError};
use super::output::{print_progress, print_result};
use crate::config::Config;
use crate::outbox::attach::apply::apply_sql;
use crate::outbox::attach::backfill::{BackfillReport, backfill};
use crate::outbox::attach::plan::{Attachment, TableName, TableShape};
use crate::outbox::attach::sql::{attach_sql, backfill_sql, detach_sql};
use crate::outbox::attach::table::{KnownTable, read_table};
use crate::outbox::{Database, OutboxError};

pub(super) async fn run_attach(
    args: &AttachArgs,
    config: &Config,
    database: &Database,
) -> anyhow::Result<CommandOutcome> {
    let outbox = outbox_schema(database)?;
    let written = options::parse_table(&args.table)?;
    let known = find_table(database, &written, &args.key).await?;
    if let Some(known) = &known {
        options::check_table(known)?;
    }
    let shape = known.as_ref().map_or_else(TableShape::unknown, |known| known.shape.clone());
    let attachment = options::make_attachment(args, table_name(&written, known.as_ref())?, &outbox, &shape)?;
    // Again: the key may be the name of a column with a comma.
    let known = find_table(database, &written, &attachment.key).await?;
    if let Some(known) = &known {
        options::check_other_attachment(&attachment, known)?;
    } else if args.apply {
        return Err(UsageError(format!("{} is not in this database", attachment.table.to_sql())).into());
    }
    let mut warnings = options::warnings(&attachment, known.as_ref());
    warnings.extend(account::property_warnings(config, &attachment).await);
    let mut sql = attach_sql(&attachment, &shape);
    if args.backfill && !args.apply {
        sql = format!("{sql}\n{}", backfill_sql(&attachment, &shape));
    }
    let report = AttachReport {
        table: attachment.table.to_sql(),
        outbox,
        applied: args.apply,
        backfill: None,
        warnings,
        sql,
    };
    print_sql(args.json, &report)?;
    let report = if args.apply {
        apply_sql(database, &report.sql, "attach the table", print_waiting).await?;
        let backfill = if args.backfill {
            let rows = known.map(|known| known.estimated_rows).unwrap_or_default();
            Some(backfill_with_progress(database, &attachment, &shape, rows).await?)
        } else {
            None
        };
        AttachReport { backfill, ..report }
    } else {
        report
    };
    print_end(args.json, &report, "attached")?;
    let has_refused = report.backfill.is_some_and(|it| it.refused > 0 || it.without_key > 0);
    Ok(if has_refused { CommandOutcome::Failure } else { CommandOutcome::Success })
}

pub(super) async fn run_detach(args: &DetachArgs, database: &Database) -> anyhow::Result<CommandOutcome> {
    let outbox = outbox_schema(database)?;
    let written = options::parse_table(&args.table)?;
    let known = find_table(database, &written, &[]).await?;
    let attachment = Attachment {
        table: table_name(&written, known.as_ref())?,
        outbox: outbox.clone(),
        key: Vec::new(),
        separator: String::new(),
        map: Vec::new(),
        constants: Vec::new(),
        condition: None,
        zone: String::new(),
    };
    let triggers = known.as_ref().map(|known| known.triggers.as_slice()).unwrap_or_default();
    let table = attachment.table.to_sql();
    let warnings = match &known {
        None => vec![format!("{table} is not in this database")],
        Some(known) if known.triggers.is_empty() => vec![format!("{table} is not attached")],
        Some(_) => Vec::new(),
    };
    let report = AttachReport {
        sql: detach_sql(&attachment, triggers),
        table,
        outbox,
        applied: args.apply,
        backfill: None,
        warnings,
    };
    print_sql(args.json, &report)?;
    if args.apply {
        apply_sql(database, &report.sql, "detach the table", print_waiting).await?;
    }
    print_end(args.json, &report, "detached")?;
    Ok(CommandOutcome::Success)
}

fn outbox_schema(database: &Database) -> anyhow::Result<String> {
    database.schema().context("the schema of the outbox is not known; run `course-sync migrate`")
}

/// The table by its exact name, else by the name as SQL reads it.
async fn find_table(
    database: &Database,
    written: &WrittenTable,
    key: &[String],
) -> Result<Option<KnownTable>, OutboxError> {
    let (schema, name) = (written.schema.as_ref(), &written.name);
    let exact = read_table(database, schema.map(options::NamePart::exact), name.exact(), key).await?;
    match exact {
        None => {
            let schema = schema.map(options::NamePart::folded);
            read_table(database, schema.as_deref(), &name.folded(), key).await
        }
        found => Ok(found),
    }
}

fn table_name(written: &WrittenTable, known: Option<&KnownTable>) -> Result<TableName, UsageError> {
    match (known, &written.schema) {
        (Some(known), _) => Ok(known.name.clone()),
        (None, Some(schema)) => Ok(TableName { schema: schema.folded(), name: written.name.folded() }),
        (None, None) => Err(UsageError(format!(
            "the search path of this role leads to no table {:?}; write SCHEMA.TABLE, and \"Table\" in double quotes if it has \
             capital letters",
            written.name.exact()
        ))),
    }
}

fn print_waiting(error: &OutboxError) {
    print_progress(&format!("course-sync: waiting for other transactions that use the table: {error}"));
}

/// Enqueues the rows, with a progress bar if stderr is a terminal.
async fn backfill_with_progress(
    database: &Database,
    attachment: &Attachment,
    shape: &TableShape,
    rows: u64,
) -> anyhow::Result<BackfillReport> {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of about {human_len} rows, {eta} left");
    let progress = ProgressBar::new(rows).with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    let done = Cell::new(0);
    let result = backfill(database, attachment, shape, |report| {
        done.set(report.rows);
        progress.set_length(rows.max(report.rows));
        progress.set_position(report.rows);
    })
    .await;
    progress.finish_and_clear();
    result.with_context(|| {
        format!(
            "the table is attached, but only {} rows were enqueued; run the same command again to enqueue the others (this role \
             needs select and update on the table)",
            done.get()
        )
    })
}

/// Prints the warnings to stderr and the SQL to stdout.
fn print_sql(json: bool, report: &AttachReport) -> anyhow::Result<()> {
    for warning in &report.warnings {
        print_progress(&format!("course-sync: warning: {warning}"));
    }
    if !json {
        print_result(report.sql.trim_end())?;
    }
    Ok(())
}

fn print_end(json: bool, report: &AttachReport, what: &str) -> anyhow::Result<()> {
    if json {
        print_result(&serde_json::to_string_pretty(report)?)?;
    } else if report.applied {
        print_result(&report.to_comments(what))?;
    } else {
        print_progress("course-sync: nothing was executed; add --apply, or put the SQL into a migration");
    }
    Ok(())
}
