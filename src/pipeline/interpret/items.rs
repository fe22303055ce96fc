//! The result of a batch, record by record and error by error: assigns each to its course. Pure.

use std::collections::{HashMap, HashSet};

use super::response::{CreateResponse, lacks_unique_property};
use super::values::{self, sole};
use super::whole::certain_fault;
use crate::course::{Batch, Category, ClaimedCourse, CourseError, HubSpotId, NotTaken, Verdict, fold_key};
use crate::hubspot::api::error::ErrorReply;
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{BatchReply, BatchStatus, CourseRecord};
use crate::policy::gate::Reason;
use crate::policy::signal::{Interpretation, Signal};

/// Interprets the result of a batch, which has the same form at 200, 201 and 207.
pub(super) fn interpret_items(
    batch: &Batch,
    response: &CreateResponse<'_>,
    reply: &BatchReply,
) -> Interpretation {
    let mut assignment = Assignment::new(batch);
    // A batch that is not complete, or was cancelled, may still change. Nothing that it lists is final.
    if reply.status.is_final() {
        // Errors come second, because a course with an error is the less likely owner of an unidentified record.
        let unidentified = assignment.assign_identified(reply);
        assignment.assign_errors(response, reply);
        assignment.assign_unidentified(unidentified);
    }
    // Where all courses exist, an unidentified record belongs to one of them.
    let surplus = if assignment.all_exist(reply) { 0 } else { assignment.surplus };
    let lacks_unique_property = assignment.lacks_unique_property;
    let verdicts = assignment.into_verdicts(response, reply);
    let signal = if lacks_unique_property {
        Signal::Pause(response.incident(Reason::Schema))
    } else {
        signal(response, &verdicts)
    };
    Interpretation { outcome: outcome(&verdicts), verdicts, signal, surplus, may_be_size: false }
}

/// What the verdicts together show about HubSpot.
fn signal(response: &CreateResponse<'_>, verdicts: &[Verdict]) -> Signal {
    if verdicts.iter().any(is_created) {
        Signal::Passed
    } else if verdicts.iter().any(is_judged) {
        Signal::Judged
    } else {
        Signal::Failed(response.incident(Reason::Unavailable))
    }
}

fn is_created(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Applied { .. } | Verdict::CreatedUnidentified(_))
}

/// Whether HubSpot examined the content of the course and rejected it.
fn is_judged(verdict: &Verdict) -> bool {
    matches!(verdict, Verdict::Refused(_) | Verdict::Exists { .. })
}

fn outcome(verdicts: &[Verdict]) -> RequestOutcome {
    let created = verdicts.iter().filter(|verdict| matches!(verdict, Verdict::Applied { .. })).count();
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

/// What the response shows about each course, while it is being read. Courses are given by their position.
struct Assignment<'a> {
    batch: &'a Batch,
    by_key: HashMap<&'a str, usize>,
    /// Keys as HubSpot may have normalised them; `None` where several courses have the same normalised key.
    by_folded_key: HashMap<String, Option<usize>>,
    by_trace_id: HashMap<String, usize>,
    created: Vec<CreatedAs>,
    /// The course that each record was assigned to.
    owners: HashMap<HubSpotId, usize>,
    /// The error that names each course, and what it means.
    errors: Vec<Option<(Verdict, CourseError)>>,
    /// Records and errors that belong to no course of the batch.
    surplus: usize,
    lacks_unique_property: bool,
}

/// Whether the records show that a course was created.
#[derive(Clone, PartialEq, Eq)]
enum CreatedAs {
    None,
    Record(HubSpotId),
    /// Two records belong to this course, or one record belongs to two courses.
    Contradiction,
}

