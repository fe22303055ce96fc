//! The closing table: what the demo did, for a person. Writes to where it is told.

use std::io::{self, Write};

use comfy_table::{Cell, CellAlignment, ContentArrangement, Table, presets};

use super::check::Check;
use super::progress::{count, counted};
use super::tally::{Reason, Tally};
use crate::simulator::Operation;

/// Columns of a terminal that nobody knows the width of.
const WIDTH: u16 = 80;
/// Wider lines are not easier to read.
const MAX_WIDTH: u16 = 110;

/// Writes everything that is to be said at the end.
pub(super) fn write(
    out: &mut impl Write,
    tally: &Tally,
    reasons: &[Reason],
    stories: &[String],
    check: &Check,
) -> io::Result<()> {
    writeln!(out, "{}", figures(tally).trim_fmt())?;
    if !reasons.is_empty() {
        writeln!(out, "\nWhy courses failed, as their rows say\n{}", failures(reasons).trim_fmt())?;
    }
    if !stories.is_empty() {
        writeln!(out, "\nWhat went wrong on the way, and healed by itself")?;
        for story in stories {
            writeln!(out, " {story}")?;
        }
    }
    writeln!(out, "\n{}", check.line())?;
    writeln!(out, "Next: README.md shows the way to your own catalogue and account.")
}

fn table() -> Table {
    let mut table = Table::new();
    table.load_style(presets::NOTHING).set_content_arrangement(ContentArrangement::Dynamic);
    // Some pseudo-terminals say 0.
    let width = table.width().filter(|width| *width > 0).unwrap_or(WIDTH);
    table.set_width(width.min(MAX_WIDTH));
    table
}

fn figures(tally: &Tally) -> Table {
    let (creates, reads) = (tally.requests(Operation::BatchCreate), tally.requests(Operation::BatchRead));
    let seen = &tally.seen;
    let sent = tally.created + tally.adopted + tally.failed;
    let seconds = tally.took.as_secs_f64();
    let both = format!("{} to create, {} to look up", count(creates), count(reads));
    let worst = format!("requests within 10 s at HubSpot; {} are allowed", seen.limit);
    let mut rows = vec![
        ("courses", count(tally.courses), ""),
        ("synced", count(tally.created), "created in HubSpot, each exactly once"),
        ("adopted", count(tally.adopted), "already there under the same key"),
        ("failed", count(tally.failed), "not as HubSpot takes them; each row says why"),
        ("requests", count(seen.requests), &both),
        ("courses per request", format!("{:.1}", ratio(sent, creates)), "of the 100 that HubSpot takes"),
        ("worst window", count(seen.worst_window), &worst),
    ];
    // A share of a window that was not lived through would mislead.
    if tally.took >= tally.window {
        let share = format!("{:.1} %", seen.quota_share * 100.0);
        rows.push(("quota used", share, "of what HubSpot's whole windows allowed"));
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

fn failures(reasons: &[Reason]) -> Table {
    let mut table = table();
    for reason in reasons {
        let about = if reason.property.is_empty() { String::new() } else { format!(" {}", reason.property) };
        let what = format!("{}\n{}{about}, for example {}", reason.message, reason.code, reason.example);
        table
            .add_row([Cell::new(count(reason.courses)).set_alignment(CellAlignment::Right), Cell::new(what)]);
    }
    table
}

#[allow(clippy::cast_precision_loss)] // figures for people
fn ratio(part: usize, whole: usize) -> f64 {
    part as f64 / whole.max(1) as f64
}

#[allow(clippy::cast_precision_loss, clippy::cast_possible_truncation, clippy::cast_sign_loss)] // as above
fn per_second(courses: usize, seconds: f64) -> String {
    let rate = (courses as f64 / seconds.max(0.001)).round() as usize;
    format!("{} a second", counted(rate, "course"))
}
