//! Assigns records without key and trace id to courses by their values, where the values leave no choice. Pure.
//!
//! HubSpot stores some values in another form than they were sent. Another notation of the same value ([`forms`])
//! counts as equal. A value that was really changed, such as sanitised HTML, does not match the course that sent it,
//! but it matches no other course either. So the course that a record belongs to matches at least all the values that
//! any other course matches. If one course matches strictly more values than every other course, the record belongs to
//! it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::forms::{Forms, Interner, Level};
use crate::course::{Batch, ClaimedCourse};
use crate::hubspot::api::response::CourseRecord;

mod forms;

/// For each of `records`, the courses among `open` that it can belong to. A record that is assigned reduces the choice
/// for the others. A record that fits several courses in the end keeps all of them as candidates.
///
/// Courses with identical content are interchangeable: each takes one of the records that fit them, in the order of
/// `open`. A record that is listed twice has the same candidates twice.
pub(super) fn candidates(batch: &Batch, open: &[usize], records: &[&CourseRecord]) -> Vec<BTreeSet<usize>> {
    let (distinct, places) = without_repeats(records);
    let table = MatchTable::new(batch, open, &distinct);
    let mut choices = table.strict_choices();
    table.refine(&mut choices);
    let full = table.narrow(&mut choices);
    table.choose_by_count(&full, &mut choices);
    table.narrow(&mut choices);
    let courses = table.courses(&choices);
    places.into_iter().map(|place| courses.get(place).cloned().unwrap_or_default()).collect()
}

/// Whether HubSpot holds the value that was sent, in whatever notation.
pub(crate) fn is_same_value(stored: &str, sent: &str) -> bool {
    let mut interner = Interner::default();
    interner.forms(stored).equals(interner.forms(sent), Level::Typed)
}

/// What remains of a value whatever notation HubSpot stores: case, markup, white space, and the notation of numbers and dates
/// do not matter. Empty if nothing remains.
pub(crate) fn loose_form(value: &str) -> String {
    forms::loose(value)
}

/// The only element of a set; `None` where it has none or several.
pub(super) fn sole<T: Ord>(set: &BTreeSet<T>) -> Option<&T> {
    set.first().filter(|_| set.len() == 1)
}

/// The records without repetitions, and for each record its position in that list.
fn without_repeats<'r>(records: &[&'r CourseRecord]) -> (Vec<&'r CourseRecord>, Vec<usize>) {
    let mut distinct: Vec<&CourseRecord> = Vec::new();
    let mut by_id: HashMap<&Option<String>, usize> = HashMap::new();
    let place = |record: &&'r CourseRecord| {
        let record: &'r CourseRecord = record;
        let known = by_id.get(&record.id).copied();
        known
            .filter(|at| distinct.get(*at).is_some_and(|known| known.properties == record.properties))
            .unwrap_or_else(|| {
                distinct.push(record);
                by_id.insert(&record.id, distinct.len() - 1);
                distinct.len() - 1
            })
    };
    let places = records.iter().map(place).collect();
    (distinct, places)
}

/// The content of one or more courses: those with identical content share it.
#[derive(Debug)]
struct SentContent {
    /// The positions of these courses in the batch.
    courses: Vec<usize>,
    /// Column and value of each sent value that is not empty.
    sent: Vec<(usize, Forms)>,
}

/// How far one record matches one content.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    /// How many of the sent values the record has.
    count: usize,
    /// Whether it has all of them, and there is at least one.
    is_strict: bool,
    /// Whether a sent value is empty in the record.
    has_gap: bool,
}

/// The contents that a record can have, by their positions in the table.
type Choice = BTreeSet<usize>;

/// All values as numbers, in columns: one column for each property that was sent.
struct MatchTable {
    contents: Vec<SentContent>,
    records: Vec<Vec<Forms>>,
    /// By record, then by content.
    matches: Vec<Vec<Match>>,
}

