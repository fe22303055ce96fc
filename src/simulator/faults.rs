//! Faults to inject: which request they hit and what happens to it. Values only; `delivery` carries them out.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::route::Operation;

/// A rule: what happens to the requests that it matches. A request that the quota or its token refuses is
/// refused honestly and matches none.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Fault {
    /// Which requests. Boxed, since plans of tests hold faults beside much smaller steps.
    #[serde(default)]
    pub on: Box<Match>,
    /// How often; `None`: for ever.
    #[serde(default)]
    pub times: Option<u64>,
    /// Whether the request is carried out. Of no effect where the answer is made from the real one
    /// (`real`, `cut`, `trickle`, `patched`, …): that always carries it out.
    #[serde(default)]
    pub commit: Commit,
    /// Milliseconds between carrying it out and the answer.
    #[serde(default)]
    pub delay_ms: u64,
    /// What the client gets.
    pub answer: Answer,
}

/// Which requests a [`Fault`] hits: those that fulfil every condition. The conditions on an input (`property`,
/// `association`, `id`) hold together for one and the same input.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Requests for this operation.
    pub operation: Option<Operation>,
    /// Requests whose body holds this text, as it stands in the JSON. This and the conditions on inputs need
    /// the body, so they match nothing with `reset_unread`.
    pub contains: Option<String>,
    /// Requests with an input whose property contains a text.
    pub property: Option<PropertyMatch>,
    /// Requests with an input that links to the record of this id.
    pub association: Option<String>,
    /// Requests with an input whose id, unique value or name (`hs_course_name`; of a property, its own) is
    /// exactly this.
    pub id: Option<String>,
    /// Requests with more inputs than this.
    pub more_than: Option<usize>,
    /// Requests with this many inputs, or fewer.
    pub at_most: Option<usize>,
    /// Not before this many requests (counting from 1) fulfilled the conditions above.
    pub nth: u64,
    /// With this probability, from the simulator's seed.
    pub probability: Option<f64>,
}

/// A property of an input, and what its value contains.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PropertyMatch {
    /// Name of the property. In a look-up it is the `idProperty`, in a search the property of a filter.
    pub name: String,
    /// Text within its value; an empty one: the input has the property.
    #[serde(default)]
    pub contains: String,
}

/// Whether and when a request with a [`Fault`] is carried out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Commit {
    /// Never.
    #[default]
    No,
    /// Before the answer.
    Yes,
    /// This much later, whether or not the client still waits.
    Late {
        /// Milliseconds after the request.
        after_ms: u64,
    },
}

/// What the client gets.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Answer {
    /// The real answer (only late, with `delay_ms`).
    Real,
    /// Exactly this. A body that begins with `<` comes from the edge, without any of HubSpot's headers.
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
        /// How it reads.
        dialect: Dialect,
        /// `Retry-After`, in seconds; HubSpot's own have none.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// An error status.
    Error {
        /// HTTP status, such as 423, 477, 500, 502, 524.
        status: u16,
        /// As what.
        #[serde(default)]
        body: ErrorForm,
        /// `Retry-After`, in seconds.
        #[serde(default)]
        retry_after: Option<u64>,
    },
    /// Nothing, for ever.
    Hang,
    /// The connection is reset before the body is read; never carried out.
    ResetUnread,
    /// The connection is reset.
    Reset,
    /// The connection is closed.
    Close,
    /// The real answer with its full `Content-Length`, and the connection closed after so many bytes.
    Cut {
        /// Bytes of the body that still come.
        at: usize,
    },
    /// The real answer, little by little.
    Trickle {
        /// Bytes at a time.
        bytes: usize,
        /// Milliseconds between.
        every_ms: u64,
    },
    /// A 2xx whose JSON never ends within so many bytes.
    Huge {
        /// Length of the body.
        bytes: u64,
    },
    /// A 2xx with bytes that are no text.
    Garbage,
    /// A 2xx with broken JSON.
    BrokenJson,
    /// A 2xx without a body.
    EmptyBody,
    /// The real answer with its body changed by a JSON Merge Patch, such as `{"status":"PENDING"}` or
    /// `{"errors":null}`.
    Patched(Value),
    /// The real answer without so many of its results.
    DropResults(usize),
    /// The real answer with its first result twice.
    DuplicateResult,
    /// The real answer with a result that belongs to no input.
    ForeignResult,
    /// The real answer, with this error for the inputs that fulfil the rule's `property`, `association` and
    /// `id`; without these conditions, for all inputs. The request answers 207; a create without a trace id of
    /// its own for each input is refused as a whole, with 400 and this error. Writes and `batch_read` have
    /// such errors; other requests are answered as usual.
    InputError {
        /// The error object as it stands in `errors`: `status`, `category`, `message`, `context`, `errors`, …
        error: Value,
        /// Whether the inputs are carried out all the same, and have both a result and this error.
        #[serde(default)]
        commit: bool,
        /// Whether the error names its input as HubSpot does: `objectWriteTraceId` is added to its context; in
        /// a `batch_read`, one error with all `ids`.
        #[serde(default = "yes")]
        named: bool,
    },
}

