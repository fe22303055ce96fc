//! Whose record is it, where it names no course: decided by the values it shows, wherever they leave no choice.
//!
//! HubSpot stores some values otherwise than they were sent. What is only written otherwise ([`forms`]) counts as
//! the same. What was really changed, such as sanitised HTML, does not match the course that sent it; but it speaks
//! for no other course either. So a record's own course always matches at least the values that any other course
//! matches, and a course that matches strictly more than all others is the record's own.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use self::forms::{Forms, Interner, Level};
use super::{Batch, only};
use crate::policy::answer::Record;
use crate::policy::batch::Claimed;

mod forms;

/// For each of `records`, the courses among `open` that it can be. A record found narrows the choice for the others;
/// one that fits several courses to the end is left with all of them.
///
/// Courses that are equal in all that was sent are interchangeable: each takes one of the records that fit them, those
/// first that stand first in `open`. A record that is listed twice has the same candidates twice.
pub(super) fn candidates(batch: &Batch, open: &[usize], records: &[&Record]) -> Vec<BTreeSet<usize>> {
    let (distinct, places) = without_repeats(records);
    let table = Table::new(batch, open, &distinct);
    let mut choices = table.strict_choices();
    table.refine(&mut choices);
    let full = table.narrow(&mut choices);
    table.choose_by_count(&full, &mut choices);
    table.narrow(&mut choices);
    let courses = table.courses(&choices);
    places.into_iter().map(|place| courses.get(place).cloned().unwrap_or_default()).collect()
}