impl<'a> Assignment<'a> {
    fn new(batch: &'a Batch) -> Self {
        let courses = batch.courses();
        let mut by_folded_key = HashMap::new();
        for (at, course) in courses.iter().enumerate() {
            by_folded_key
                .entry(fold_key(course.key.as_str()))
                .and_modify(|twin| *twin = None)
                .or_insert(Some(at));
        }
        Self {
            batch,
            by_key: courses.iter().enumerate().map(|(at, course)| (course.key.as_str(), at)).collect(),
            by_folded_key,
            by_trace_id: (0..courses.len()).map(|at| (batch.trace_id(at), at)).collect(),
            created: vec![CreatedAs::None; courses.len()],
            owners: HashMap::new(),
            errors: vec![None; courses.len()],
            surplus: 0,
            lacks_unique_property: false,
        }
    }

    /// Assigns each record to the course whose key it has, else to the one whose trace id it repeats. Returns the records
    /// that have neither.
    fn assign_identified<'r>(&mut self, reply: &'r BatchReply) -> Vec<(&'r CourseRecord, HubSpotId)> {
        let mut unidentified = Vec::new();
        for record in &reply.results {
            let Some((record, id)) =
                record.as_ref().and_then(|record| Some((record, record.consistent_id()?)))
            else {
                self.surplus += 1;
                continue;
            };
            match self.owner(record) {
                RecordOwner::Course(at) => self.assign(at, id),
                RecordOwner::Foreign => self.surplus += 1,
                RecordOwner::Contradiction(one, other) => {
                    self.surplus += 1;
                    self.contradict(one);
                    self.contradict(other);
                }
                RecordOwner::Unidentified => unidentified.push((record, id)),
            }
        }
        if self.assign_single(reply) { Vec::new() } else { unidentified }
    }

    /// The course that the record itself identifies.
    fn owner(&self, record: &CourseRecord) -> RecordOwner {
        let key = self.batch.unique_property().and_then(|unique| record.properties.get(unique)?.as_deref());
        let by_key = key.map(|key| self.course_of_key(key));
        let trace_id = record.object_write_trace_id.as_ref();
        let by_trace_id = trace_id.map(|trace_id| self.by_trace_id.get(trace_id).copied());
        match (by_key, by_trace_id) {
            (None, None) => RecordOwner::Unidentified,
            (Some(Some(one)), Some(Some(other))) if one != other => RecordOwner::Contradiction(one, other),
            // HubSpot may have changed the spelling of the key. A trace id of this batch is proof nevertheless.
            (Some(Some(at)), _) | (_, Some(Some(at))) => RecordOwner::Course(at),
            (Some(None), _) | (None, Some(None)) => RecordOwner::Foreign,
        }
    }

    /// One course, one record, no error: the record is the course's, whatever HubSpot made of its key and its values,
    /// unless it has a trace id of another batch. True where it was assigned.
    fn assign_single(&mut self, reply: &BatchReply) -> bool {
        let ([_], [Some(record)], []) =
            (self.batch.courses(), reply.results.as_slice(), reply.errors.as_slice())
        else {
            return false;
        };
        if self.created.first() != Some(&CreatedAs::None) || self.is_foreign(record) {
            return false;
        }
        let Some(id) = record.consistent_id() else { return false };
        // The record may have been counted as foreign because of its key.
        self.surplus = 0;
        self.assign(0, id);
        true
    }

    fn course_of_key(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied().or_else(|| *self.by_folded_key.get(&fold_key(key))?)
    }

    /// Assigns each unidentified record to the only course whose values it has. Courses with identical content take
    /// records in turn; those without an error come first.
    fn assign_unidentified(&mut self, unidentified: Vec<(&CourseRecord, HubSpotId)>) {
        let mut open: Vec<usize> = (self.created.iter().enumerate())
            .filter_map(|(at, created)| (*created == CreatedAs::None).then_some(at))
            .collect();
        open.sort_by_key(|at| self.errors.get(*at).is_some_and(Option::is_some));
        let (records, ids): (Vec<_>, Vec<_>) = unidentified.into_iter().unzip();
        for (candidates, id) in values::candidates(self.batch, &open, &records).iter().zip(ids) {
            match sole(candidates) {
                Some(at) => self.assign(*at, id),
                None => self.surplus += usize::from(candidates.is_empty()),
            }
        }
    }

    fn assign(&mut self, at: usize, id: HubSpotId) {
        let first_owner = *self.owners.entry(id.clone()).or_insert(at);
        match self.created.get_mut(at) {
            Some(created @ CreatedAs::None) if first_owner == at => *created = CreatedAs::Record(id),
            Some(CreatedAs::Record(same)) if *same == id => self.surplus += 1,
            _ => {
                self.surplus += 1;
                self.contradict(first_owner);
                self.contradict(at);
            }
        }
    }

    fn contradict(&mut self, at: usize) {
        if let Some(created) = self.created.get_mut(at) {
            *created = CreatedAs::Contradiction;
        }
    }

    fn assign_errors(&mut self, response: &CreateResponse<'_>, reply: &BatchReply) {
        for error in &reply.errors {
            let Some(error) = error else {
                self.surplus += 1;
                continue;
            };
            self.lacks_unique_property |= lacks_unique_property(self.batch, error);
            let verdict = interpret_item_error(self.batch, response, error);
            for at in self.courses_named_by(reply, error) {
                if let Some(slot) = self.errors.get_mut(at)
                    && slot.as_ref().is_none_or(|(before, _)| precedence(before) < precedence(&verdict))
                {
                    *slot = Some((verdict.clone(), response.hubspot_error(error)));
                }
            }
        }
    }

    /// The courses that an error names.
    fn courses_named_by(&mut self, reply: &BatchReply, error: &ErrorReply) -> Vec<usize> {
        let ids: HashSet<_> = error.trace_ids().iter().collect();
        // With a single course and no record, the error can only be about this course.
        if ids.is_empty() && self.batch.courses().len() == 1 && reply.results.is_empty() {
            return vec![0];
        }
        let known: Vec<_> = ids.iter().filter_map(|id| self.by_trace_id.get(*id).copied()).collect();
        self.surplus += ids.len() - known.len();
        known
    }

    fn into_verdicts(self, response: &CreateResponse<'_>, reply: &BatchReply) -> Vec<Verdict> {
        let omission = Omission { response, reply, all_exist: self.all_exist(reply) };
        let found = self.created.into_iter().zip(self.errors).zip(self.batch.courses());
        found
            .map(|((created, error), course)| match (created, error) {
                (CreatedAs::Record(hubspot_id), None) => Verdict::Applied { hubspot_id, warning: None },
                // Created, but something else failed, such as an association.
                (CreatedAs::Record(hubspot_id), Some((_, warning))) => {
                    Verdict::Applied { hubspot_id, warning: Some(warning) }
                }
                (CreatedAs::None, Some((verdict, _))) => verdict,
                (CreatedAs::None, None) => omission.verdict(self.batch, course),
                (CreatedAs::Contradiction, _) => {
                    unknown(response, &format!("{NOT_KNOWN}: HubSpot's response contradicts itself"))
                }
            })
            .collect()
    }

    /// Whether a record has a trace id that this batch did not send.
    fn is_foreign(&self, record: &CourseRecord) -> bool {
        record.object_write_trace_id.as_ref().is_some_and(|id| !self.by_trace_id.contains_key(id))
    }

    /// As many records as courses, complete and without an error: every course exists, even where a record cannot be
    /// assigned.
    fn all_exist(&self, reply: &BatchReply) -> bool {
        let own = reply.results.iter().flatten().filter(|record| !self.is_foreign(record));
        let ids: HashSet<HubSpotId> = own.filter_map(CourseRecord::consistent_id).collect();
        reply.status == BatchStatus::Complete
            && reply.errors.is_empty()
            && reply.results.len() == self.batch.courses().len()
            && ids.len() == reply.results.len()
            && !self.created.contains(&CreatedAs::Contradiction)
    }
}

