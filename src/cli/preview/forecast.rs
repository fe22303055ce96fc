//! What sending would do, counted in bounded memory.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use super::super::terminal::{counted, plain};
use crate::course::CourseError;
use crate::policy::batch::Claimed;
use crate::policy::reconcile::Finding;

/// Kinds of faults that are listed one by one; further ones are only counted.
const KINDS: usize = 200;
/// Examples of each.
const EXAMPLES: usize = 5;
/// Refused courses that are listed with all their faults.
const COURSES: usize = 100;
/// Bytes that a course adds to a request besides its properties.
const ENVELOPE_BYTES: u64 = 160;

/// How fast courses may be sent.
#[derive(Debug, Clone, Copy)]
pub(super) struct Rate {
    pub batch_size: usize,
    pub batch_bytes: u64,
    pub requests: u32,
    pub per: Duration,
}

/// What sending would do.
#[derive(Debug)]
pub(super) struct Forecast {
    has_schema: bool,
    has_unique: bool,
    /// There are pending courses that were not looked at.
    pub has_more: bool,
    created: u64,
    adopted: u64,
    unclear: u64,
    refused: u64,
    bytes: u64,
    kinds: BTreeMap<(String, String), Kind>,
    /// Faults of further kinds.
    others: u64,
    /// The first refused courses, each with all its faults.
    courses: Vec<(String, Vec<Fault>)>,
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
struct Kind {
    count: u64,
    message: String,
    examples: Vec<String>,
}

impl Forecast {
    pub(super) fn new(has_schema: bool, has_unique: bool) -> Self {
        Self {
            has_schema,
            has_unique,
            has_more: false,
            created: 0,
            adopted: 0,
            unclear: 0,
            refused: 0,
            bytes: 0,
            kinds: BTreeMap::new(),
            others: 0,
            courses: Vec::new(),
        }
    }

    /// A course would be refused, for all these faults.
    pub(super) fn refused(&mut self, key: &str, faults: &[Fault]) {
        self.refused += 1;
        for fault in faults {
            self.count(key, fault);
        }
        if self.courses.len() < COURSES {
            self.courses.push((key.to_owned(), faults.to_vec()));
        }
    }

    fn count(&mut self, key: &str, fault: &Fault) {
        let kind = (fault.code.clone(), fault.property.clone());
        if self.kinds.len() >= KINDS && !self.kinds.contains_key(&kind) {
            self.others += 1;
            return;
        }
        let new = || Kind { count: 0, message: fault.message.clone(), examples: Vec::new() };
        let kind = self.kinds.entry(kind).or_insert_with(new);
        kind.count += 1;
        if kind.examples.len() < EXAMPLES {
            kind.examples.push(key.to_owned());
        }
    }

    /// A good course would be sent; this is who holds its key.
    pub(super) fn found(&mut self, course: &Claimed, finding: &Finding) {
        let key = course.key.as_str();
        match finding {
            Finding::Absent => self.created += 1,
            Finding::Held(_) => self.adopted += 1,
            Finding::Similar(holder) => {
                let message = format!(
                    "HubSpot's record {} carries a key that equals this one after HubSpot's normalisation",
                    holder.id.as_str()
                );
                return self.refused(key, &[Fault::new("key_collision", "", &message)]);
            }
            Finding::Several(_) | Finding::InBin(_) | Finding::Unclear => self.unclear += 1,
        }
        let properties: usize =
            course.properties.sent().map(|(name, value)| name.len() + value.len() + 6).sum();
        self.bytes +=
            properties as u64 + course.associations.to_json().to_string().len() as u64 + ENVELOPE_BYTES;
    }

    fn looked_at(&self) -> u64 {
        self.created + self.adopted + self.unclear + self.refused
    }

    /// Requests: full batches, and one read for each hundred that turn out to exist.
    fn requests(&self, rate: &Rate) -> u64 {
        let sent = self.created + self.adopted + self.unclear;
        let by_number = sent.div_ceil((rate.batch_size as u64).max(1));
        let by_bytes = self.bytes.div_ceil(rate.batch_bytes.max(1));
        by_number.max(by_bytes) + (self.adopted + self.unclear).div_ceil(100)
    }

    fn seconds(&self, rate: &Rate) -> f64 {
        let requests = u32::try_from(self.requests(rate)).unwrap_or(u32::MAX);
        f64::from(requests) / f64::from(rate.requests.max(1)) * rate.per.as_secs_f64()
    }

    pub(super) fn as_json(&self, rate: &Rate) -> Value {
        let reason = |((code, property), kind): (&(String, String), &Kind)| {
            json!({
                "code": code,
                "property": (!property.is_empty()).then_some(property),
                "count": kind.count,
                "message": kind.message,
                "examples": kind.examples,
            })
        };
        let course = |(key, faults): &(String, Vec<Fault>)| json!({ "key": key, "faults": faults.iter().map(Fault::as_json).collect::<Vec<_>>() });
        json!({
            "looked_at": self.looked_at(),
            "has_more": self.has_more,
            "created": self.created,
            "adopted": self.adopted,
            "refused": self.refused,
            "unclear": self.unclear,
            "refusals": self.kinds.iter().map(reason).collect::<Vec<_>>(),
            "refused_for_other_reasons": self.others,
            "refused_courses": self.courses.iter().map(course).collect::<Vec<_>>(),
            "requests": self.requests(rate),
            "seconds": self.seconds(rate),
            "properties_known": self.has_schema,
            "keys_looked_up": self.has_unique,
        })
    }

    pub(super) fn in_words(&self, rate: &Rate) -> String {
        let more = if self.has_more { "; there are more" } else { "" };
        let mut lines = vec![
            format!("{} pending courses looked at, nothing sent{more}", self.looked_at()),
            format!("{:>10} would be created", self.created),
            format!("{:>10} would be adopted: HubSpot holds their keys already", self.adopted),
            format!("{:>10} would be refused", self.refused),
        ];
        if self.unclear > 0 {
            lines.push(format!("{:>10} are unclear: HubSpot's answer leaves them open", self.unclear));
        }
        let mut kinds: Vec<_> = self.kinds.iter().collect();
        kinds.sort_by_key(|(_, kind)| std::cmp::Reverse(kind.count));
        for ((code, property), kind) in kinds {
            let about = if property.is_empty() { String::new() } else { format!(" {property}") };
            lines.push(plain(&format!("refused, {} × {code}{about}: {}", kind.count, kind.message)));
            lines.push(plain(&format!("    such as {}", kind.examples.join(", "))));
        }
        if self.others > 0 {
            lines.push(format!("refused, {} × for other reasons", self.others));
        }
        if self.kinds.values().map(|kind| kind.count).sum::<u64>() + self.others > self.refused {
            lines.push("a course with several faults counts once for each of them".to_owned());
        }
        if !self.has_schema {
            lines
                .push("this token may not read the account's properties: HubSpot may refuse more".to_owned());
        }
        if !self.has_unique {
            lines.push(
                "hubspot.unique_property is not set: whether HubSpot holds a course already is not known"
                    .to_owned(),
            );
        }
        let (requests, per) = (self.requests(rate), humantime::format_duration(rate.per));
        let time = humantime::format_duration(Duration::from_secs_f64(self.seconds(rate).ceil()));
        lines.push(format!(
            "sending takes {}, about {time} at {} requests in {per}",
            counted(i64::try_from(requests).unwrap_or(i64::MAX), "request"),
            rate.requests
        ));
        lines.join("\n")
    }
}
