//! A batch, the result of each course in a HubSpot without faults, and the response.

use course_sync::course::Batch;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{UNIQUE_PROPERTY, batch, claimed};

/// The result for one course.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Outcome {
    Created,
    Refused,
    Taken,
}

/// A batch, the result of each course, and the form of the response.
#[derive(Debug, Clone)]
pub(super) struct TruthfulHubSpot {
    pub(super) keyed: bool,
    pub(super) echoes_trace_ids: bool,
    pub(super) lowercases_values: bool,
    /// Names of the courses. Similar ones differ in case only, or in a further property.
    pub(super) names: Vec<&'static str>,
    pub(super) outcomes: Vec<Outcome>,
    pub(super) order: Vec<usize>,
}

pub(super) const DISTINCT: [&str; 6] = ["Algebra", "Botany", "Chess", "Dance", "Ethics", "Fencing"];
pub(super) const SIMILAR: [&str; 6] = ["Java", "java", "JAVA ", "50", "50.0", "Java+"];

pub(super) fn truthful_hubspot(names: [&'static str; 6]) -> impl Strategy<Value = TruthfulHubSpot> {
    (1..=names.len()).prop_flat_map(move |size| {
        let outcome =
            prop_oneof![4 => Just(Outcome::Created), 1 => Just(Outcome::Refused), 1 => Just(Outcome::Taken)];
        let order = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
        let names = Just(names.to_vec()).prop_shuffle().prop_map(move |names| names[..size].to_vec());
        (any::<[bool; 3]>(), names, vec(outcome, size), order).prop_map(|(how, names, outcomes, order)| {
            let [keyed, echoes_trace_ids, lowercases_values] = how;
            TruthfulHubSpot { keyed, echoes_trace_ids, lowercases_values, names, outcomes, order }
        })
    })
}

impl TruthfulHubSpot {
    pub(super) fn batch(&self) -> Batch {
        let course = |(at, name): (usize, &&str)| {
            // "Java+" differs from "Java" in a further property only.
            let properties = match name.strip_suffix('+') {
                Some(name) => json!({"hs_course_name": name, "hs_course_description": "more"}),
                None => json!({"hs_course_name": name}),
            };
            claimed(i64::try_from(at).unwrap(), &format!("KEY-{at}"), properties)
        };
        batch(self.names.iter().enumerate().map(course).collect(), self.keyed.then_some(UNIQUE_PROPERTY))
    }

    pub(super) fn id(at: usize) -> String {
        format!("{}", 8_600 + at)
    }

    fn record(&self, batch: &Batch, at: usize) -> Value {
        let shown =
            |value: &str| if self.lowercases_values { value.to_lowercase() } else { value.to_owned() };
        let sent = batch.sent_properties(&batch.courses()[at]);
        let mut properties: Map<_, _> =
            sent.map(|(name, value)| (name.to_owned(), json!(shown(&value)))).collect();
        properties.insert("hs_object_id".into(), json!(Self::id(at)));
        let mut record = json!({"id": Self::id(at), "properties": properties, "archived": false});
        if self.echoes_trace_ids {
            record["objectWriteTraceId"] = json!(batch.trace_id(at));
        }
        record
    }

    /// The correct response.
    pub(super) fn response(&self, batch: &Batch) -> Value {
        let with =
            |outcome: Outcome| self.order.iter().copied().filter(move |at| self.outcomes[*at] == outcome);
        let results: Vec<_> = with(Outcome::Created).map(|at| self.record(batch, at)).collect();
        let error = |at, category, message| {
            json!({"status": "error", "category": category, "message": message,
            "context": {"objectWriteTraceId": [batch.trace_id(at)]}})
        };
        let refused = with(Outcome::Refused).map(|at| error(at, "VALIDATION_ERROR", "not valid"));
        let taken = with(Outcome::Taken).map(|at| error(at, "CONFLICT", "already exists"));
        let errors: Vec<_> = refused.chain(taken).collect();
        json!({"status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors})
    }
}
