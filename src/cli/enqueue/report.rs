//! The report on the lines of a file, as text and as JSON.

use std::io::{self, Write};

use serde::Serialize;
use serde_json::{Value, json};

use super::account::ExpectedRefusals;
use crate::cli::format::{sanitize, truncate};
use crate::outbox::ops::enqueue::NewCourse;

/// The largest number of refused lines, or of warnings, that are listed; the rest are counted.
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

/// The counts. Every record that is not blank is counted once: as added, updated, already there, repeated or refused.
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
    /// Records that repeat an earlier one of the file: the same key and the same content.
    pub repeated: u64,
    /// Refused lines.
    pub refused: u64,
    /// The first refused lines, in order.
    pub refusals: Vec<RefusedLine>,
    /// How the file was read: format, encoding, and how its columns are separated.
    pub input: String,
    /// The column separator of CSV.
    pub delimiter: Option<char>,
    /// Courses without `hs_course_name`, which HubSpot refuses to create. They are also counted above.
    pub without_name: u64,
    /// What is valid, but probably not meant; the first ones.
    pub warnings: Vec<String>,
    /// The members that `--map` names and that no line has.
    pub missing_members: Vec<String>,
    /// In a dry run, the first course as it would be stored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub first_course: Option<Value>,
    /// In a dry run with an account: what HubSpot would refuse.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub hubspot: Option<ExpectedRefusals>,
}

impl EnqueueReport {
    /// Whether something in the file needs to be corrected.
    pub(super) fn has_failures(&self) -> bool {
        let expected = self.hubspot.as_ref().map_or(0, |hubspot| hubspot.courses);
        self.refused > 0 || expected > 0 || !self.missing_members.is_empty()
    }

    /// Counts a refused line, and keeps it if it is among the first.
    pub(super) fn add_refused(&mut self, refusal: RefusedLine) {
        self.refused += 1;
        self.list_refused(refusal);
    }

    /// Keeps a warning, if it is among the first.
    pub(super) fn add_warning(&mut self, warning: String) {
        if self.warnings.len() < MAX_LISTED {
            self.warnings.push(warning);
        }
    }

    /// Keeps the first course.
    pub(super) fn show_course(&mut self, line: u64, course: &NewCourse) {
        self.first_course.get_or_insert_with(|| {
            json!({
                "line": line,
                "course_key": course.key.as_str(),
                "properties": course.properties.to_json(),
                "associations": course.associations.as_ref().map_or_else(|| json!([]), |it| json!(it.to_json())),
                "archived": course.archived.unwrap_or(false),
            })
        });
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
        self.print_refusals(err)?;
        self.print_warnings(err)?;
        if let Some(course) = &self.first_course {
            print_course(course, out)?;
        }
        if let Some(hubspot) = &self.hubspot {
            print_expected(hubspot, out)?;
        }
        self.print_counts(out)
    }

    fn print_refusals(&self, err: &mut impl Write) -> io::Result<()> {
        for RefusedLine { line, key, reason } in &self.refusals {
            match key {
                Some(key) => writeln!(err, "line {line}, course {}: {reason}", quote_key(key))?,
                None => writeln!(err, "line {line}: {reason}")?,
            }
        }
        let unlisted = self.refused.saturating_sub(self.refusals.len() as u64);
        if unlisted > 0 {
            writeln!(err, "and {unlisted} more refused lines")?;
        }
        Ok(())
    }

    fn print_warnings(&self, err: &mut impl Write) -> io::Result<()> {
        for warning in &self.warnings {
            writeln!(err, "warning: {warning}")?;
        }
        for member in &self.missing_members {
            writeln!(err, "no line has the member {member:?}, which --map names; check its spelling")?;
        }
        if self.without_name > 0 {
            writeln!(
                err,
                "courses without hs_course_name, which HubSpot refuses to create: {}",
                self.without_name
            )?;
        }
        if self.already_there.is_some_and(|there| there > 0) && !self.is_update {
            writeln!(err, "courses that were already there stay as they are; to change them, use --update")?;
        }
        Ok(())
    }

    fn print_counts(&self, out: &mut impl Write) -> io::Result<()> {
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

/// A key in quotes, shortened.
pub(super) fn quote_key(key: &str) -> String {
    let shown: String = key.chars().take(MAX_KEY_CHARS).collect();
    let cut = if shown.len() < key.len() { "…" } else { "" };
    format!("{:?}", format!("{shown}{cut}"))
}

fn print_course(course: &Value, out: &mut impl Write) -> io::Result<()> {
    const MAX_VALUE_CHARS: usize = 200;
    writeln!(out, "first course, as it would be stored (line {}):", course["line"])?;
    writeln!(out, "  course_key: {}", course["course_key"])?;
    for (name, value) in course["properties"].as_object().into_iter().flatten() {
        writeln!(out, "  {}: {}", sanitize(name), truncate(&value.to_string(), MAX_VALUE_CHARS))?;
    }
    if course["associations"].as_array().is_some_and(|list| !list.is_empty()) {
        writeln!(out, "  associations: {}", truncate(&course["associations"].to_string(), MAX_VALUE_CHARS))?;
    }
    if course["archived"] == true {
        writeln!(out, "  archived: true")?;
    }
    Ok(())
}

fn print_expected(hubspot: &ExpectedRefusals, out: &mut impl Write) -> io::Result<()> {
    if hubspot.courses == 0 {
        return writeln!(out, "HubSpot would refuse none, as far as the account's properties show");
    }
    writeln!(out, "HubSpot would refuse {}:", hubspot.courses)?;
    for problem in hubspot.problems.values() {
        let key = quote_key(&problem.key);
        let courses = if problem.count == 1 { "course" } else { "courses" };
        writeln!(
            out,
            "  {} {courses}, first on line {}, {key}: {} ({})",
            problem.count,
            problem.line,
            sanitize(&problem.message),
            problem.code
        )?;
    }
    Ok(())
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
        assert!(err.contains("\nand 5 more refused lines\n"), "{err}");
        assert!(err.ends_with("to change them, use --update\n"), "{err}");
        assert_eq!(err.lines().count(), MAX_LISTED + 2);
    }
}
