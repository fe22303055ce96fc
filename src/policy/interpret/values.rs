//! Whose record is it, where it names nobody: told by the values it shows, wherever they leave no
//! choice.

use std::collections::BTreeSet;

use super::{Batch, only};
use crate::policy::answer::Record;
use crate::policy::batch::Claimed;

/// For each of `records`, the courses among `open` that it can be. A pair found narrows the choice
/// for the others; a record that fits several to the end is left with all of them.
pub(super) fn candidates(batch: &Batch, open: &[usize], records: &[&Record]) -> Vec<BTreeSet<usize>> {
    let mut candidates = fitting(batch, open, records);
    let mut taken = BTreeSet::new();
    loop {
        let settled: BTreeSet<usize> = candidates.iter().filter_map(only).copied().collect();
        let news: Vec<usize> = settled.difference(&taken).copied().collect();
        if news.is_empty() {
            return candidates;
        }
        for choice in candidates.iter_mut().filter(|choice| choice.len() > 1) {
            choice.retain(|at| !settled.contains(at));
        }
        taken.extend(news);
    }
}

/// The courses that each record fits by values as HubSpot may have normalised them. Values exactly
/// as sent decide between such courses only where every one of them has a record that shows its
/// own so: else HubSpot did normalise, or a record is missing, and the exact one may be another's.
fn fitting(batch: &Batch, open: &[usize], records: &[&Record]) -> Vec<BTreeSet<usize>> {
    let matching = |same: fn(&str, &str) -> bool| -> Vec<BTreeSet<usize>> {
        let fits = |record: &Record, at: usize| {
            batch.courses().get(at).is_some_and(|course| shows(batch, course, record, same))
        };
        records.iter().map(|record| open.iter().copied().filter(|at| fits(record, *at)).collect()).collect()
    };
    let (near, exact) = (matching(equal_when_normalised), matching(|sent, shown| sent == shown));
    let shown_exactly: BTreeSet<usize> = exact.iter().flatten().copied().collect();
    let decide = |(near, exact): (BTreeSet<usize>, &BTreeSet<usize>)| {
        let is_decided = !exact.is_empty() && near.is_subset(&shown_exactly);
        if is_decided { exact.clone() } else { near }
    };
    near.into_iter().zip(&exact).map(decide).collect()
}

/// Whether the record shows every value that was sent for the course, and at least one. HubSpot
/// shows an empty value as empty, as null or not at all.
fn shows(batch: &Batch, course: &Claimed, record: &Record, same: fn(&str, &str) -> bool) -> bool {
    let mut shows_any = false;
    let shows_all = batch.sent(course).all(|(name, sent)| {
        let shown = record.properties.get(name).and_then(Option::as_deref).unwrap_or_default();
        shows_any |= !sent.is_empty();
        same(&sent, shown)
    });
    shows_all && shows_any
}

/// Whether they differ in upper and lower case at most. Mostly they are ASCII, which needs no copies; every
/// record may be held against every course.
fn same_letters(sent: &str, shown: &str) -> bool {
    if sent.is_ascii() && shown.is_ascii() {
        sent.eq_ignore_ascii_case(shown)
    } else {
        sent.to_lowercase() == shown.to_lowercase()
    }
}

fn equal_when_normalised(sent: &str, shown: &str) -> bool {
    let (sent, shown) = (sent.trim(), shown.trim());
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    sent == shown
        || same_letters(sent, shown)
        || number(sent).is_some_and(|value| number(shown) == Some(value))
}
