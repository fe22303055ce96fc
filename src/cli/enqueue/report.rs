//! The report on the lines of a file, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;

/// The largest number of refused lines that are listed; the rest are counted.
const MAX_LISTED: usize = 20;
/// Characters of a key that are shown.
const MAX_KEY_CHARS: usize = 60;

/// A line that was refused because of its content.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct RefusedLine {
    /// The first line of the record, from 1.
    pub line: u64,
    /// The course's key, if it could be read.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// The counts. Every line that is not blank is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct EnqueueReport {
    /// Nothing was written; `added` is the number of courses that would be enqueued.
    pub dry_run: bool,
    /// Existing courses are changed.
    #[serde(skip)]
    pub is_update: bool,
    /// Courses that were added.
    pub added: u64,
    /// Existing courses that were changed.
    pub updated: u64,
    /// Courses that were already in the outbox and stay as they are; unknown in a dry run.
    pub already_there: Option<u64>,
    /// Keys that occur earlier in the file; the first line counts.
    pub repeated: u64,
    /// Refused lines.
    pub refused: u64,
    /// The first refused lines, in order.
    pub refusals: Vec<RefusedLine>,
}

impl EnqueueReport {
    /// Counts a refused line, and keeps it if it is among the first.
    pub(super) fn add_refused(&mut self, refusal: RefusedLine) {
        self.refused += 1;
        self.list_refused(refusal);
    }

    /// Adds another part of the same file.
    pub(super) fn merge(&mut self, other: Self) {
        self.added += other.added;
        self.updated += other.updated;
        self.already_there = match (self.already_there, other.already_there) {
            (None, None) if self.dry_run => None,
            (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
        };
        self.repeated += other.repeated;
        self.refused += other.refused;
        other.refusals.into_iter().for_each(|refusal| self.list_refused(refusal));
    }

    fn list_refused(&mut self, refusal: RefusedLine) {
        let at = self.refusals.partition_point(|kept| kept.line <= refusal.line);
        self.refusals.insert(at, refusal);
        self.refusals.truncate(MAX_LISTED);
    }

    /// Writes the counts to `out`; the refused lines go to `err`, or into the JSON.
    pub(super) fn print_report(
        &self,
        json: bool,
        out: &mut impl Write,
        err: &mut impl Write,
    ) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", serde_json::to_string(self)?);
        }
        for RefusedLine { line, key, reason } in &self.refusals {
            match key {
                Some(key) => {
                    let shown: String = key.chars().take(MAX_KEY_CHARS).collect();
                    let cut = if shown.len() < key.len() { "…" } else { "" };
                    writeln!(err, "line {line}, course {:?}: {reason}", format!("{shown}{cut}"))?;
                }
                None => writeln!(err, "line {line}: {reason}")?,
            }
        }
        let unlisted = self.refused.saturating_sub(self.refusals.len() as u64);
        if unlisted > 0 {
            writeln!(err, "and {unlisted} more refused lines")?;
        }
        let Self { added, updated, repeated, refused, .. } = self;
        let rest = format!("repeated {repeated}, refused {refused}");
        match self.already_there {
            Some(there) if self.is_update => {
                writeln!(out, "added {added}, updated {updated}, already there {there}, {rest}")
            }
            Some(there) => writeln!(out, "added {added}, already there {there}, {rest}"),
            None if self.is_update => writeln!(out, "would add or update {added}, {rest}"),
            None => writeln!(out, "would add {added}, {rest}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refused_lines_are_listed_and_the_others_counted() {
        let mut report = EnqueueReport::default();
        for line in (1..=25).rev() {
            report.add_refused(RefusedLine { line, key: Some("K\n".to_owned()), reason: "no".into() });
        }
        report.merge(EnqueueReport { added: 3, already_there: Some(1), ..EnqueueReport::default() });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        report.print_report(false, &mut out, &mut err).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "added 3, already there 1, repeated 0, refused 25\n");
        let err = String::from_utf8(err).unwrap();
        assert!(err.starts_with("line 1, course \"K\\n\": no\n"), "{err}");
        assert!(err.ends_with("and 5 more refused lines\n"), "{err}");
        assert_eq!(err.lines().count(), MAX_LISTED + 1);
    }
}
