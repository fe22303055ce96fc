//! The answer of a batch, record by record and error by error: whose is it?

use std::collections::{HashMap, HashSet};

use super::{Answer, Batch, Interpretation, NotTaken, RequestOutcome, Signal, Verdict};
use super::{is_conflict, lacks_unique_property};
use crate::course::{Category, HubSpotId};
use crate::policy::answer::{BatchReply, BatchStatus, ErrorReply, Record};
use crate::policy::batch::Claimed;
use crate::policy::pause::Reason;

/// Reads the answer of a batch at 200, 201 and 207 alike.
pub(super) fn read(batch: &Batch, answer: &Answer<'_>, reply: &BatchReply) -> Interpretation {
    // Not over, or called off: whatever it lists may still change.
    let is_final = matches!(reply.status, BatchStatus::Complete | BatchStatus::Other);
    let mut sheet = Sheet::new(batch);
    if is_final {
        sheet.assign_records(reply);
        sheet.assign_errors(answer, reply);
    }
    let is_silent = reply.results.is_empty() && reply.errors.is_empty();
    let signal = if sheet.lacks_unique_property {
        answer.pause(Reason::Schema)
    } else if is_silent || !is_final {
        answer.pause(Reason::Unavailable)
    } else {
        Signal::Proceed
    };
    let surplus = sheet.surplus;
    let verdicts = sheet.verdicts(answer, reply);
    Interpretation { outcome: outcome(&verdicts), verdicts, signal, surplus }
}

fn outcome(verdicts: &[Verdict]) -> RequestOutcome {
    let created = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Created(_))).count();
    let unknown = verdicts.iter().any(|verdict| matches!(verdict, Verdict::Unknown { .. }));
    match created {
        _ if created == verdicts.len() => RequestOutcome::Ok,
        0 if unknown => RequestOutcome::Invalid,
        0 => RequestOutcome::Rejected,
        _ => RequestOutcome::Partial,
    }
}

/// What the answer says of each course, while it is being read.
struct Sheet<'a> {
    batch: &'a Batch,
    by_key: HashMap<&'a str, usize>,
    by_trace_id: HashMap<String, usize>,
    created: Vec<Created>,
    errors: Vec<Option<Verdict>>,
    surplus: usize,
    lacks_unique_property: bool,
}

/// What the records say of one course.
#[derive(Clone, PartialEq, Eq)]
enum Created {
    No,
    As(HubSpotId),
    /// Two records claim to be this course, or one record two courses.
    Contradiction,
}

impl<'a> Sheet<'a> {
    fn new(batch: &'a Batch) -> Self {
        let courses = batch.courses();
        Self {
            batch,
            by_key: courses.iter().enumerate().map(|(at, course)| (course.key.as_str(), at)).collect(),
            by_trace_id: (0..courses.len()).map(|at| (batch.trace_id(at), at)).collect(),
            created: vec![Created::No; courses.len()],
            errors: vec![None; courses.len()],
            surplus: 0,
            lacks_unique_property: false,
        }
    }

    /// Gives each record to the course whose key it carries, else to the one whose trace id it
    /// echoes, else to the only one whose values it shows.
    fn assign_records(&mut self, reply: &BatchReply) {
        let mut holders: HashMap<HubSpotId, usize> = HashMap::new();
        let mut nameless = Vec::new();
        for record in &reply.results {
            let readable =
                record.as_ref().and_then(|record| Some((record, HubSpotId::parse(record.id.as_deref()?)?)));
            let Some((record, id)) = readable else {
                self.surplus += 1;
                continue;
            };
            match self.named(record) {
                Named::Course(at) => self.assign(at, id, &mut holders),
                Named::Stranger => self.surplus += 1,
                Named::Nobody => nameless.push((record, id)),
            }
        }
        for (at, id) in self.by_values(nameless) {
            self.assign(at, id, &mut holders);
        }
    }

