//! The answer of a batch, record by record and error by error: whose is it?

use std::collections::{HashMap, HashSet};

use super::{Answer, Batch, Interpretation, NotTaken, RequestOutcome, Signal, Verdict};
use super::{is_conflict, lacks_unique_property, only, values, whole};
use crate::course::{Category, HubSpotId, folded};
use crate::policy::answer::{BatchReply, ErrorReply, Record};
use crate::policy::batch::Claimed;
use crate::policy::pause::Reason;

/// Reads the answer of a batch at 200, 201 and 207 alike.
pub(super) fn read(batch: &Batch, answer: &Answer<'_>, reply: &BatchReply) -> Interpretation {
    let mut sheet = Sheet::new(batch);
    // Not over, or called off: whatever it lists may still change.
    if reply.status.is_final() {
        sheet.assign_records(reply);
        sheet.assign_errors(answer, reply);
    }
    let signal = if sheet.lacks_unique_property {
        answer.pause(Reason::Schema)
    } else if sheet.is_blank() && reply.errors.is_empty() {
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
    /// Keys as HubSpot may have normalised them; `None` where several courses share one.
    by_folded_key: HashMap<String, Option<usize>>,
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
            errors: vec![None; courses.len()],
            surplus: 0,
            lacks_unique_property: false,
        }
    }

    /// Whether the answer says nothing of any course by name.
    fn is_blank(&self) -> bool {
        self.errors.iter().all(Option::is_none)
            && !self.created.iter().any(|created| matches!(created, Created::As(_)))
    }

    /// Gives each record to the course whose key it carries, else to the one whose trace id it
    /// echoes, else to the only one whose values it shows.
    fn assign_records(&mut self, reply: &BatchReply) {
        let mut holders = HashMap::new();
        let mut nameless = Vec::new();
        for record in &reply.results {
            let Some((record, id)) =
                record.as_ref().and_then(|record| Some((record, record.consistent_id()?)))
            else {
                self.surplus += 1;
                continue;
            };
            match self.named(record) {
                Named::Course(at) => self.assign(at, id, &mut holders),
                Named::Stranger => self.surplus += 1,
                Named::Both(one, other) => {
                    self.surplus += 1;
                    self.contradict(one);
                    self.contradict(other);
                }
                Named::Nobody => nameless.push((record, id)),
            }
        }
        self.assign_nameless(nameless, &mut holders);
    }

    fn named(&self, record: &Record) -> Named {
        let key = self.batch.unique_property().and_then(|unique| record.properties.get(unique)?.as_deref());
        let by_key = key.map(|key| self.course_of_key(key));
        let trace_id = record.object_write_trace_id.as_ref();
        let by_trace_id = trace_id.map(|trace_id| self.by_trace_id.get(trace_id).copied());
        match (by_key, by_trace_id) {
            (None, None) => Named::Nobody,
            (Some(Some(one)), Some(Some(other))) if one != other => Named::Both(one, other),
            (Some(Some(at)), _) | (None, Some(Some(at))) => Named::Course(at),
            (Some(None), _) | (None, Some(None)) => Named::Stranger,
        }
    }

    fn course_of_key(&self, key: &str) -> Option<usize> {
        self.by_key.get(key).copied().or_else(|| *self.by_folded_key.get(&folded(key))?)
    }

    fn assign_nameless(
        &mut self,
        nameless: Vec<(&Record, HubSpotId)>,
        holders: &mut HashMap<HubSpotId, usize>,
    ) {
        let is_open = |(at, created): (usize, &Created)| (*created == Created::No).then_some(at);
        let open: Vec<usize> = self.created.iter().enumerate().filter_map(is_open).collect();
        let (records, ids): (Vec<_>, Vec<_>) = nameless.into_iter().unzip();
        for (choice, id) in values::candidates(self.batch, &open, &records).iter().zip(ids) {
            match only(choice) {
                Some(at) => self.assign(*at, id, holders),
                None => self.surplus += usize::from(choice.is_empty()),
            }
        }
    }

    fn assign(&mut self, at: usize, id: HubSpotId, holders: &mut HashMap<HubSpotId, usize>) {
        let first_holder = *holders.entry(id.clone()).or_insert(at);
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
                    && slot.as_ref().is_none_or(|before| caution(before) < caution(&verdict))
                {
                    *slot = Some(verdict.clone());
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
        let is_left_out =
            |(created, error): (&Created, &Option<Verdict>)| *created == Created::No && error.is_none();
        let left_out = self.created.iter().zip(&self.errors).filter(|it| is_left_out(*it)).count();
        let silence = Silence { answer, reply, is_blank: self.is_blank(), courses: left_out };
        let said = self.created.into_iter().zip(self.errors).zip(self.batch.courses());
        said.map(|((created, error), course)| match (created, error) {
            (Created::As(id), None) => Verdict::Created(id),
            (Created::No, Some(error)) => error,
            (Created::No, None) => silence.about(self.batch, course),
            (Created::As(_), Some(_)) | (Created::Contradiction, _) => unknown(
                answer,
                "it is not known whether HubSpot created this course: its answer contradicts itself",
                None,
            ),
        })
        .collect()
    }
}

