//! `check`: tests configuration, database and HubSpot account, one line per check, with suggested fixes.

use std::sync::Arc;

use serde::Serialize;

use super::connections::open_database;
use super::format::sanitize;
use super::outcome::{CommandOutcome, UsageError};
use super::output::print_as;
use crate::config::{Config, Problems};
use crate::hubspot::Client;
use crate::telemetry::metrics::Metrics;

mod account;
mod database;
mod existing;
mod probe;
mod properties;
mod result;
mod scopes;
mod unique;

use result::CheckResult;

/// Check configuration, database and HubSpot account, and suggest fixes
///
/// Sends no course. Prints one line per check: ✓ passed, ✗ failed (`run` cannot work reliably), ! warning,
/// – not checked or not applicable. The exit code is 1 if a check failed, 2 if the configuration is invalid.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Debug, clap::Args)]
pub(super) struct CheckArgs {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Create what is missing in HubSpot: the property named by `hubspot.unique_property`, with unique values, the
    /// properties that pending and failed courses use, and options of their values
    ///
    /// The values decide the type of a new property. Nothing is deleted or renamed, and names that look like misspellings
    /// are left out. Needs the scope crm.schemas.courses.write
    #[arg(long)]
    fix: bool,
    /// With --fix: show what would be created, without creating it
    #[arg(long, requires = "fix")]
    dry_run: bool,
    /// Test whether HubSpot enforces unique values for simultaneous requests (sandbox accounts only)
    ///
    /// Creates records with the same value over many connections at once, counts the records that were created,
    /// and moves them to the recycle bin. Needs `hubspot.unique_property`
    #[arg(long, requires = "confirm_sandbox")]
    probe_uniqueness: bool,
    /// Confirm that this account is a sandbox and its records may be archived
    #[arg(long)]
    confirm_sandbox: bool,
}

/// What happens to what is missing in HubSpot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fix {
    /// It is reported.
    Report,
    /// It is shown how it would be created.
    DryRun,
    /// It is created.
    Apply,
}

impl CheckArgs {
    fn fix(&self) -> Fix {
        match (self.fix, self.dry_run) {
            (false, _) => Fix::Report,
            (true, true) => Fix::DryRun,
            (true, false) => Fix::Apply,
        }
    }
}

/// The checks after the configuration, in their order.
const LATER_CHECKS: [&str; 11] = [
    "database",
    "schema",
    "grants",
    "wakeup",
    "token",
    "scopes",
    "object_type",
    "quota",
    "record_limit",
    "unique_property",
    "properties",
];

pub(super) async fn run(
    args: &CheckArgs,
    loaded: Result<Config, Problems>,
) -> anyhow::Result<CommandOutcome> {
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            let why = "the configuration is invalid";
            // As text the problems follow on stderr, as for any command.
            let text =
                if args.json { problems.to_string() } else { format!("problems: {}", problems.0.len()) };
            let mut results =
                vec![CheckResult::failed("configuration", text, "see stderr for each problem and its fix")];
            results.extend(LATER_CHECKS.map(|code| CheckResult::not_checked(code, why)));
            print_report(args, &results, &[])?;
            return Err(problems.into());
        }
    };
    if args.probe_uniqueness && config.hubspot.unique_property.is_none() {
        let message = "--probe-uniqueness needs hubspot.unique_property, the name of the property";
        return Err(UsageError(message.into()).into());
    }
    let client = Arc::new(Client::new(&config.hubspot, probe::CONNECTIONS, Arc::new(Metrics::new()))?);
    let mut results = vec![CheckResult::ok("configuration", "all settings are valid")];
    results.extend(database::check_database(&config).await?);
    let fix = args.fix();
    let (of_account, schema) = account::check_account(&config, &client, fix).await;
    results.extend(of_account);
    let database = open_database(&config).await;
    if let Ok(database) = &database {
        existing::warn_of_existing_courses(&config, &client, database, &mut results).await;
    }
    let unique = config.hubspot.unique_property.as_deref();
    results.push(properties::check_properties(&client, database, unique, schema.as_ref(), fix).await);
    if args.probe_uniqueness {
        results.push(probe::probe_uniqueness(&config, &client).await);
    }
    print_report(args, &results, &config.warnings())?;
    Ok(if has_failed(&results) { CommandOutcome::Failure } else { CommandOutcome::Success })
}

/// The report of `--json`.
#[derive(Serialize)]
struct CheckReport<'a> {
    ok: bool,
    checks: &'a [CheckResult],
    warnings: &'a [String],
}

fn print_report(args: &CheckArgs, results: &[CheckResult], warnings: &[String]) -> anyhow::Result<()> {
    let report = CheckReport { ok: !has_failed(results), checks: results, warnings };
    print_as(args.json, &report, format_text)
}

fn format_text(report: &CheckReport<'_>) -> String {
    let warnings = report.warnings.iter().map(|warning| sanitize(&format!("  note: {warning}")));
    report.checks.iter().map(CheckResult::to_line).chain(warnings).collect::<Vec<_>>().join("\n")
}

fn has_failed(results: &[CheckResult]) -> bool {
    results.iter().any(CheckResult::has_failed)
}