impl MatchTable {
    fn new(batch: &Batch, open: &[usize], records: &[&CourseRecord]) -> Self {
        let mut interner = Interner::default();
        let mut columns = BTreeMap::new();
        let mut by_content = HashMap::new();
        let mut contents: Vec<SentContent> = Vec::new();
        for at in open {
            let Some(course) = batch.courses().get(*at) else { continue };
            let sent = sent(batch, course, &mut columns, &mut interner);
            let content = (exact_values(&sent), associations_json(course));
            let place = *by_content.entry(content).or_insert(contents.len());
            match contents.get_mut(place) {
                Some(content) => content.courses.push(*at),
                None => {
                    let sent = sent.into_iter().filter(|(_, forms)| !forms.is_empty()).collect();
                    contents.push(SentContent { courses: vec![*at], sent });
                }
            }
        }
        let shown = |record: &&CourseRecord| {
            let mut row = vec![Forms::default(); columns.len()];
            for (name, value) in &record.properties {
                if let (Some(column), Some(value)) = (columns.get(name.as_str()), value)
                    && let Some(cell) = row.get_mut(*column)
                {
                    *cell = interner.forms(value);
                }
            }
            row
        };
        let records: Vec<_> = records.iter().map(shown).collect();
        let matches = (records.iter())
            .map(|record| contents.iter().map(|content| content.compare(record)).collect())
            .collect();
        Self { contents, records, matches }
    }

    /// For each record that has all values of some content: these contents, and each other content that may be the
    /// record's own with some values changed. HubSpot fills in values on its own, so a value that a content did not
    /// send does not exclude it. A content with a value that is empty in the record loses a tie: HubSpot changes
    /// values, but does not drop them.
    fn strict_choices(&self) -> Vec<Choice> {
        self.matches.iter().map(|row| strict_choice(row)).collect()
    }

    /// Whether a record matches this content in every value that was sent.
    fn has_full_match(&self, at: usize, level: Level) -> bool {
        self.contents.get(at).is_some_and(|content| {
            self.records.iter().any(|record| content.count(record, level) == content.sent.len())
        })
    }

    /// Decides between contents that differ only in the notation of their values. The notation decides only where every
    /// one of these contents has a record with its own notation. Otherwise HubSpot rewrote values, or a record is
    /// missing, and the one that is there may belong to another course.
    fn refine(&self, choices: &mut [Choice]) {
        for level in [Level::Exact, Level::Typed] {
            let ambiguous: BTreeSet<usize> =
                choices.iter().filter(|choice| choice.len() > 1).flatten().copied().collect();
            let recorded: BTreeSet<usize> =
                ambiguous.into_iter().filter(|at| self.has_full_match(*at, level)).collect();
            for ((choice, record), row) in choices.iter_mut().zip(&self.records).zip(&self.matches) {
                if choice.len() < 2 || !choice.is_subset(&recorded) {
                    continue;
                }
                let is_exact = |at: &usize| {
                    let (content, loose) = (self.contents.get(*at), row.get(*at));
                    content
                        .zip(loose)
                        .is_some_and(|(content, loose)| content.count(record, level) == loose.count)
                };
                let exact: Choice = choice.iter().copied().filter(is_exact).collect();
                if !exact.is_empty() {
                    *choice = exact;
                }
            }
        }
    }

    /// For each record that has all values of no content: the remaining contents of which it has the most values.
    fn choose_by_count(&self, full: &Choice, choices: &mut [Choice]) {
        for (choice, row) in choices.iter_mut().zip(&self.matches) {
            if row.iter().any(|it| it.is_strict) {
                continue;
            }
            let left = row.iter().enumerate().filter(|(at, _)| !full.contains(at));
            let best = left.map(|(_, it)| it.count).max().unwrap_or_default();
            if best > 0 {
                *choice = places(row, |at, it| it.count == best && !full.contains(&at));
            }
        }
    }

    /// Removes the contents whose courses all have a record from the choice of the other records. Returns these contents.
    fn narrow(&self, choices: &mut [Choice]) -> Choice {
        loop {
            let assigned = self.count_assigned(choices);
            let is_full = |at: &usize| {
                let (assigned, content) = (assigned.get(*at), self.contents.get(*at));
                assigned.zip(content).is_some_and(|(assigned, content)| *assigned >= content.courses.len())
            };
            let full: Choice = (0..self.contents.len()).filter(is_full).collect();
            let mut is_narrower = false;
            for choice in choices.iter_mut().filter(|choice| choice.len() > 1) {
                let before = choice.len();
                choice.retain(|at| !full.contains(at));
                is_narrower |= choice.len() < before;
            }
            if !is_narrower {
                return full;
            }
        }
    }

