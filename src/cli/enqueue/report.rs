//! What became of the lines of a file, and how a person or a script reads it.

use std::io::{self, Write};

use serde::Serialize;

/// Refused lines that a report lists; the rest are counted.
const LISTED: usize = 20;
/// Characters of a key that a line of the report shows.
const SHOWN_KEY_CHARS: usize = 60;

/// A line that is not in the outbox because of what it holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The line of the file at which it begins, from 1.
    pub line: u64,
    /// The course's key, where it could be read.
    pub key: Option<String>,
    /// What is wrong.
    pub reason: String,
}

/// The closing count. Every line that holds anything is counted once.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Report {
    /// Nothing was written; `added` says how many the outbox would have been offered.
    pub dry_run: bool,
    /// New in the outbox.
    pub added: u64,
    /// Keys the outbox already held; unknown in a dry run.
    pub already_there: Option<u64>,
    /// Keys that an earlier line of the file has; the first one counts.
    pub repeated: u64,
    /// Lines refused.
    pub refused: u64,
    /// The first of them in order of line.
    pub refusals: Vec<Refusal>,
}

impl Report {
    /// Counts a refused line, and keeps it if it is among the first.
    pub(super) fn refuse(&mut self, refusal: Refusal) {
        self.refused += 1;
        self.keep(refusal);
    }

    /// Adds another part of the same file.
    pub(super) fn add(&mut self, other: Self) {
        self.added += other.added;
        self.already_there = match (self.already_there, other.already_there) {
            (None, None) if self.dry_run => None,
            (one, two) => Some(one.unwrap_or(0) + two.unwrap_or(0)),
        };
        self.repeated += other.repeated;
        self.refused += other.refused;
        other.refusals.into_iter().for_each(|refusal| self.keep(refusal));
    }

    fn keep(&mut self, refusal: Refusal) {
        let at = self.refusals.partition_point(|kept| kept.line <= refusal.line);
        self.refusals.insert(at, refusal);
        self.refusals.truncate(LISTED);
    }

    /// Writes the counts to `out`; the refused lines go to `err`, or into the JSON.
    pub(super) fn print(&self, json: bool, out: &mut impl Write, err: &mut impl Write) -> io::Result<()> {
        if json {
            return writeln!(out, "{}", serde_json::to_string(self)?);
        }
        for Refusal { line, key, reason } in &self.refusals {
            match key {
                Some(key) => {
                    let shown: String = key.chars().take(SHOWN_KEY_CHARS).collect();
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
        let Self { added, repeated, refused, .. } = self;
        match self.already_there {
            Some(there) => {
                writeln!(out, "added {added}, already there {there}, repeated {repeated}, refused {refused}")
            }
            None => writeln!(out, "would add {added}, repeated {repeated}, refused {refused}"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_refused_lines_are_listed_and_the_rest_counted() {
        let mut report = Report::default();
        for line in (1..=25).rev() {
            report.refuse(Refusal { line, key: Some("K\n".to_owned()), reason: "no".into() });
        }
        report.add(Report { added: 3, already_there: Some(1), ..Report::default() });
        let (mut out, mut err) = (Vec::new(), Vec::new());
        report.print(false, &mut out, &mut err).unwrap();
        assert_eq!(String::from_utf8(out).unwrap(), "added 3, already there 1, repeated 0, refused 25\n");
        let err = String::from_utf8(err).unwrap();
        assert!(err.starts_with("line 1, course \"K\\n\": no\n"), "{err}");
        assert!(err.ends_with("and 5 more refused lines\n"), "{err}");
        assert_eq!(err.lines().count(), LISTED + 1);
    }
}
