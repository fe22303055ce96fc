//! `status`: courses by status, leader, pauses, rate and quota.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};

use super::connections::open_database;
use super::format::{format_time, pluralize, sanitize};
use super::outcome::CommandOutcome;
use super::output::print_result;
use crate::config::Config;
use crate::course::Status;
use crate::policy::leader_report::PauseReport;
use crate::report::status::{AuditStatus, QuotaSettings, StatusReport, read_status};

/// Show courses by status, leader, pauses, rate and quota
///
/// Reads only the database, so it works from anywhere and without a running daemon.
#[derive(Debug, clap::Args)]
pub(super) struct StatusArgs {
    /// Print JSON, the same as /status of the daemon
    #[arg(long)]
    json: bool,
    /// Repeat every 2 s until Ctrl-C; with --json, print one line each time
    #[arg(long)]
    watch: bool,
}

/// The interval of `--watch`.
const WATCH_INTERVAL: Duration = Duration::from_secs(2);
/// Moves the cursor of a terminal to the top and clears the screen.
const CLEAR_SCREEN: &str = "\u{1b}[H\u{1b}[J";

pub(super) async fn run(args: &StatusArgs, config: &Config) -> anyhow::Result<CommandOutcome> {
    let database = open_database(config).await?;
    let quota = QuotaSettings::new(config);
    loop {
        let report = read_status(&database, quota).await?;
        let text = match (args.json, args.watch) {
            (true, false) => serde_json::to_string_pretty(&report)?,
            (true, true) => serde_json::to_string(&report)?,
            (false, true) if std::io::stdout().is_terminal() => {
                format!("{CLEAR_SCREEN}{}", format_text(&report))
            }
            (false, _) => format_text(&report),
        };
        let is_read = print_result(&text)?;
        if !(args.watch && is_read) {
            return Ok(CommandOutcome::Success);
        }
        tokio::time::sleep(WATCH_INTERVAL).await;
    }
}

fn format_text(report: &StatusReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for status in Status::ALL {
        let name = status.as_str();
        let about = if report.estimated.contains(&name) { "≈ " } else { "" };
        let count = report.counts.get(name).copied().unwrap_or_default();
        let count = Cell::new(format!("{about}{count}")).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), count, Cell::new(format_oldest(report, status))]);
    }
    let mut lines = vec![table.trim_fmt()];
    lines.push(match &report.leader {
        Some(leader) => {
            format!("leader: {} (term {})", leader.host.as_deref().unwrap_or("unknown"), leader.term)
        }
        None => "leader: none; start `course-sync run`".to_owned(),
    });
    for pause in &report.pauses {
        lines.push(format_pause(pause));
    }
    let minute = &report.last_minute;
    let (requests, courses) = (pluralize(minute.requests, "request"), pluralize(minute.courses, "course"));
    lines.push(format!("last minute: {requests}, {courses}"));
    let quota = &report.quota;
    let (used, requests, per) = (quota.used, quota.requests, quota.per_seconds);
    lines.push(format!("quota: {used} of {requests} requests used in the last {per} s"));
    lines.push(format!(
        "batch size: at most {}",
        pluralize(i64::try_from(report.batch_size).unwrap_or(i64::MAX), "course")
    ));
    if let Some(hubspot) = &quota.hubspot
        && let (Some(left), Some(daily)) = (hubspot.daily_remaining, hubspot.daily)
    {
        lines.push(format!("calls left today: {left} of {daily}, as last reported by HubSpot"));
    }
    if let Some(left) = report.seconds_to_empty.filter(|left| *left > 0.0) {
        lines.push(format!("time to empty: about {}", format_duration(left)));
    }
    lines.extend(report.audit.as_ref().map(format_audit));
    if report.refused_courses > 0 {
        lines.push(format!(
            "refused: the outbox cannot hold {} of attached tables; see `course-sync check`",
            pluralize(report.refused_courses, "course")
        ));
    }
    lines.join("\n")
}

fn format_audit(audit: &AuditStatus) -> String {
    let number = |count: u64| i64::try_from(count).unwrap_or(i64::MAX);
    let left = audit.differences.iter().map(|(class, count)| format!("{count} {}", class.as_str()));
    let left = left.collect::<Vec<_>>().join(", ");
    let state = match (audit.complete, audit.completed_at) {
        (true, _) => "complete".to_owned(),
        (false, Some(at)) => format!("not complete; the last complete one ended {}", format_time(at)),
        (false, None) => "not complete; there was no complete one".to_owned(),
    };
    format!(
        "last audit: {}, {}, {state}; {}",
        format_time(audit.ended_at),
        pluralize(number(audit.courses), "course"),
        if left.is_empty() { "no differences left".to_owned() } else { format!("differences left: {left}") }
    )
}

fn format_pause(pause: &PauseReport) -> String {
    let details = [
        pause.author.as_ref().map(|author| format!("by {author}")),
        pause.since.map(|since| format!("since {}", format_time(since))),
        pause.until.map(|until| format!("next attempt {}", format_time(until))),
        pause.ends.map(|ends| format!("ends {}", format_time(ends))),
    ];
    let details: Vec<_> = details.into_iter().flatten().collect();
    let details = if details.is_empty() { String::new() } else { format!(" [{}]", details.join(", ")) };
    let scope = pause.scope().map(|scope| format!(", {scope}")).unwrap_or_default();
    sanitize(&format!("paused ({}{scope}): {}{details}", pause.reason.as_str(), pause.message))
}

fn format_oldest(report: &StatusReport, status: Status) -> String {
    let since = match status {
        Status::Pending => report.oldest_pending_seconds,
        Status::InFlight => report.oldest_in_flight_seconds,
        Status::Unconfirmed => report.oldest_unconfirmed_seconds,
        Status::Synced | Status::Failed | Status::Archived => None,
    };
    since.map(|seconds| format!("oldest {}", format_duration(seconds))).unwrap_or_default()
}

fn format_duration(seconds: f64) -> String {
    let whole = Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}
