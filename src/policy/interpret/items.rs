//! The answer of a batch, record by record and error by error: whose is it?

use std::collections::{HashMap, HashSet};

use super::{Answer, Batch, Interpretation, NotTaken, RequestOutcome, Signal, Verdict};
use super::{is_conflict, lacks_unique_property, only, values, whole};
use crate::course::{Category, CourseError, HubSpotId, folded};
use crate::policy::answer::{BatchReply, BatchStatus, ErrorReply, Record};
use crate::policy::batch::Claimed;
use crate::policy::pause::Reason;

/// Reads the answer of a batch at 200, 201 and 207 alike.
pub(super) fn read(batch: &Batch, answer: &Answer<'_>, reply: &BatchReply) -> Interpretation {
    let mut sheet = Sheet::new(batch);
    // Not over, or called off: whatever it lists may still change.
    if reply.status.is_final() {
        let nameless = sheet.assign_named(reply);
        sheet.assign_errors(answer, reply);
        sheet.assign_nameless(nameless);
    }
    // Where all exist, a record that names no course is one of theirs.
    let surplus = if sheet.all_exist(reply) { 0 } else { sheet.surplus };
    let lacks_unique_property = sheet.lacks_unique_property;
    let verdicts = sheet.verdicts(answer, reply);
    let signal = if lacks_unique_property { answer.pause(Reason::Schema) } else { signal(answer, &verdicts) };
    Interpretation { outcome: outcome(&verdicts), verdicts, signal, surplus, may_be_size: false }
}

/// What the verdicts together show about HubSpot.
fn signal(answer: &Answer<'_>, verdicts: &[Verdict]) -> Signal {
    let is_created =
        |verdict: &Verdict| matches!(verdict, Verdict::Created { .. } | Verdict::CreatedUnidentified(_));
    let is_judged = |verdict: &Verdict| matches!(verdict, Verdict::Refused(_) | Verdict::Exists { .. });
    if verdicts.iter().any(is_created) {
        Signal::Passed
    } else if verdicts.iter().any(is_judged) {
        Signal::Judged
    } else {
        answer.failed(Reason::Unavailable)
    }
}