const NOT_KNOWN: &str = "it is not known whether HubSpot created this course";

/// The meaning of a response for the courses that it does not mention.
struct Omission<'a> {
    response: &'a CreateResponse<'a>,
    reply: &'a BatchReply,
    all_exist: bool,
}

impl Omission<'_> {
    /// An error that names no course is about one of the courses that are left out. Where the faulty value can only be
    /// this course's, this course is refused.
    fn verdict(&self, batch: &Batch, course: &ClaimedCourse) -> Verdict {
        let status = self.reply.status;
        if !status.is_final() {
            return unknown(self.response, &format!("{NOT_KNOWN}: the batch was not complete ({status:?})"));
        }
        if self.all_exist {
            let message = "HubSpot created this course, but HubSpot's response does not show the record id";
            return Verdict::CreatedUnidentified(self.response.error(Category::UnknownOutcome, message));
        }
        let mut unnamed =
            self.reply.errors.iter().flatten().filter(|error| error.trace_ids().is_empty()).peekable();
        let Some(first) = unnamed.peek().copied() else {
            return unknown(self.response, &format!("{NOT_KNOWN}: HubSpot's response does not mention it"));
        };
        let refusal = unnamed.find_map(|error| {
            certain_fault(batch, course, error).map(|fault| self.response.hubspot_error_about(error, &fault))
        });
        if let Some(refusal) = refusal {
            return Verdict::Refused(refusal);
        }
        let message = first.message.as_deref().unwrap_or("an error without a message");
        unknown(
            self.response,
            &format!(
                "{NOT_KNOWN}: HubSpot's response does not mention it and contains an error that names no course: {message}"
            ),
        )
    }
}