    /// For each content, the number of records that can only have this content.
    fn count_assigned(&self, choices: &[Choice]) -> Vec<usize> {
        let mut assigned = vec![0; self.contents.len()];
        for at in choices.iter().filter_map(sole) {
            if let Some(count) = assigned.get_mut(*at) {
                *count += 1;
            }
        }
        assigned
    }

    /// The courses of each choice: one course where a choice leaves one content. Where more records fit a content than it
    /// has courses, one of the records is foreign, and each may belong to any of the courses.
    fn courses(&self, choices: &[Choice]) -> Vec<BTreeSet<usize>> {
        let assigned = self.count_assigned(choices);
        let mut taken = vec![0; self.contents.len()];
        let mut courses = |choice: &Choice| -> BTreeSet<usize> {
            let is_only = choice.len() == 1;
            let mut found = BTreeSet::new();
            for at in choice {
                let (Some(content), Some(assigned), Some(taken)) =
                    (self.contents.get(*at), assigned.get(*at), taken.get_mut(*at))
                else {
                    continue;
                };
                if *assigned > content.courses.len() {
                    found.extend(&content.courses);
                } else if is_only {
                    found.extend(content.courses.get(*taken));
                    *taken += 1;
                } else {
                    found.extend(content.courses.iter().skip(*assigned));
                }
            }
            found
        };
        choices.iter().map(&mut courses).collect()
    }
}

impl SentContent {
    /// How many of the sent values this record has.
    fn count(&self, record: &[Forms], level: Level) -> usize {
        let shown = (self.sent.iter())
            .filter(|(column, sent)| record.get(*column).is_some_and(|shown| shown.equals(*sent, level)));
        shown.count()
    }

    fn compare(&self, record: &[Forms]) -> Match {
        let count = self.count(record, Level::Loose);
        let is_gap = |(column, _): &(usize, Forms)| record.get(*column).is_none_or(|shown| shown.is_empty());
        let is_strict = count > 0 && count == self.sent.len();
        Match { count, is_strict, has_gap: !is_strict && self.sent.iter().any(is_gap) }
    }
}

/// One row of `strict_choices`: the contents that match a record strictly, and those that match it as well as these.
fn strict_choice(row: &[Match]) -> Choice {
    let Some(strict) = row.iter().filter(|it| it.is_strict).map(|it| it.count).max() else {
        return Choice::new();
    };
    let best = row.iter().map(|it| it.count).max().unwrap_or_default();
    places(row, |_, it| it.is_strict || it.count == best && (best > strict || !it.has_gap))
}

fn places(row: &[Match], keep: impl Fn(usize, &Match) -> bool) -> Choice {
    row.iter().enumerate().filter(|(at, it)| it.count > 0 && keep(*at, it)).map(|(at, _)| at).collect()
}

/// Column and value of everything that is sent for a course.
fn sent<'b>(
    batch: &'b Batch,
    course: &'b ClaimedCourse,
    columns: &mut BTreeMap<&'b str, usize>,
    interner: &mut Interner,
) -> Vec<(usize, Forms)> {
    let value = |(name, value): (&'b str, std::borrow::Cow<'b, str>)| {
        let next = columns.len();
        (*columns.entry(name).or_insert(next), interner.forms(&value))
    };
    batch.sent_properties(course).map(value).collect()
}

/// What was sent, letter by letter. An empty value counts as absent.
fn exact_values(sent: &[(usize, Forms)]) -> Vec<(usize, u32)> {
    let exact = sent.iter().map(|(column, forms)| (*column, forms.at(Level::Exact)));
    exact.filter(|(_, value)| *value != 0).collect()
}

fn associations_json(course: &ClaimedCourse) -> String {
    if course.associations.is_empty() { String::new() } else { course.associations.to_json().to_string() }
}

#[cfg(test)]
mod tests;