fn yes() -> bool {
    true
}

impl Answer {
    /// This status and body, exactly.
    #[must_use]
    pub fn literal(status: u16, body: impl Into<String>) -> Self {
        Self::Literal { status, headers: BTreeMap::new(), body: body.into() }
    }

    /// This error for the inputs that the rule selects, which are not carried out.
    #[must_use]
    pub fn input_error(error: Value) -> Self {
        Self::InputError { error, commit: false, named: true }
    }
}

/// How a 429 reads; each has another set of fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Dialect {
    /// `errorType`, `policyName: DAILY`, `requestId`.
    Daily,
    /// `errorType`, `policyName: TEN_SECONDLY_ROLLING`, `groupName`.
    TenSecondlyRolling,
    /// `category: RATE_LIMITS` and no policy.
    Secondly,
}

/// The body of an [`Answer::Error`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ErrorForm {
    /// HubSpot's JSON.
    #[default]
    Json,
    /// A page of the edge's.
    Html,
    /// None.
    Empty,
}

impl Fault {
    /// `answer` to every request, for ever; narrow it with the methods below.
    #[must_use]
    pub fn new(answer: Answer) -> Self {
        Self { on: Box::default(), times: None, commit: Commit::No, delay_ms: 0, answer }
    }

    /// Only to this operation.
    #[must_use]
    pub fn on(mut self, operation: Operation) -> Self {
        self.on.operation = Some(operation);
        self
    }

    /// Only to requests whose body holds `text`.
    #[must_use]
    pub fn containing(mut self, text: &str) -> Self {
        self.on.contains = Some(text.to_owned());
        self
    }

    /// Only to requests with an input whose property `name` contains `text`; empty: that has the property.
    #[must_use]
    pub fn property(mut self, name: &str, text: &str) -> Self {
        self.on.property = Some(PropertyMatch { name: name.to_owned(), contains: text.to_owned() });
        self
    }

    /// Only to requests with an input that links to the record of this id.
    #[must_use]
    pub fn association(mut self, id: &str) -> Self {
        self.on.association = Some(id.to_owned());
        self
    }

    /// Only to requests with an input whose id, unique value or name is exactly this.
    #[must_use]
    pub fn id(mut self, id: &str) -> Self {
        self.on.id = Some(id.to_owned());
        self
    }

    /// Only to requests with more than so many inputs.
    #[must_use]
    pub fn more_than(mut self, inputs: usize) -> Self {
        self.on.more_than = Some(inputs);
        self
    }

    /// Only to requests with at most so many inputs.
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

    /// Only so many times.
    #[must_use]
    pub fn times(mut self, times: u64) -> Self {
        self.times = Some(times);
        self
    }

    /// With the request carried out.
    #[must_use]
    pub fn committing(mut self, commit: Commit) -> Self {
        self.commit = commit;
        self
    }

    /// With a delay before the answer, in milliseconds.
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
    fn a_fault_reads_as_json() {
        let text = r#"{"on":{"operation":"batch_create","nth":3},"times":1,
            "commit":{"late":{"after_ms":50}},"answer":{"cut":{"at":12}}}"#;
        let fault: Fault = serde_json::from_str(text).unwrap();
        assert_eq!(fault.answer, Answer::Cut { at: 12 });
        assert_eq!(fault.commit, Commit::Late { after_ms: 50 });
    }

    #[test]
    fn conditions_on_inputs_read_as_json() {
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
    fn unknown_fields_are_refused() {
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
