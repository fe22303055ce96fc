//! The progress display: a bar on a terminal, otherwise a plain line every few seconds.
//!
//! Touches stderr. Write errors are ignored.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::policy::leader_report::PauseReport;

/// Time between two plain lines.
const LINE_INTERVAL: Duration = Duration::from_secs(2);
const STYLE: &str = "  {bar:40.green/dim} {percent:>3} %\n  {prefix}\n  {msg:.dim}";

/// The state of the demo at one moment.
#[derive(Debug, Clone, Default)]
pub(super) struct Snapshot {
    /// Courses that are in HubSpot.
    pub synced: u64,
    /// Courses that HubSpot rejected.
    pub failed: u64,
    /// Changes and withdrawals that HubSpot has.
    pub changed: u64,
    /// Courses whose outcome is unknown for now.
    pub unconfirmed: i64,
    /// Requests in the last window of the quota.
    pub requests: i64,
    /// Requests allowed in a window.
    pub quota: u32,
    /// Why nothing is being sent, if sending is paused.
    pub pause: Option<PauseReport>,
}

impl Snapshot {
    /// Courses that are synced or failed.
    pub(super) fn settled(&self) -> u64 {
        self.synced + self.failed
    }
}

/// The progress display.
pub(super) struct ProgressDisplay {
    courses: u64,
    began: Instant,
    bar: Option<ProgressBar>,
    is_drawn: bool,
    last_line: Option<Instant>,
}

impl ProgressDisplay {
    /// A display for this many courses. `plain`: no bar even on a terminal, because the log is written there too.
    pub(super) fn new(courses: usize, plain: bool) -> Self {
        let courses = courses as u64;
        let style = ProgressStyle::with_template(STYLE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─");
        let bar = ProgressBar::new(courses).with_style(style);
        let bar = Some(bar).filter(|bar| !plain && !bar.is_hidden());
        Self { courses, began: Instant::now(), bar, is_drawn: false, last_line: None }
    }

    /// Prints a line above the bar.
    pub(super) fn print_line(&self, line: &str) {
        match &self.bar {
            Some(bar) if self.is_drawn => bar.suspend(|| print_to_stderr(line)),
            _ => print_to_stderr(line),
        }
    }

    /// Shows the current state.
    pub(super) fn update(&mut self, now: &Snapshot) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(describe_counts(now, self.courses));
            bar.set_message(describe_state(now));
            bar.set_position(now.settled());
            self.is_drawn = true;
        } else if self.is_complete(now)
            || self.last_line.is_none_or(|printed| printed.elapsed() >= LINE_INTERVAL)
        {
            let seconds = self.began.elapsed().as_secs();
            print_to_stderr(&format!(
                "{seconds:>3} s  {}  ({})",
                describe_counts(now, self.courses),
                describe_state(now)
            ));
            self.last_line = Some(Instant::now());
        }
    }

    /// Whether every course is synced or failed.
    pub(super) fn is_complete(&self, now: &Snapshot) -> bool {
        now.settled() >= self.courses
    }

    /// Removes the bar after a signal. The terminal has echoed `^C` after the bar's last line, which fills the
    /// width, so the cursor is one line too low.
    pub(super) fn abort(&mut self) {
        if self.bar.is_some() && self.is_drawn {
            write!(std::io::stderr(), "\x1b[A").ok();
            self.finish();
            // If nothing was echoed, one line is left below.
            write!(std::io::stderr(), "\x1b[J").ok();
        }
    }

    /// Removes the bar.
    pub(super) fn finish(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to stderr.
pub(super) fn print_to_stderr(line: &str) {
    // The demo continues when stderr is closed.
    writeln!(std::io::stderr(), "{line}").ok();
}

/// `1,234`
pub(super) fn count(number: usize) -> String {
    HumanCount(number as u64).to_string()
}

/// `1 request`, `1,234 requests`
pub(super) fn counted(number: usize, what: &str) -> String {
    format!("{} {what}{}", count(number), if number == 1 { "" } else { "s" })
}

fn describe_counts(now: &Snapshot, courses: u64) -> String {
    let left = courses.saturating_sub(now.settled());
    let unconfirmed = match now.unconfirmed {
        ..=0 => String::new(),
        courses => format!(", {} of them unconfirmed", HumanCount(courses.unsigned_abs())),
    };
    format!(
        "{} synced · {} failed · {} to go{unconfirmed}",
        HumanCount(now.synced),
        HumanCount(now.failed),
        HumanCount(left)
    )
}

fn describe_state(now: &Snapshot) -> String {
    if let Some(pause) = &now.pause {
        let left = pause.until.map(|until| until.duration_since(Timestamp::now()).as_secs_f64());
        let then = match left {
            Some(left) if left > 0.0 => format!("next attempt in {left:.1} s"),
            _ => "retrying".to_owned(),
        };
        // The rest of the message is in the log and in `status`.
        let what = pause.message.split(':').next().unwrap_or_default();
        return format!("paused, {then}: {what}");
    }
    let used = format!("{} of {} requests in the last window", now.requests, now.quota);
    if now.requests >= i64::from(now.quota) { format!("waiting for the quota: {used}") } else { used }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::gate::Reason;

    #[test]
    fn counts_and_state_are_described() {
        let mut now =
            Snapshot { synced: 19_000, failed: 12, requests: 190, quota: 190, ..Snapshot::default() };
        assert_eq!(describe_counts(&now, 50_000), "19,000 synced · 12 failed · 30,988 to go");
        assert_eq!(describe_state(&now), "waiting for the quota: 190 of 190 requests in the last window");
        now.unconfirmed = 300;
        assert!(describe_counts(&now, 50_000).ends_with("30,988 to go, 300 of them unconfirmed"));
        now.pause = Some(PauseReport {
            reason: Reason::Unavailable.into(),
            message: "HubSpot answered 502: <html>".to_owned(),
            since: Some(Timestamp::UNIX_EPOCH),
            author: None,
            operation: None,
            until: Some(Timestamp::UNIX_EPOCH),
            ends: None,
        });
        assert_eq!(describe_state(&now), "paused, retrying: HubSpot answered 502");
    }

    #[test]
    fn numbers_have_separators_and_plurals() {
        assert_eq!(
            (counted(1, "request"), counted(1_234, "request")),
            ("1 request".into(), "1,234 requests".into())
        );
    }
}