/// What an answer means for the courses that it does not mention.
struct Silence<'a> {
    answer: &'a Answer<'a>,
    reply: &'a BatchReply,
    /// It mentions nobody.
    is_blank: bool,
    /// How many it does not mention.
    courses: usize,
}

impl Silence<'_> {
    /// An error that names nobody is about one of these; where it can only be about this one, it is.
    fn about(&self, batch: &Batch, course: &Claimed) -> Verdict {
        let begin = "it is not known whether HubSpot created this course:";
        let status = self.reply.status;
        if !status.is_final() {
            return unknown(self.answer, &format!("{begin} the batch was not complete ({status:?})"), None);
        }
        let mut unnamed =
            self.reply.errors.iter().flatten().filter(|error| error.trace_ids().is_empty()).peekable();
        let Some(first) = unnamed.peek().copied() else {
            // Where it mentions others, the silence is about these, and must not go on for ever.
            let suspects = (!self.is_blank).then_some(self.courses);
            return unknown(self.answer, &format!("{begin} its answer leaves it out"), suspects);
        };
        let blame =
            |error| whole::blames(batch, course, error).map(|fault| self.answer.said_of(error, &fault));
        if let Some(refusal) = unnamed.find_map(blame) {
            return Verdict::Refused(refusal);
        }
        let message = first.message.as_deref().unwrap_or("an error without a message");
        let message = format!("{begin} its answer leaves it out, and says of nobody by name: {message}");
        unknown(self.answer, &message, Some(self.courses))
    }
}

/// Of several errors the one that calls for a look decides, and a refusal for good comes last.
fn caution(verdict: &Verdict) -> u8 {
    match verdict {
        Verdict::Exists { .. } => 3,
        Verdict::Unknown { .. } => 2,
        Verdict::NotTaken(_) => 1,
        Verdict::Created(_) | Verdict::Refused(_) => 0,
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

fn unknown(answer: &Answer<'_>, message: &str, suspects: Option<usize>) -> Verdict {
    Verdict::Unknown { error: answer.own(Category::UnknownOutcome, message), suspects }
}

/// What an error says of the courses it names.
fn item_verdict(batch: &Batch, answer: &Answer<'_>, error: &ErrorReply) -> Verdict {
    let said = answer.said(error);
    if lacks_unique_property(batch, error) {
        return Verdict::NotTaken(NotTaken::Untouched);
    }
    if is_conflict(error) {
        return match batch.unique_property() {
            Some(_) => Verdict::Exists { error: said, suspects: 1 },
            None => Verdict::Refused(said),
        };
    }
    match error.category.as_deref().or(error.error_type.as_deref()) {
        Some("VALIDATION_ERROR" | "OBJECT_NOT_FOUND") => Verdict::Refused(said),
        Some("RATE_LIMIT" | "RATE_LIMITS") => Verdict::Unknown { error: said, suspects: None },
        _ if !error.property_faults().is_empty() => Verdict::Refused(said),
        // A kind of error that nobody has described proves nothing.
        _ => Verdict::Unknown { error: said, suspects: Some(1) },
    }
}
