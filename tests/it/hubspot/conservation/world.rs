//! A batch, what a truthful HubSpot made of it, and its answer.

use course_sync::policy::batch::Batch;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

use super::super::{UNIQUE, batch, claimed};

/// What a truthful HubSpot did with one course.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Fate {
    Created,
    Refused,
    Taken,
}

/// A batch, what became of it, and how this HubSpot talks.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) keyed: bool,
    pub(super) echoes_trace_ids: bool,
    pub(super) lowers_values: bool,
    /// Names of courses; alike only up to case, or up to a further property.
    pub(super) names: Vec<&'static str>,
    pub(super) fates: Vec<Fate>,
    pub(super) order: Vec<usize>,
}

pub(super) const DISTINCT: [&str; 6] = ["Algebra", "Botany", "Chess", "Dance", "Ethics", "Fencing"];
pub(super) const ALIKE: [&str; 6] = ["Java", "java", "JAVA ", "50", "50.0", "Java+"];

pub(super) fn world(names: [&'static str; 6]) -> impl Strategy<Value = World> {
    (1..=names.len()).prop_flat_map(move |size| {
        let fate = prop_oneof![4 => Just(Fate::Created), 1 => Just(Fate::Refused), 1 => Just(Fate::Taken)];
        let order = Just((0..size).collect::<Vec<_>>()).prop_shuffle();
        let names = Just(names.to_vec()).prop_shuffle().prop_map(move |names| names[..size].to_vec());
        (any::<[bool; 3]>(), names, vec(fate, size), order).prop_map(|(how, names, fates, order)| {
            let [keyed, echoes_trace_ids, lowers_values] = how;
            World { keyed, echoes_trace_ids, lowers_values, names, fates, order }
        })
    })
}

impl World {
    pub(super) fn batch(&self) -> Batch {
        let course = |(at, name): (usize, &&str)| {
            // What differs from "Java" by a further property alone.
            let properties = match name.strip_suffix('+') {
                Some(name) => json!({"hs_course_name": name, "hs_course_description": "more"}),
                None => json!({"hs_course_name": name}),
            };
            claimed(i64::try_from(at).unwrap(), &format!("KEY-{at}"), properties)
        };
        batch(self.names.iter().enumerate().map(course).collect(), self.keyed.then_some(UNIQUE))
    }

    pub(super) fn id(at: usize) -> String {
        format!("{}", 8_600 + at)
    }

    fn record(&self, batch: &Batch, at: usize) -> Value {
        let shown = |value: &str| if self.lowers_values { value.to_lowercase() } else { value.to_owned() };
        let sent = batch.sent(&batch.courses()[at]);
        let mut properties: Map<_, _> =
            sent.map(|(name, value)| (name.to_owned(), json!(shown(&value)))).collect();
        properties.insert("hs_object_id".into(), json!(Self::id(at)));
        let mut record = json!({"id": Self::id(at), "properties": properties, "archived": false});
        if self.echoes_trace_ids {
            record["objectWriteTraceId"] = json!(batch.trace_id(at));
        }
        record
    }

    /// HubSpot's truthful answer.
    pub(super) fn answer(&self, batch: &Batch) -> Value {
        let with = |fate: Fate| self.order.iter().copied().filter(move |at| self.fates[*at] == fate);
        let results: Vec<_> = with(Fate::Created).map(|at| self.record(batch, at)).collect();
        let error = |at, category, message| {
            json!({"status": "error", "category": category, "message": message,
            "context": {"objectWriteTraceId": [batch.trace_id(at)]}})
        };
        let refused = with(Fate::Refused).map(|at| error(at, "VALIDATION_ERROR", "not valid"));
        let taken = with(Fate::Taken).map(|at| error(at, "CONFLICT", "already exists"));
        let errors: Vec<_> = refused.chain(taken).collect();
        json!({"status": "COMPLETE", "results": results, "numErrors": errors.len(), "errors": errors})
    }
}
