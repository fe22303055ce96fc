//! `status`: what the outbox holds, who sends, and how fast.

use std::io::IsTerminal;
use std::time::Duration;

use comfy_table::{Cell, CellAlignment, Table, presets};
use jiff::Timestamp;
use serde_json::Value;

use super::Outcome;
use super::terminal::{at, counted, plain};
use crate::config::Config;
use crate::course::Status;
use crate::daemon::status::{self, StatusReport};

/// Show what the outbox holds, who sends, and how fast
///
/// Reads the database alone, so it works whether or not a daemon runs, and from anywhere.
#[derive(Debug, clap::Args)]
pub(super) struct Args {
    /// Print JSON, as /status of the daemon does
    #[arg(long)]
    json: bool,
    /// Show it again every 2 s, until Ctrl-C; with --json, one line each
    #[arg(long)]
    watch: bool,
}

/// How often `--watch` shows it again.
const AGAIN: Duration = Duration::from_secs(2);
/// Moves a terminal's cursor to the top and clears what is below.
const FROM_THE_TOP: &str = "\u{1b}[H\u{1b}[J";

pub(super) async fn run(args: &Args, config: &Config) -> anyhow::Result<Outcome> {
    let database = super::ready_database(config).await?;
    loop {
        let (quota, batch) = (&config.rate_limit, config.batch.max_size);
        let report = status::read(&database, quota.requests, quota.per, batch).await?;
        let told = match (args.json, args.watch) {
            (true, false) => serde_json::to_string_pretty(&report)?,
            (true, true) => serde_json::to_string(&report)?,
            (false, true) if std::io::stdout().is_terminal() => {
                format!("{FROM_THE_TOP}{}", in_words(&report))
            }
            (false, _) => in_words(&report),
        };
        let is_read = super::say(&told)?;
        if !(args.watch && is_read) {
            return Ok(Outcome::Fine);
        }
        tokio::time::sleep(AGAIN).await;
    }
}

fn in_words(report: &StatusReport) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    for status in Status::ALL {
        let name = status.as_str();
        let about = if report.estimated.contains(&name) { "≈ " } else { "" };
        let count = report.counts.get(name).copied().unwrap_or_default();
        let count = Cell::new(format!("{about}{count}")).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), count, Cell::new(waiting(report, status))]);
    }
    let mut lines = vec![table.trim_fmt()];
    lines.push(match &report.leader {
        Some(leader) => {
            format!("leader: {} (term {})", leader.host.as_deref().unwrap_or("unknown"), leader.term)
        }
        None => "leader: nobody; start `course-sync run`".to_owned(),
    });
    for pause in &report.pauses {
        lines.push(paused(pause));
    }
    let minute = &report.last_minute;
    let (requests, courses) = (counted(minute.requests, "request"), counted(minute.courses, "course"));
    lines.push(format!("last minute: {requests}, {courses}"));
    let quota = &report.quota;
    let (used, requests, per) = (quota.used, quota.requests, quota.per_seconds);
    lines.push(format!("quota: {used} of {requests} requests used in the last {per} s"));
    lines.push(format!(
        "batch size: {} at most",
        counted(i64::try_from(report.batch_size).unwrap_or(i64::MAX), "course")
    ));
    let told = |name: &str| quota.hubspot.get(name).and_then(Value::as_u64);
    if let (Some(left), Some(daily)) = (told("daily_remaining"), told("daily")) {
        lines.push(format!("calls left today: {left} of {daily}, as HubSpot said last"));
    }
    if let Some(left) = report.seconds_to_empty.filter(|left| *left > 0.0) {
        lines.push(format!("time to empty: about {}", duration(left)));
    }
    lines.join("\n")
}

/// One pause: why, who, since when, and how it ends by itself.
fn paused(pause: &Value) -> String {
    let text = |name: &str| pause.get(name).and_then(Value::as_str);
    let time = |name: &str| text(name)?.parse::<Timestamp>().ok().map(at);
    let details = [
        text("author").map(|author| format!("by {author}")),
        time("since").map(|since| format!("since {since}")),
        time("until").map(|until| format!("next try {until}")),
        time("ends").map(|ends| format!("over {ends}")),
    ];
    let details: Vec<_> = details.into_iter().flatten().collect();
    let (reason, message) = (text("reason").unwrap_or_default(), text("message").unwrap_or_default());
    let scope = if text("operation").is_some() { ", look-ups only" } else { "" };
    let details = if details.is_empty() { String::new() } else { format!(" [{}]", details.join(", ")) };
    plain(&format!("paused ({reason}{scope}): {message}{details}"))
}

fn waiting(report: &StatusReport, status: Status) -> String {
    let since = match status {
        Status::Pending => report.oldest_pending_seconds,
        Status::InFlight => report.oldest_in_flight_seconds,
        Status::Unconfirmed => report.oldest_unconfirmed_seconds,
        Status::Synced | Status::Failed => None,
    };
    since.map(|seconds| format!("oldest {}", duration(seconds))).unwrap_or_default()
}

fn duration(seconds: f64) -> String {
    let whole = std::time::Duration::try_from_secs_f64(seconds.ceil()).unwrap_or_default();
    humantime::format_duration(whole).to_string()
}
