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
    /// Which requests.
    #[serde(default)]
    pub on: Match,
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

/// Which requests a [`Fault`] hits: those that fulfil every condition.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Match {
    /// Requests for this operation.
    pub operation: Option<Operation>,
    /// Requests whose body holds this text, as it stands in the JSON. Of no use with `reset_unread`.
    pub contains: Option<String>,
    /// Not before this many requests (counting from 1) fulfilled the conditions above.
    pub nth: u64,
    /// With this probability, from the simulator's seed.
    pub probability: Option<f64>,
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
    /// Exactly this. A body that begins with `<` comes from the edge, without HubSpot's rate headers.
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
    /// The real answer with a result that nobody asked for.
    ForeignResult,
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
        Self { on: Match::default(), times: None, commit: Commit::No, delay_ms: 0, answer }
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
        assert!(serde_json::from_str::<Fault>(r#"{"answer":"hang","on":{"operatoin":"list"}}"#).is_err());
    }
}
