//! `check`: whether everything is in place, one line each, with the suggested fix.

use std::sync::Arc;

use serde_json::json;

use super::{Outcome, UsageError, terminal};
use crate::config::{Config, Problems};
use crate::hubspot::Client;
use crate::telemetry::metrics::Metrics;

mod account;
mod database;
mod probe;
mod scopes;
mod unique;

/// Check configuration, database and HubSpot account, and suggest fixes
///
/// Sends no course. One line for each check: ✓ it is in order, ✗ `run` cannot work or be relied on, ! a warning, – it could
/// not be checked or does not apply. The exit code is 1 if there is any ✗, 2 if it is the configuration.
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON
    #[arg(long)]
    json: bool,
    /// Create the property that `hubspot.unique_property` names, with unique values, if it is not there
    #[arg(long)]
    fix: bool,
    /// Find out whether HubSpot keeps values unique among simultaneous requests; sandbox accounts only
    ///
    /// Creates records with one and the same value from many connections at once, counts how many came to be, and
    /// puts them into the recycle bin. Needs `hubspot.unique_property`
    #[arg(long, requires = "confirm_sandbox")]
    probe_uniqueness: bool,
    /// Confirm that this account is a sandbox, whose records are not needed
    #[arg(long)]
    confirm_sandbox: bool,
}

/// How a check ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Fine,
    Warning,
    Wrong,
    Unknown,
}

/// One check.
#[derive(Debug)]
struct Finding {
    code: &'static str,
    verdict: Verdict,
    text: String,
    fix: Option<String>,
}

impl Finding {
    fn fine(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, verdict: Verdict::Fine, text: text.into(), fix: None }
    }

    /// `run` works, but not for long.
    fn warning(code: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, verdict: Verdict::Warning, text: text.into(), fix: Some(fix.into()) }
    }

    fn wrong(code: &'static str, text: impl Into<String>, fix: impl Into<String>) -> Self {
        Self { code, verdict: Verdict::Wrong, text: text.into(), fix: Some(fix.into()) }
    }

    fn unknown(code: &'static str, text: impl Into<String>) -> Self {
        Self { code, verdict: Verdict::Unknown, text: text.into(), fix: None }
    }

    /// Because of an earlier one.
    fn skipped(code: &'static str, because: &str) -> Self {
        Self::unknown(code, format!("not checked: {because}"))
    }
}

/// The checks after the configuration, in their order.
const LATER: [&str; 10] = [
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
];

pub(super) async fn run(args: &Args, loaded: Result<Config, Problems>) -> anyhow::Result<Outcome> {
    let config = match loaded {
        Ok(config) => config,
        Err(problems) => {
            let why = "the configuration is wrong";
            // On a terminal they follow, on stderr, as for any command.
            let text = if args.json { problems.to_string() } else { format!("{} wrong", problems.0.len()) };
            let mut findings =
                vec![Finding::wrong("configuration", text, "stderr lists each problem with a suggested fix")];
            findings.extend(LATER.map(|code| Finding::skipped(code, why)));
            print(args, &findings, &[])?;
            return Err(problems.into());
        }
    };
    if (args.fix || args.probe_uniqueness) && config.hubspot.unique_property.is_none() {
        let message = "--fix and --probe-uniqueness need hubspot.unique_property: the name of the property";
        return Err(UsageError(message.into()).into());
    }
    let client = Arc::new(Client::new(&config.hubspot, probe::CONNECTIONS, Arc::new(Metrics::new()))?);
    let mut findings = vec![Finding::fine("configuration", "every setting is accepted")];
    findings.extend(database::check(&config).await?);
    findings.extend(account::check(&config, &client, args.fix).await);
    if args.probe_uniqueness {
        findings.push(probe::check(&config, &client).await);
    }
    print(args, &findings, &config.warnings())?;
    let is_wrong = findings.iter().any(|finding| finding.verdict == Verdict::Wrong);
    Ok(if is_wrong { Outcome::Failed } else { Outcome::Fine })
}

fn print(args: &Args, findings: &[Finding], warnings: &[String]) -> anyhow::Result<()> {
    let report = if args.json { as_json(findings, warnings)? } else { in_words(findings, warnings) };
    super::say(&report)?;
    Ok(())
}

fn in_words(findings: &[Finding], warnings: &[String]) -> String {
    let line = |finding: &Finding| {
        let mark = match finding.verdict {
            Verdict::Fine => '✓',
            Verdict::Wrong => '✗',
            Verdict::Warning => '!',
            Verdict::Unknown => '–',
        };
        let fix = finding.fix.as_ref().map(|fix| format!(". {}", capital(fix))).unwrap_or_default();
        let text = finding.text.trim_end_matches('.');
        terminal::plain(&format!("{mark} {:<16}{text}{fix}", finding.code))
    };
    let warnings = warnings.iter().map(|warning| terminal::plain(&format!("  note: {warning}")));
    findings.iter().map(line).chain(warnings).collect::<Vec<_>>().join("\n")
}

fn capital(text: &str) -> String {
    let mut chars = text.chars();
    chars.next().map(|first| first.to_uppercase().chain(chars).collect()).unwrap_or_default()
}

fn as_json(findings: &[Finding], warnings: &[String]) -> serde_json::Result<String> {
    let check = |finding: &Finding| {
        let status = match finding.verdict {
            Verdict::Fine => "ok",
            Verdict::Wrong => "failed",
            Verdict::Warning => "warning",
            Verdict::Unknown => "skipped",
        };
        json!({ "code": finding.code, "status": status, "message": finding.text, "fix": finding.fix })
    };
    let is_ok = findings.iter().all(|finding| finding.verdict != Verdict::Wrong);
    let checks: Vec<_> = findings.iter().map(check).collect();
    serde_json::to_string_pretty(&json!({ "ok": is_ok, "checks": checks, "warnings": warnings }))
}
