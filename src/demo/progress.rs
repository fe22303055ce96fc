//! What a person sees while it runs: a bar on a terminal, a plain line every few seconds elsewhere.
//!
//! Touches stderr. A stderr that cannot be written to stops nothing.

use std::io::Write;
use std::time::{Duration, Instant};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use jiff::Timestamp;

use crate::daemon::account::PauseView;

/// How often a plain line comes.
const PLAIN_EVERY: Duration = Duration::from_secs(2);
const STYLE: &str = "  {bar:40.green/dim} {percent:>3} %\n  {prefix}\n  {msg:.dim}";

/// Where things stand.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    /// Courses that HubSpot holds.
    pub synced: u64,
    /// Courses that it refused.
    pub failed: u64,
    /// Courses whose outcome is unknown for the moment.
    pub in_doubt: i64,
    /// Requests in the quota's last window.
    pub requests: i64,
    /// Requests that the window allows.
    pub quota: u32,
    /// Why nothing is sent, if so.
    pub pause: Option<PauseView>,
}

impl Standing {
    /// Courses that have come to rest.
    pub(super) fn settled(&self) -> u64 {
        self.synced + self.failed
    }
}

/// The display.
pub(super) struct Progress {
    courses: u64,
    began: Instant,
    bar: Option<ProgressBar>,
    is_drawn: bool,
    told: Option<Instant>,
}

impl Progress {
    /// For so many courses. `plain`: no bar even on a terminal, as something else writes there too.
    pub(super) fn new(courses: usize, plain: bool) -> Self {
        let courses = courses as u64;
        let style = ProgressStyle::with_template(STYLE)
            .unwrap_or_else(|_| ProgressStyle::default_bar())
            .progress_chars("━━─");
        let bar = ProgressBar::new(courses).with_style(style);
        let bar = Some(bar).filter(|bar| !plain && !bar.is_hidden());
        Self { courses, began: Instant::now(), bar, is_drawn: false, told: None }
    }

    /// Writes a line that stays.
    pub(super) fn tell(&self, line: &str) {
        match &self.bar {
            Some(bar) if self.is_drawn => bar.suspend(|| announce(line)),
            _ => announce(line),
        }
    }

    /// Shows where things stand.
    pub(super) fn show(&mut self, now: &Standing) {
        if let Some(bar) = &self.bar {
            bar.set_prefix(counts(now, self.courses));
            bar.set_message(remark(now));
            bar.set_position(now.settled());
            self.is_drawn = true;
        } else if self.is_full(now) || self.told.is_none_or(|told| told.elapsed() >= PLAIN_EVERY) {
            let seconds = self.began.elapsed().as_secs();
            announce(&format!("{seconds:>3} s  {}  ({})", counts(now, self.courses), remark(now)));
            self.told = Some(Instant::now());
        }
    }

    /// Whether every course has come to rest.
    pub(super) fn is_full(&self, now: &Standing) -> bool {
        now.settled() >= self.courses
    }

    /// Takes the bar away after a signal. The terminal has echoed `^C` behind the bar's last line, which
    /// fills its width, and so moved the cursor down by one.
    pub(super) fn break_off(&mut self) {
        if self.bar.is_some() && self.is_drawn {
            write!(std::io::stderr(), "\x1b[A").ok();
            self.end();
            // Where nothing was echoed, one line is left below.
            write!(std::io::stderr(), "\x1b[J").ok();
        }
    }

    /// Takes the bar away.
    pub(super) fn end(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

/// Writes a line to stderr.
pub(super) fn announce(line: &str) {
    // Without a reader the demo goes on.
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

fn counts(now: &Standing, courses: u64) -> String {
    let left = courses.saturating_sub(now.settled());
    let doubt = match now.in_doubt {
        ..=0 => String::new(),
        doubt => format!(", {} of them in doubt", HumanCount(doubt.unsigned_abs())),
    };
    format!(
        "{} synced · {} failed · {} to go{doubt}",
        HumanCount(now.synced),
        HumanCount(now.failed),
        HumanCount(left)
    )
}

fn remark(now: &Standing) -> String {
    if let Some(pause) = &now.pause {
        let left = pause.until.map(|until| until.duration_since(Timestamp::now()).as_secs_f64());
        let then = match left {
            Some(left) if left > 0.0 => format!("next try in {left:.1} s"),
            _ => "trying".to_owned(),
        };
        // The rest is for the log and `status`.
        let what = pause.message.split(':').next().unwrap_or_default();
        return format!("paused, {then}: {what}");
    }
    let used = format!("{} of {} requests in the last window", now.requests, now.quota);
    if now.requests >= i64::from(now.quota) { format!("waiting for the quota: {used}") } else { used }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_line_says_where_things_stand() {
        let mut now =
            Standing { synced: 19_000, failed: 12, requests: 190, quota: 190, ..Standing::default() };
        assert_eq!(counts(&now, 50_000), "19,000 synced · 12 failed · 30,988 to go");
        assert_eq!(remark(&now), "waiting for the quota: 190 of 190 requests in the last window");
        now.in_doubt = 300;
        assert!(counts(&now, 50_000).ends_with("30,988 to go, 300 of them in doubt"));
        now.pause = Some(PauseView {
            reason: "unavailable",
            message: "HubSpot answered 502: <html>".to_owned(),
            since: Timestamp::UNIX_EPOCH,
            operation: None,
            until: Some(Timestamp::UNIX_EPOCH),
            ends: None,
        });
        assert_eq!(remark(&now), "paused, trying: HubSpot answered 502");
    }

    #[test]
    fn numbers_read_well() {
        assert_eq!(
            (counted(1, "request"), counted(1_234, "request")),
            ("1 request".into(), "1,234 requests".into())
        );
    }
}