/// Which of several errors about one course decides: the one that is safest to act on. A look-up comes first, a final
/// refusal last.
fn precedence(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Exists { .. } => 3,
        Verdict::Unknown(_) | Verdict::CreatedUnidentified(_) | Verdict::LookUp(_) => 2,
        Verdict::NotTaken(_) => 1,
        Verdict::Applied { .. } | Verdict::Refused(_) => 0,
    }
}

/// The course that a record identifies.
enum RecordOwner {
    Course(usize),
    /// The key is one course's, the trace id another's.
    Contradiction(usize, usize),
    /// Key or trace id are of another batch.
    Foreign,
    /// The record has neither a key nor a trace id.
    Unidentified,
}

fn unknown(response: &CreateResponse<'_>, message: &str) -> Verdict {
    Verdict::Unknown(response.error(Category::UnknownOutcome, message))
}

/// The verdict of an error on the courses that it names.
fn interpret_item_error(batch: &Batch, response: &CreateResponse<'_>, error: &ErrorReply) -> Verdict {
    let refusal = response.hubspot_error(error);
    if lacks_unique_property(batch, error) {
        return Verdict::NotTaken(NotTaken::Untouched);
    }
    if error.is_conflict() {
        return match batch.unique_property() {
            Some(_) => Verdict::Exists { error: refusal, candidates: 1 },
            None => Verdict::Refused(refusal),
        };
    }
    match error.category.as_deref().or(error.error_type.as_deref()) {
        Some("VALIDATION_ERROR" | "OBJECT_NOT_FOUND") => Verdict::Refused(refusal),
        Some("MISSING_SCOPES") => {
            Verdict::Refused(CourseError { message: response.missing_scopes(error).message, ..refusal })
        }
        Some("RATE_LIMIT" | "RATE_LIMITS") => {
            Verdict::NotTaken(NotTaken::Later(CourseError { category: Category::Deferred, ..refusal }))
        }
        _ if !error.property_faults().is_empty() => Verdict::Refused(refusal),
        // A server error of a single input, or an undocumented kind of error, proves nothing.
        _ => unknown(response, &format!("{NOT_KNOWN}: HubSpot answered for it: {}", refusal.message)),
    }
}