/// The records without those that repeat an earlier one, and for each record its place in that list.
fn without_repeats<'r>(records: &[&'r Record]) -> (Vec<&'r Record>, Vec<usize>) {
    let mut distinct: Vec<&Record> = Vec::new();
    let mut by_id: HashMap<&Option<String>, usize> = HashMap::new();
    let place = |record: &&'r Record| {
        let record: &'r Record = record;
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

/// Courses that are equal in all that was sent.
#[derive(Debug)]
struct Input {
    /// Their positions in the batch.
    courses: Vec<usize>,
    /// Column and value of what was sent and is not empty.
    sent: Vec<(usize, Forms)>,
}

/// What one record shows of one input.
#[derive(Debug, Clone, Copy, Default)]
struct Match {
    /// How many sent values it shows.
    count: usize,
    /// Whether it shows all of them, and there is one.
    is_strict: bool,
    /// Whether it shows a sent value as empty.
    has_gap: bool,
}

/// The inputs that a record can be, by their places in the table.
type Choice = BTreeSet<usize>;

/// All values, by number, in columns: one for each property that was sent.
struct Table {
    inputs: Vec<Input>,
    records: Vec<Vec<Forms>>,
    /// By record, then by input.
    matches: Vec<Vec<Match>>,
}

impl Table {
    fn new(batch: &Batch, open: &[usize], records: &[&Record]) -> Self {
        let mut interner = Interner::default();
        let mut columns = BTreeMap::new();
        let mut by_content = HashMap::new();
        let mut inputs: Vec<Input> = Vec::new();
        for at in open {
            let Some(course) = batch.courses().get(*at) else { continue };
            let sent = sent(batch, course, &mut columns, &mut interner);
            let content = (exactly(&sent), links(course));
            let place = *by_content.entry(content).or_insert(inputs.len());
            match inputs.get_mut(place) {
                Some(input) => input.courses.push(*at),
                None => {
                    let sent = sent.into_iter().filter(|(_, forms)| !forms.is_empty()).collect();
                    inputs.push(Input { courses: vec![*at], sent });
                }
            }
        }
        let shown = |record: &&Record| {
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
        let compare = |record: &Vec<Forms>| inputs.iter().map(|input| input.compare(record)).collect();
        let matches = records.iter().map(compare).collect();
        Self { inputs, records, matches }
    }

    /// For each record that shows everything that some input sent: these inputs, and each other that may be the
    /// record's own, some of its values changed. HubSpot fills in values by itself, so one that an input did not
    /// send is no argument against it. An input of which a value is shown as empty loses a tie: HubSpot changes values,
    /// it does not drop them.
    fn strict_choices(&self) -> Vec<Choice> {
        let choice = |row: &Vec<Match>| {
            let Some(strict) = row.iter().filter(|it| it.is_strict).map(|it| it.count).max() else {
                return Choice::new();
            };
            let best = row.iter().map(|it| it.count).max().unwrap_or_default();
            let is_as_good = |it: &Match| it.count == best && (best > strict || !it.has_gap);
            places(row, |_, it| it.is_strict || is_as_good(it))
        };
        self.matches.iter().map(choice).collect()
    }

    /// Decides between inputs that differ only in how their values are written. Values as they were sent decide only
    /// where every one of these inputs has a record that shows its own so: else HubSpot did rewrite them, or a record
    /// is missing, and the one that is there may be another's.
    fn refine(&self, choices: &mut [Choice]) {
        for level in [Level::Exact, Level::Typed] {
            let is_shown = |input: &Input| {
                self.records.iter().any(|record| input.count(record, level) == input.sent.len())
            };
            let ambiguous: BTreeSet<usize> =
                choices.iter().filter(|choice| choice.len() > 1).flatten().copied().collect();
            let shown: BTreeSet<usize> =
                ambiguous.into_iter().filter(|at| self.inputs.get(*at).is_some_and(is_shown)).collect();
            for ((choice, record), row) in choices.iter_mut().zip(&self.records).zip(&self.matches) {
                if choice.len() < 2 || !choice.is_subset(&shown) {
                    continue;
                }
                let is_exact = |at: &usize| {
                    let (input, loose) = (self.inputs.get(*at), row.get(*at));
                    input.zip(loose).is_some_and(|(input, loose)| input.count(record, level) == loose.count)
                };
                let exact: Choice = choice.iter().copied().filter(is_exact).collect();
                if !exact.is_empty() {
                    *choice = exact;
                }
            }
        }
    }

    /// For each record that shows everything of no input: the inputs among what is left that it shows most of.
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

    /// Takes inputs whose courses all have a record out of the choice of the other records. Returns these inputs.
    fn narrow(&self, choices: &mut [Choice]) -> Choice {
        loop {
            let held = self.held(choices);
            let is_full = |at: &usize| {
                let (held, input) = (held.get(*at), self.inputs.get(*at));
                held.zip(input).is_some_and(|(held, input)| *held >= input.courses.len())
            };
            let full: Choice = (0..self.inputs.len()).filter(is_full).collect();
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

    /// How many records can only be this input, by input.
    fn held(&self, choices: &[Choice]) -> Vec<usize> {
        let mut held = vec![0; self.inputs.len()];
        for at in choices.iter().filter_map(only) {
            if let Some(count) = held.get_mut(*at) {
                *count += 1;
            }
        }
        held
    }

    /// The courses of each choice: one each where a choice leaves one input. Where more records fit an input than it
    /// has courses, one of them is a stranger, and each may be any of the courses.
    fn courses(&self, choices: &[Choice]) -> Vec<BTreeSet<usize>> {
        let held = self.held(choices);
        let mut taken = vec![0; self.inputs.len()];
        let mut courses = |choice: &Choice| -> BTreeSet<usize> {
            let is_only = choice.len() == 1;
            let mut found = BTreeSet::new();
            for at in choice {
                let (Some(input), Some(held), Some(taken)) =
                    (self.inputs.get(*at), held.get(*at), taken.get_mut(*at))
                else {
                    continue;
                };
                if *held > input.courses.len() {
                    found.extend(&input.courses);
                } else if is_only {
                    found.extend(input.courses.get(*taken));
                    *taken += 1;
                } else {
                    found.extend(input.courses.iter().skip(*held));
                }
            }
            found
        };
        choices.iter().map(&mut courses).collect()
    }
}

impl Input {
    /// How many of the values that were sent this record shows.
    fn count(&self, record: &[Forms], level: Level) -> usize {
        let is_shown = |(column, sent): &&(usize, Forms)| {
            record.get(*column).is_some_and(|shown| shown.agrees(*sent, level))
        };
        self.sent.iter().filter(is_shown).count()
    }

    fn compare(&self, record: &[Forms]) -> Match {
        let count = self.count(record, Level::Loose);
        let is_gap = |(column, _): &(usize, Forms)| record.get(*column).is_none_or(|shown| shown.is_empty());
        let is_strict = count > 0 && count == self.sent.len();
        Match { count, is_strict, has_gap: !is_strict && self.sent.iter().any(is_gap) }
    }
}

fn places(row: &[Match], keep: impl Fn(usize, &Match) -> bool) -> Choice {
    row.iter().enumerate().filter(|(at, it)| it.count > 0 && keep(*at, it)).map(|(at, _)| at).collect()
}

/// Column and value of everything that is sent for a course.
fn sent<'b>(
    batch: &'b Batch,
    course: &'b Claimed,
    columns: &mut BTreeMap<&'b str, usize>,
    interner: &mut Interner,
) -> Vec<(usize, Forms)> {
    let value = |(name, value): (&'b str, std::borrow::Cow<'b, str>)| {
        let next = columns.len();
        (*columns.entry(name).or_insert(next), interner.forms(&value))
    };
    batch.sent(course).map(value).collect()
}

/// What was sent, letter by letter; an empty value is as good as none.
fn exactly(sent: &[(usize, Forms)]) -> Vec<(usize, u32)> {
    let exact = sent.iter().map(|(column, forms)| (*column, forms.at(Level::Exact)));
    exact.filter(|(_, value)| *value != 0).collect()
}

fn links(course: &Claimed) -> String {
    if course.associations.is_empty() { String::new() } else { course.associations.to_json().to_string() }
}

#[cfg(test)]
mod tests;