    fn named(&self, record: &Record) -> Named {
        let key = self.batch.unique_property().and_then(|unique| record.properties.get(unique)?.as_deref());
        if let Some(key) = key {
            return self.by_key.get(key).map_or(Named::Stranger, |at| Named::Course(*at));
        }
        match &record.object_write_trace_id {
            Some(trace_id) => self.by_trace_id.get(trace_id).map_or(Named::Stranger, |at| Named::Course(*at)),
            None => Named::Nobody,
        }
    }

    fn assign(&mut self, at: usize, id: HubSpotId, holders: &mut HashMap<HubSpotId, usize>) {
        let first_holder = *holders.entry(id.clone()).or_insert(at);
        if first_holder != at {
            self.contradict(first_holder);
            self.contradict(at);
            return;
        }
        let Some(created) = self.created.get_mut(at) else { return };
        match created {
            Created::No => *created = Created::As(id),
            Created::As(same) if *same == id => self.surplus += 1,
            Created::As(_) | Created::Contradiction => self.contradict(at),
        }
    }

    fn contradict(&mut self, at: usize) {
        self.surplus += 1;
        if let Some(created) = self.created.get_mut(at) {
            *created = Created::Contradiction;
        }
    }

    /// Pairs records with courses by their values alone, wherever that leaves no choice. A pair
    /// found narrows the choice for the others.
    fn by_values(&mut self, mut records: Vec<(&Record, HubSpotId)>) -> Vec<(usize, HubSpotId)> {
        let mut open: Vec<usize> = self
            .created
            .iter()
            .enumerate()
            .filter(|(_, created)| **created == Created::No)
            .map(|(at, _)| at)
            .collect();
        let mut pairs = Vec::new();
        loop {
            let before = records.len();
            records.retain(|(record, id)| match only(self.candidates(record, &open)) {
                Some(at) => {
                    open.retain(|other| *other != at);
                    pairs.push((at, id.clone()));
                    false
                }
                None => true,
            });
            if records.len() == before {
                break;
            }
        }
        self.surplus +=
            records.iter().filter(|(record, _)| self.candidates(record, &open).is_empty()).count();
        pairs
    }

    /// The open courses whose sent values the record shows; as they were sent, else as HubSpot may
    /// have normalised them.
    fn candidates(&self, record: &Record, open: &[usize]) -> Vec<usize> {
        let matching = |same: fn(&str, &str) -> bool| -> Vec<usize> {
            let courses = open.iter().filter_map(|at| Some((*at, self.batch.courses().get(*at)?)));
            courses.filter(|(_, course)| shows(self.batch, course, record, same)).map(|(at, _)| at).collect()
        };
        let exact = matching(|sent, shown| sent == shown);
        if exact.is_empty() { matching(equal_when_normalised) } else { exact }
    }

    fn assign_errors(&mut self, answer: &Answer<'_>, reply: &BatchReply) {
        for error in &reply.errors {
            let Some(error) = error else {
                self.surplus += 1;
                continue;
            };
            self.lacks_unique_property |= lacks_unique_property(self.batch, error);
            let verdict = item_verdict(self.batch, answer, error);
            for at in self.blamed(reply, error) {
                // Of several errors the one that calls for a look decides.
                match self.errors.get_mut(at) {
                    Some(slot @ None) => *slot = Some(verdict.clone()),
                    Some(slot) if matches!(verdict, Verdict::Exists(_)) => *slot = Some(verdict.clone()),
                    Some(_) | None => {}
                }
            }
        }
    }

    /// The courses that an error names.
    fn blamed(&mut self, reply: &BatchReply, error: &ErrorReply) -> Vec<usize> {
        match error.context.get("objectWriteTraceId") {
            Some(ids) => {
                let ids: HashSet<_> = ids.iter().collect();
                let known: Vec<_> = ids.iter().filter_map(|id| self.by_trace_id.get(*id).copied()).collect();
                self.surplus += ids.len() - known.len();
                known
            }
            // With one course and no record there is nobody else.
            None if self.batch.courses().len() == 1 && reply.results.is_empty() => vec![0],
            None => Vec::new(),
        }
    }

