//! The closing table: the results of the demo. Writes to the given writer.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};
use simulator::Operation;
use terminal_size::{Width, terminal_size_of};

use super::progress::{count, counted};
use super::totals::{FailureGroup, Totals};
use super::verification::Verification;

/// Columns, if the width of the terminal is unknown.
const DEFAULT_WIDTH: u16 = 80;
/// Longer lines are harder to read.
const MAX_WIDTH: u16 = 110;

/// Writes totals, failures, incidents and the result of the verification.
pub(super) fn write(
    out: &mut impl Write,
    totals: &Totals,
    failures: &[FailureGroup],
    incidents: &[String],
    verification: &Verification,
) -> io::Result<()> {
    writeln!(out, "{}", totals_table(totals).trim_fmt())?;
    if !failures.is_empty() {
        writeln!(out, "\nFailed courses, by error\n{}", failures_table(failures).trim_fmt())?;
    }
    if !incidents.is_empty() {
        writeln!(out, "\nIncidents, recovered automatically")?;
        for incident in incidents {
            writeln!(out, " {incident}")?;
        }
    }
    writeln!(out, "\n{}", verification.line())?;
    writeln!(out, "Next: README.md describes how to connect your own catalogue and account.")
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Some pseudo-terminals report a width of 0.
    let width = terminal_size_of(io::stdout()).map(|(Width(width), _)| width).filter(|width| *width > 0);
    let width = width.unwrap_or(DEFAULT_WIDTH);
    table.set_width(width.min(MAX_WIDTH));
    table
}

fn totals_table(totals: &Totals) -> Table {
    let (creates, reads) = (totals.requests(Operation::BatchCreate), totals.requests(Operation::BatchRead));
    let (updates, archives) =
        (totals.requests(Operation::BatchUpdate), totals.requests(Operation::BatchArchive));
    let seen = &totals.seen;
    let sent = totals.created + totals.adopted + totals.failed;
    let seconds = totals.took.as_secs_f64();
    let kinds = format!(
        "{} creates, {} updates, {} archives, {} reads",
        count(creates),
        count(updates),
        count(archives),
        count(reads)
    );
    let worst = format!("requests within 10 s, of {} allowed", seen.limit);
    let mut rows = vec![
        ("courses", count(totals.courses), ""),
        ("synced", count(totals.created), "created in HubSpot exactly once"),
        ("adopted", count(totals.adopted), "already in HubSpot with the same key"),
        ("changed", count(totals.changed), "updated in HubSpot, with what differs only"),
        ("withdrawn", count(totals.withdrawn), "moved to HubSpot's recycle bin"),
        ("failed", count(totals.failed), "rejected by HubSpot; the row holds the error"),
        ("requests", count(seen.requests), &kinds),
        ("courses per create", format!("{:.1}", ratio(sent, creates)), "of at most 100"),
        ("worst window", count(seen.worst_window), &worst),
    ];
    // Less than one whole window would give a misleading figure.
    if totals.took >= totals.window {
        let share = format!("{:.1} %", seen.quota_share * 100.0);
        rows.push(("quota used", share, "of the requests allowed in complete windows"));
    }
    let rate = per_second(sent, seconds);
    rows.push(("seconds", format!("{seconds:.1}"), &rate));
    let mut table = table();
    for (name, value, remark) in rows {
        let value = Cell::new(value).set_alignment(CellAlignment::Right);
        table.add_row([Cell::new(name), value, Cell::new(remark)]);
    }
    table
}

fn failures_table(failures: &[FailureGroup]) -> Table {
    let mut table = table();
    for failure in failures {
        let about =
            if failure.property.is_empty() { String::new() } else { format!(" {}", failure.property) };
        let what = format!("{}\n{}{about}, for example {}", failure.message, failure.code, failure.example);
        table.add_row([
            Cell::new(count(failure.courses)).set_alignment(CellAlignment::Right),
            Cell::new(what),
        ]);
    }
    table
}

#[allow(clippy::cast_precision_loss)] // for display only
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as above
fn per_second(courses: usize, seconds: f64) -> String {
    let rate = (courses as f64 / seconds.max(0.001)).round() as usize;
    format!("{} a second", counted(rate, "course"))
}
