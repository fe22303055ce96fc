//! Faults: which requests they apply to, and how they change the response. Values only; `fault_rules` selects them
//! and `fault_response` applies them.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::Operation;

/// A rule that changes the response to matching requests. Requests that fail because of the quota or the token never
/// match.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// The requests that it applies to. Boxed, because tests keep faults in enums with much smaller variants.
    #[serde(default)]
    pub on: Box<Match>,
    /// How many times it applies; `None`: always.
    #[serde(default)]
    pub times: Option<u64>,
    /// Whether the request is executed. Has no effect if the answer is made from the normal response (`real`, `cut`,
    /// `trickle`, `patched`, …): the request is always executed then.
    #[serde(default)]
    pub commit: Commit,
    /// Milliseconds between executing the request and responding. Removing all faults ends the delay.
    #[serde(default)]
    pub delay_ms: u64,
    /// What the client receives.
    pub answer: Answer,
}

/// Which requests a [`Fault`] applies to: those that meet all conditions. The conditions on an input (`property`,
/// `association`, `id`) must be met by the same input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Requests with this operation.
    pub operation: Option<Operation>,
    /// Requests whose body contains this text, as written in the JSON. This and the conditions on inputs need the
    /// body, so together with `reset_unread` they never match.
    pub contains: Option<String>,
    /// Requests with an input whose property contains a text.
    pub property: Option<PropertyMatch>,
    /// Requests with an input that is associated with the record of this ID.
    pub association: Option<String>,
    /// Requests with an input whose ID, unique value or name (`hs_course_name`, or the name of a property) equals
    /// this.
    pub id: Option<String>,
    /// Requests with more inputs than this.
    pub more_than: Option<usize>,
    /// Requests with this many inputs, or fewer.
    pub at_most: Option<usize>,
    /// Applies from the n-th request on that meets the conditions above, counting from 1.
    pub nth: u64,
    /// The probability, determined by the simulator's seed.
    pub probability: Option<f64>,
}

/// A property of an input, and a text in its value.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyMatch {
    /// Name of the property. In a lookup this is the `idProperty`, in a search the property of a filter.
    pub name: String,
    /// Text in the value; empty: the input only has to have the property.
    #[serde(default)]
    pub contains: String,
}

/// Whether and when a request with a [`Fault`] is executed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// Never.
    #[default]
    No,
    /// Before the response.
    Yes,
    /// Later, even if the client has disconnected. It then applies to the records as they are at that time, and
    /// overwrites newer values.
    Late {
        /// Milliseconds after the request.
        after_ms: u64,
    },
}

/// What the client receives.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The normal response (delayed by `delay_ms`).
    Real,
    /// Exactly this response. If the body begins with `<`, it has none of HubSpot's headers, as a page of the edge.
    Literal {
        /// HTTP status.
        status: u16,
        /// Headers.
        #[serde(default)]
        headers: BTreeMap<String, String>,
        /// Body.
        #[serde(default)]
        body: String,
    },
    /// A 429.
    RateLimited {
        /// Its format.
        dialect: Dialect,
        /// `Retry-After`, in seconds; HubSpot sends none.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// An error status.
    Error {
        /// HTTP status, such as 423, 477, 500, 502, 524.
        status: u16,
        /// Format of the body.
        #[serde(default)]
        body: ErrorForm,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// No response; the connection stays open.
    Hang,
    /// The connection is reset before the body is read; the request is never executed.
    ResetUnread,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
    /// The normal response with its full `Content-Length`, but the connection is closed early.
    Cut {
        /// Bytes of the body that are sent.
        at: usize,
    },
    /// The normal response, sent slowly.
    Trickle {
        /// Bytes sent at a time.
        bytes: usize,
        /// Milliseconds between two parts.
        every_ms: u64,
    },
    /// A 2xx with a very long body of incomplete JSON.
    Huge {
        /// Length of the body.
        bytes: u64,
    },
    /// A 2xx with binary data.
    Garbage,
    /// A 2xx with invalid JSON.
    BrokenJson,
    /// A 2xx without a body.
    EmptyBody,
    /// The normal response with its body changed by a JSON Merge Patch, such as `{"status":"PENDING"}` or
    /// `{"errors":null}`.
    Patched(Value),
    /// The normal response without this many of its results.
    DropResults(usize),
    /// The normal response with its first result repeated.
    DuplicateResult,
    /// The normal response with an additional result that belongs to no input.
    ForeignResult,
    /// The normal response, with this error for the inputs that meet the conditions `property`, `association` and
    /// `id`; without these conditions, for all inputs. The status is 207. A create in which not every input has its
    /// own trace ID is rejected as a whole, with 400 and this error, and so is an update. An archive is always rejected as
    /// a whole, because HubSpot has no 207 for it. Applies to writes of records, except merges, and `batch_read`.
    InputError {
        /// The error object in `errors`: `status`, `category`, `message`, `context`, `errors`, …
        error: Value,
        /// Whether the inputs are executed nevertheless, and have both a result and this error.
        #[serde(default)]
        commit: bool,
        /// Whether the error names its input as HubSpot does: by `objectWriteTraceId` in its context or, in a
        /// `batch_read`, by one error with all `ids`.
        #[serde(default = "default_true")]
        named: bool,
    },
}

fn default_true() -> bool {
    true
}

impl Answer {
    /// Exactly this status and body.
    #[must_use]
    pub fn literal(status: u16, body: impl Into<String>) -> Self {
        Self::Literal { status, headers: BTreeMap::new(), body: body.into() }
    }

    /// This error for the selected inputs, which are not executed.
    #[must_use]
    pub fn input_error(error: Value) -> Self {
        Self::InputError { error, commit: false, named: true }
    }
}

/// The formats of a 429, which differ in their fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `errorType`, `policyName: DAILY`, `requestId`.
    Daily,
    /// `errorType`, `policyName: TEN_SECONDLY_ROLLING`, `groupName`.
    TenSecondlyRolling,
    /// `category: RATE_LIMITS`, without a policy.
    Secondly,
}