    fn verdicts(self, answer: &Answer<'_>, reply: &BatchReply) -> Vec<Verdict> {
        let unnamed = reply
            .errors
            .iter()
            .flatten()
            .find(|error| !error.context.contains_key("objectWriteTraceId"))
            .and_then(|error| error.message.as_deref());
        let left_out = || unknown(answer, &left_out_message(reply, unnamed));
        let contradiction = || {
            unknown(
                answer,
                "it is not known whether HubSpot created this course: its answer contradicts itself",
            )
        };
        let verdict = |(created, error)| match (created, error) {
            (Created::As(id), None) => Verdict::Created(id),
            (Created::No, Some(error)) => error,
            (Created::No, None) => left_out(),
            (Created::As(_), Some(_)) | (Created::Contradiction, _) => contradiction(),
        };
        self.created.into_iter().zip(self.errors).map(verdict).collect()
    }
}

/// Whom a record names by itself.
enum Named {
    Course(usize),
    Stranger,
    Nobody,
}

fn unknown(answer: &Answer<'_>, message: &str) -> Verdict {
    Verdict::Unknown { error: answer.own(Category::UnknownOutcome, message), own_fault: false }
}

fn left_out_message(reply: &BatchReply, unnamed: Option<&str>) -> String {
    let begin = "it is not known whether HubSpot created this course:";
    match (reply.status, unnamed) {
        (BatchStatus::Complete | BatchStatus::Other, Some(message)) => {
            format!("{begin} its answer leaves it out, and says of nobody by name: {message}")
        }
        (BatchStatus::Complete | BatchStatus::Other, None) => format!("{begin} its answer leaves it out"),
        (status, _) => format!("{begin} the batch was not complete ({status:?})"),
    }
}

/// What an error says of the courses it names.
fn item_verdict(batch: &Batch, answer: &Answer<'_>, error: &ErrorReply) -> Verdict {
    let said = answer.said(error);
    if lacks_unique_property(batch, error) {
        return Verdict::NotTaken(NotTaken::Untouched);
    }
    if is_conflict(error) {
        return match batch.unique_property() {
            Some(_) => Verdict::Exists(said),
            None => Verdict::Refused(said),
        };
    }
    match error.category.as_deref() {
        Some("VALIDATION_ERROR" | "OBJECT_NOT_FOUND") => Verdict::Refused(said),
        Some("RATE_LIMIT" | "RATE_LIMITS") => Verdict::Unknown { error: said, own_fault: false },
        _ if !error.property_faults().is_empty() => Verdict::Refused(said),
        // A kind of error that nobody has described proves nothing.
        _ => Verdict::Unknown { error: said, own_fault: true },
    }
}

/// Whether the record shows every value that was sent for the course. HubSpot shows an empty value
/// as empty, as null or not at all.
fn shows(batch: &Batch, course: &Claimed, record: &Record, same: fn(&str, &str) -> bool) -> bool {
    batch.sent(course).all(|(name, sent)| {
        let shown = record.properties.get(name).and_then(Option::as_deref).unwrap_or_default();
        same(&sent, shown)
    })
}

fn equal_when_normalised(sent: &str, shown: &str) -> bool {
    let (sent, shown) = (sent.trim(), shown.trim());
    let number = |text: &str| text.parse::<f64>().ok().filter(|number| number.is_finite());
    sent == shown
        || sent.to_lowercase() == shown.to_lowercase()
        || number(sent).is_some_and(|value| number(shown) == Some(value))
}

fn only(mut candidates: Vec<usize>) -> Option<usize> {
    let first = candidates.pop()?;
    candidates.is_empty().then_some(first)
}