fn outcome(verdicts: &[Verdict]) -> RequestOutcome {
    let created = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Created { .. })).count();
    let unknown = verdicts
        .iter()
        .any(|verdict| matches!(verdict, Verdict::Unknown(_) | Verdict::CreatedUnidentified(_)));
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
    /// Keys as HubSpot may have normalised them; `None` where several courses share one.
    by_folded_key: HashMap<String, Option<usize>>,
    by_trace_id: HashMap<String, usize>,
    created: Vec<Created>,
    /// The course that each record went to.
    holders: HashMap<HubSpotId, usize>,
    /// What HubSpot answered for each course by name, and what it means.
    errors: Vec<Option<(Verdict, CourseError)>>,
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
        let mut by_folded_key = HashMap::new();
        for (at, course) in courses.iter().enumerate() {
            by_folded_key
                .entry(folded(course.key.as_str()))
                .and_modify(|twin| *twin = None)
                .or_insert(Some(at));
        }
        Self {
            batch,
            by_key: courses.iter().enumerate().map(|(at, course)| (course.key.as_str(), at)).collect(),
            by_folded_key,
            by_trace_id: (0..courses.len()).map(|at| (batch.trace_id(at), at)).collect(),
            created: vec![Created::No; courses.len()],
            holders: HashMap::new(),
            errors: vec![None; courses.len()],
            surplus: 0,
            lacks_unique_property: false,
        }
    }

    /// Gives each record to the course whose key it carries, else to the one whose trace id it echoes. What names no
    /// course is given back.
    fn assign_named<'r>(&mut self, reply: &'r BatchReply) -> Vec<(&'r Record, HubSpotId)> {
        let mut nameless = Vec::new();
        for record in &reply.results {
            let Some((record, id)) =
                record.as_ref().and_then(|record| Some((record, record.consistent_id()?)))
            else {
                self.surplus += 1;
                continue;
            };
            match self.named(record) {
                Named::Course(at) => self.assign(at, id),
                Named::Stranger => self.surplus += 1,
                Named::Both(one, other) => {
                    self.surplus += 1;
                    self.contradict(one);
                    self.contradict(other);
                }
                Named::Nobody => nameless.push((record, id)),
            }
        }
        if self.assign_lone(reply) { Vec::new() } else { nameless }
    }

    fn named(&self, record: &Record) -> Named {
        let key = self.batch.unique_property().and_then(|unique| record.properties.get(unique)?.as_deref());
        let by_key = key.map(|key| self.course_of_key(key));
        let trace_id = record.object_write_trace_id.as_ref();
        let by_trace_id = trace_id.map(|trace_id| self.by_trace_id.get(trace_id).copied());
        match (by_key, by_trace_id) {
            (None, None) => Named::Nobody,
            (Some(Some(one)), Some(Some(other))) if one != other => Named::Both(one, other),
            // HubSpot may have changed the spelling of the key; an echoed trace id of ours is proof all the same.
            (Some(Some(at)), _) | (_, Some(Some(at))) => Named::Course(at),
            (Some(None), _) | (None, Some(None)) => Named::Stranger,
        }
    }

    /// One input, one result, no error: that is its record, however HubSpot spelled its key and its values. Unless it
    /// echoes a trace id that is not ours. True where it was assigned.
    fn assign_lone(&mut self, reply: &BatchReply) -> bool {
        let ([_], [Some(record)], []) =
            (self.batch.courses(), reply.results.as_slice(), reply.errors.as_slice())
        else {
            return false;
        };
        let is_foreign = |trace_id: &String| !self.by_trace_id.contains_key(trace_id);
        if self.created.first() != Some(&Created::No)
            || record.object_write_trace_id.as_ref().is_some_and(is_foreign)
        {
            return false;
        }
        let Some(id) = record.consistent_id() else { return false };
        // It was counted as a stranger's.
        self.surplus = 0;
        self.assign(0, id);
        true
    }

    fn course_of_key(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied().or_else(|| *self.by_folded_key.get(&folded(key))?)
    }

    /// Gives each record that names no course to the only one whose values it shows. Courses that are equal in all
    /// that was sent take records in turn, those first for which there is no error.
    fn assign_nameless(&mut self, nameless: Vec<(&Record, HubSpotId)>) {
        let is_open = |(at, created): (usize, &Created)| (*created == Created::No).then_some(at);
        let mut open: Vec<usize> = self.created.iter().enumerate().filter_map(is_open).collect();
        open.sort_by_key(|at| self.errors.get(*at).is_some_and(Option::is_some));
        let (records, ids): (Vec<_>, Vec<_>) = nameless.into_iter().unzip();
        for (choice, id) in values::candidates(self.batch, &open, &records).iter().zip(ids) {
            match only(choice) {
                Some(at) => self.assign(*at, id),
                None => self.surplus += usize::from(choice.is_empty()),
            }
        }
    }

    fn assign(&mut self, at: usize, id: HubSpotId) {
        let first_holder = *self.holders.entry(id.clone()).or_insert(at);
        match self.created.get_mut(at) {
            Some(created @ Created::No) if first_holder == at => *created = Created::As(id),
            Some(Created::As(same)) if *same == id => self.surplus += 1,
            _ => {
                self.surplus += 1;
                self.contradict(first_holder);
                self.contradict(at);
            }
        }
    }

    fn contradict(&mut self, at: usize) {
        if let Some(created) = self.created.get_mut(at) {
            *created = Created::Contradiction;
        }
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
                if let Some(slot) = self.errors.get_mut(at)
                    && slot.as_ref().is_none_or(|(before, _)| caution(before) < caution(&verdict))
                {
                    *slot = Some((verdict.clone(), answer.said(error)));
                }
            }
        }
    }

    /// The courses that an error names.
    fn blamed(&mut self, reply: &BatchReply, error: &ErrorReply) -> Vec<usize> {
        let ids: HashSet<_> = error.trace_ids().iter().collect();
        // With one course and no record there is nobody else.
        if ids.is_empty() && self.batch.courses().len() == 1 && reply.results.is_empty() {
            return vec![0];
        }
        let known: Vec<_> = ids.iter().filter_map(|id| self.by_trace_id.get(*id).copied()).collect();
        self.surplus += ids.len() - known.len();
        known
    }

    fn verdicts(self, answer: &Answer<'_>, reply: &BatchReply) -> Vec<Verdict> {
        let omission = Omission { answer, reply, all_exist: self.all_exist(reply) };
        let found = self.created.into_iter().zip(self.errors).zip(self.batch.courses());
        found
            .map(|((created, error), course)| match (created, error) {
                (Created::As(hubspot_id), None) => Verdict::Created { hubspot_id, warning: None },
                // Created, but something beside the record failed, such as an association.
                (Created::As(hubspot_id), Some((_, warning))) => {
                    Verdict::Created { hubspot_id, warning: Some(warning) }
                }
                (Created::No, Some((verdict, _))) => verdict,
                (Created::No, None) => omission.about(self.batch, course),
                (Created::Contradiction, _) => {
                    unknown(answer, &format!("{NOT_KNOWN}: its answer contradicts itself"))
                }
            })
            .collect()
    }

    /// As many results as inputs, complete and without an error: every course exists, also where a result cannot be
    /// assigned.
    fn all_exist(&self, reply: &BatchReply) -> bool {
        let is_foreign = |record: &Record| {
            record.object_write_trace_id.as_ref().is_some_and(|id| !self.by_trace_id.contains_key(id))
        };
        let ours = reply.results.iter().flatten().filter(|record| !is_foreign(record));
        let ids: HashSet<HubSpotId> = ours.filter_map(Record::consistent_id).collect();
        reply.status == BatchStatus::Complete
            && reply.errors.is_empty()
            && reply.results.len() == self.batch.courses().len()
            && ids.len() == reply.results.len()
            && !self.created.contains(&Created::Contradiction)
    }
}

