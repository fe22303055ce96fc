//! Counts what sending would do, in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::changes::ChangeForecast;
use super::limits::SendingLimits;
use crate::cli::format::{pluralize, sanitize};
use crate::course::ClaimedCourse;
use crate::course::CourseError;
use crate::pipeline::reconcile::meaning::LookupFinding;

/// The largest number of kinds of faults that are listed; further ones are only counted.
const MAX_KINDS: usize = 200;
/// The largest number of examples of each kind.
const MAX_EXAMPLES: usize = 5;
/// The largest number of refused courses that are listed with all their faults.
const MAX_COURSES_LISTED: usize = 100;
/// Bytes that a course adds to a request besides its properties.
const ENVELOPE_BYTES: u64 = 160;

/// What sending would do.
#[derive(Debug)]
pub(super) struct Forecast {
    has_schema: bool,
    has_unique: bool,
    /// There are pending courses that were not checked.
    pub has_more: bool,
    /// Courses in HubSpot that have no key, if they were counted.
    pub records_without_key: Option<u64>,
    created: u64,
    adopted: u64,
    unclear: u64,
    refused: u64,
    bytes: u64,
    kinds: BTreeMap<(String, String), FaultKind>,
    /// Faults of further kinds.
    others: u64,
    /// The first refused courses, each with all its faults.
    courses: Vec<(String, Vec<Fault>)>,
    /// The changes of existing records.
    pub changes: ChangeForecast,
}

/// One fault of one course.
#[derive(Debug, Clone)]
pub(super) struct Fault {
    code: String,
    property: String,
    message: String,
}

impl Fault {
    pub(super) fn new(code: &str, property: &str, message: &str) -> Self {
        Self { code: code.to_owned(), property: property.to_owned(), message: message.to_owned() }
    }

    pub(super) fn of_error(error: &CourseError) -> Self {
        let code = error.code.as_deref().unwrap_or(error.category.as_str());
        Self::new(code, error.property.as_deref().unwrap_or_default(), &error.message)
    }

    fn as_json(&self) -> Value {
        let property = (!self.property.is_empty()).then_some(&self.property);
        json!({ "code": self.code, "property": property, "message": self.message })
    }
}

/// One kind of fault.
#[derive(Debug)]
struct FaultKind {
    count: u64,
    message: String,
    examples: Vec<String>,
}

impl Forecast {
    /// `holds_archives`: archives that are not released are held.
    pub(super) fn new(has_schema: bool, has_unique: bool, holds_archives: bool) -> Self {
        Self {
            has_schema,
            has_unique,
            has_more: false,
            records_without_key: None,
            created: 0,
            adopted: 0,
            unclear: 0,
            refused: 0,
            bytes: 0,
            kinds: BTreeMap::new(),
            others: 0,
            courses: Vec::new(),
            changes: ChangeForecast::new(holds_archives),
        }
    }

    /// Counts a course that would be refused for these faults.
    pub(super) fn add_refused(&mut self, key: &str, faults: &[Fault]) {
        self.refused += 1;
        for fault in faults {
            self.count_fault(key, fault);
        }
        if self.courses.len() < MAX_COURSES_LISTED {
            self.courses.push((key.to_owned(), faults.to_vec()));
        }
    }

    fn count_fault(&mut self, key: &str, fault: &Fault) {
        let kind = (fault.code.clone(), fault.property.clone());
        if self.kinds.len() >= MAX_KINDS && !self.kinds.contains_key(&kind) {
            self.others += 1;
            return;
        }
        let kind = self.kinds.entry(kind).or_insert_with(|| FaultKind {
            count: 0,
            message: fault.message.clone(),
            examples: Vec::new(),
        });
        kind.count += 1;
        if kind.examples.len() < MAX_EXAMPLES {
            kind.examples.push(key.to_owned());
        }
    }

    /// Counts a new course that would be sent. `finding` is the result of looking up its key.
    pub(super) fn add_sendable(&mut self, course: &ClaimedCourse, finding: &LookupFinding) {
        let key = course.key.as_str();
        match finding {
            LookupFinding::Absent => self.created += 1,
            LookupFinding::Found(_) => self.adopted += 1,
            LookupFinding::SimilarKey(holder) => {
                let message = format!(
                    "HubSpot record {} has a key that HubSpot treats as equal to this one",
                    holder.id.as_str()
                );
                return self.add_refused(key, &[Fault::new("key_collision", "", &message)]);
            }
            LookupFinding::Duplicates(_)
            | LookupFinding::Archived(_)
            | LookupFinding::Inconclusive
            | LookupFinding::Interrupted => {
                self.unclear += 1;
            }
        }
        let properties: usize =
            course.properties.sent_values().map(|(name, value)| name.len() + value.len() + 6).sum();
        self.bytes +=
            properties as u64 + course.associations.to_json().to_string().len() as u64 + ENVELOPE_BYTES;
    }

    /// Whether new courses would be created.
    pub(super) fn creates(&self) -> bool {
        self.created > 0
    }