/// The body of an [`Answer::Error`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorForm {
    /// HubSpot's JSON.
    #[default]
    Json,
    /// An HTML page of the edge.
    Html,
    /// None.
    Empty,
}

impl Fault {
    /// Applies `answer` to every request; add conditions with the methods below.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self { on: Box::default(), times: None, commit: Commit::No, delay_ms: 0, answer }
    }

    /// Only requests with this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.on.operation = Some(operation);
        self
    }

    /// Only requests whose body contains `text`.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.on.contains = Some(text.to_owned());
        self
    }

    /// Only requests with an input whose property `name` contains `text`; empty: that has the property.
    #[must_use]
    pub fn property(mut self, name: &str, text: &str) -> Self {
        self.on.property = Some(PropertyMatch { name: name.to_owned(), contains: text.to_owned() });
        self
    }

    /// Only requests with an input that is associated with the record of this ID.
    #[must_use]
    pub fn association(mut self, id: &str) -> Self {
        self.on.association = Some(id.to_owned());
        self
    }

    /// Only requests with an input whose ID, unique value or name equals this.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.on.id = Some(id.to_owned());
        self
    }

    /// Only requests with more inputs than this.
    #[must_use]
    pub fn more_than(mut self, inputs: usize) -> Self {
        self.on.more_than = Some(inputs);
        self
    }

    /// Only requests with at most this many inputs.
    #[must_use]
    pub fn at_most(mut self, inputs: usize) -> Self {
        self.on.at_most = Some(inputs);
        self
    }

    /// Only from the `nth` matching request on, counting from 1.
    #[must_use]
    pub fn from_nth(mut self, nth: u64) -> Self {
        self.on.nth = nth;
        self
    }

    /// Only with this probability.
    #[must_use]
    pub fn with_probability(mut self, probability: f64) -> Self {
        self.on.probability = Some(probability);
        self
    }

    /// At most this many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// Executes the request as given by `commit`.
    #[must_use]
    pub fn committing(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// Delays the response, in milliseconds, or until all faults are removed.
    #[must_use]
    pub fn after_ms(mut self, delay_ms: u64) -> Self {
        self.delay_ms = delay_ms;
        self
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fault_is_parsed_from_json() {
        let text = r#"{"on":{"operation":"batch_create","nth":3},"times":1,
            "commit":{"late":{"after_ms":50}},"answer":{"cut":{"at":12}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.answer, Answer::Cut { at: 12 });
        assert_eq!(fault.commit, Commit::Late { after_ms: 50 });
    }

    #[test]
    fn conditions_on_inputs_are_parsed_from_json() {
        let text = r#"{"on":{"property":{"name":"hs_course_description","contains":"select"},"association":"101",
            "id":"a","more_than":1,"at_most":50},"answer":{"input_error":{"error":{"category":"RATE_LIMITS"}}}}"#;
        let error = serde_json::json!({ "category": "RATE_LIMITS" });
        let built = Fault::new(Answer::input_error(error))
            .property("hs_course_description", "select")
            .association("101")
            .id("a")
            .more_than(1)
            .at_most(50);
        assert_eq!(serde_json::from_str::<Fault>(text).unwrap(), built);
        let has = r#"{"answer":"hang","on":{"property":{"name":"hs_course_id"}}}"#;
        let has: Fault = serde_json::from_str(has).unwrap();
        assert_eq!(has.on.property.unwrap().contains, "");
    }

    #[test]
    fn unknown_fields_are_rejected() {
        for text in [
            r#"{"answer":"hang","on":{"operatoin":"list"}}"#,
            r#"{"answer":"hang","on":{"property":{"name":"a","text":"b"}}}"#,
            r#"{"answer":"hang","on":{"more_then":1}}"#,
            r#"{"answer":"hang","often":1}"#,
        ] {
            assert!(serde_json::from_str::<Fault>(text).is_err(), "{text}");
        }
    }
}