const NOT_KNOWN: &str = "it is not known whether HubSpot created this course";

/// What an answer means for the courses that it does not mention.
struct Omission<'a> {
    answer: &'a Answer<'a>,
    reply: &'a BatchReply,
    all_exist: bool,
}

impl Omission<'_> {
    /// An error that names no course is about one of those that are left out; where it can only be about this one,
    /// it is.
    fn about(&self, batch: &Batch, course: &Claimed) -> Verdict {
        let status = self.reply.status;
        if !status.is_final() {
            return unknown(self.answer, &format!("{NOT_KNOWN}: the batch was not complete ({status:?})"));
        }
        if self.all_exist {
            let message = "HubSpot created this course, but its answer does not show under which id";
            return Verdict::CreatedUnidentified(self.answer.own(Category::UnknownOutcome, message));
        }
        let mut unnamed =
            self.reply.errors.iter().flatten().filter(|error| error.trace_ids().is_empty()).peekable();
        let Some(first) = unnamed.peek().copied() else {
            return unknown(self.answer, &format!("{NOT_KNOWN}: its answer leaves it out"));
        };
        let blame =
            |error| whole::blames(batch, course, error).map(|fault| self.answer.said_of(error, &fault));
        if let Some(refusal) = unnamed.find_map(blame) {
            return Verdict::Refused(refusal);
        }
        let message = first.message.as_deref().unwrap_or("an error without a message");
        unknown(
            self.answer,
            &format!(
                "{NOT_KNOWN}: its answer leaves it out and holds an error that names no course: {message}"
            ),
        )
    }
}

/// Of several errors the one that calls for a look decides, and a refusal for good comes last.
fn caution(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Exists { .. } => 3,
        Verdict::Unknown(_) | Verdict::CreatedUnidentified(_) => 2,
        Verdict::NotTaken(_) => 1,
        Verdict::Created { .. } | Verdict::Refused(_) => 0,
    }
}

/// Whom a record names by itself.
enum Named {
    Course(usize),
    /// One by its key, another by its trace id.
    Both(usize, usize),
    Stranger,
    Nobody,
}

fn unknown(answer: &Answer<'_>, message: &str) -> Verdict {
    Verdict::Unknown(answer.own(Category::UnknownOutcome, message))
}

/// What an error means for the courses that it names.
fn item_verdict(batch: &Batch, answer: &Answer<'_>, error: &ErrorReply) -> Verdict {
    let said = answer.said(error);
    if lacks_unique_property(batch, error) {
        return Verdict::NotTaken(NotTaken::Untouched);
    }
    if is_conflict(error) {
        return match batch.unique_property() {
            Some(_) => Verdict::Exists { error: said, candidates: 1 },
            None => Verdict::Refused(said),
        };
    }
    match error.category.as_deref().or(error.error_type.as_deref()) {
        Some("VALIDATION_ERROR" | "OBJECT_NOT_FOUND") => Verdict::Refused(said),
        Some("MISSING_SCOPES") => {
            Verdict::Refused(CourseError { message: answer.lacking_scopes(error).message, ..said })
        }
        Some("RATE_LIMIT" | "RATE_LIMITS") => {
            Verdict::NotTaken(NotTaken::Later(CourseError { category: Category::Deferred, ..said }))
        }
        _ if !error.property_faults().is_empty() => Verdict::Refused(said),
        // A 5xx of a single input, or a kind of error that is not documented: it proves nothing.
        _ => unknown(answer, &format!("{NOT_KNOWN}: HubSpot answered for it: {}", said.message)),
    }
}