    fn count_checked(&self) -> u64 {
        self.created + self.adopted + self.unclear + self.refused + self.changes.count()
    }

    /// The requests needed: full batches, one read for each hundred courses that already exist, and those of changes.
    fn count_requests(&self, limits: &SendingLimits) -> u64 {
        let sent = self.created + self.adopted + self.unclear;
        let by_number = sent.div_ceil((limits.batch_size as u64).max(1));
        let by_bytes = self.bytes.div_ceil(limits.batch_bytes.max(1));
        let reads = (self.adopted + self.unclear).div_ceil(100);
        by_number.max(by_bytes) + reads + self.changes.count_requests(limits)
    }

    fn estimate_seconds(&self, limits: &SendingLimits) -> f64 {
        let requests = u32::try_from(self.count_requests(limits)).unwrap_or(u32::MAX);
        f64::from(requests) / f64::from(limits.quota.requests.max(1)) * limits.quota.per.as_secs_f64()
    }

    pub(super) fn as_json(&self, limits: &SendingLimits) -> Value {
        let mut report = json!({
            "looked_at": self.count_checked(),
            "has_more": self.has_more,
            "created": self.created,
            "adopted": self.adopted,
            "refused": self.refused,
            "unclear": self.unclear,
            "refusals": self.kinds.iter().map(kind_as_json).collect::<Vec<_>>(),
            "refused_for_other_reasons": self.others,
            "refused_courses": self.courses.iter().map(refused_course_as_json).collect::<Vec<_>>(),
            "requests": self.count_requests(limits),
            "seconds": self.estimate_seconds(limits),
            "properties_known": self.has_schema,
            "keys_looked_up": self.has_unique,
            "records_without_key": self.records_without_key,
        });
        if let Value::Object(members) = &mut report {
            members.extend(self.changes.as_json().map(|(name, value)| (name.to_owned(), value)));
        }
        report
    }

    pub(super) fn to_text(&self, limits: &SendingLimits) -> String {
        let more = if self.has_more { "; there are more" } else { "" };
        let mut lines = vec![
            format!("{} pending courses checked, nothing sent{more}", self.count_checked()),
            format!("{:>10} would be created", self.created),
            format!("{:>10} would be adopted: HubSpot already has records with their keys", self.adopted),
            format!("{:>10} would be refused", self.refused),
        ];
        if self.unclear > 0 {
            lines.push(format!(
                "{:>10} are unclear: HubSpot's response does not show whether they exist",
                self.unclear
            ));
        }
        lines.extend(self.changes.count_lines(limits.archive_limit));
        lines.extend(self.changes.update_lines());
        lines.extend(self.fault_lines());
        lines.extend(self.limitation_lines().map(str::to_owned));
        lines.extend(self.records_without_key.filter(|records| *records > 0).map(|records| {
            format!(
                "HubSpot holds {} without a key: if these are courses of the outbox, `course-sync adopt` prevents duplicates",
                pluralize(i64::try_from(records).unwrap_or(i64::MAX), "course")
            )
        }));
        let (requests, per) = (self.count_requests(limits), humantime::format_duration(limits.quota.per));
        let time = humantime::format_duration(Duration::from_secs_f64(self.estimate_seconds(limits).ceil()));
        lines.push(format!(
            "sending takes {}, about {time} at {} requests in {per}",
            pluralize(i64::try_from(requests).unwrap_or(i64::MAX), "request"),
            limits.quota.requests
        ));
        lines.join("\n")
    }

    /// Why courses would be refused, the most frequent reason first.
    fn fault_lines(&self) -> Vec<String> {
        let mut lines = Vec::new();
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
        for ((code, property), kind) in kinds {
            let about = if property.is_empty() { String::new() } else { format!(" {property}") };
            lines.push(sanitize(&format!("refused, {} × {code}{about}: {}", kind.count, kind.message)));
            lines.push(sanitize(&format!("    for example {}", kind.examples.join(", "))));
        }
        if self.others > 0 {
            lines.push(format!("refused, {} × for other reasons", self.others));
        }
        if self.kinds.values().map(|kind| kind.count).sum::<u64>() + self.others > self.refused {
            lines.push("a course with several errors counts once for each error".to_owned());
        }
        lines
    }

    /// What the preview could not check.
    fn limitation_lines(&self) -> impl Iterator<Item = &'static str> {
        let schema = "this token may not read the account's properties, so HubSpot may refuse more courses";
        let unique =
            "hubspot.unique_property is not set, so courses that already exist in HubSpot are not detected";
        [(!self.has_schema).then_some(schema), (!self.has_unique).then_some(unique)].into_iter().flatten()
    }
}

fn kind_as_json(((code, property), kind): (&(String, String), &FaultKind)) -> Value {
    json!({
        "code": code,
        "property": (!property.is_empty()).then_some(property),
        "count": kind.count,
        "message": kind.message,
        "examples": kind.examples,
    })
}

fn refused_course_as_json((key, faults): &(String, Vec<Fault>)) -> Value {
    json!({ "key": key, "faults": faults.iter().map(Fault::as_json).collect::<Vec<_>>() })
}
