//! What the response to a read means: a read of the account's settings, or a look-up of courses. Pure.

use std::time::Duration;

use super::gate::{Incident, Reason};
use crate::course::{CourseError, clip};
use crate::hubspot::api::address::wrong_address;
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::read::ReadResponse;
use crate::hubspot::api::response::{Body, Exchange, Meta, NoAnswer, NotSent};
use crate::hubspot::api::status::StatusMeaning;

/// The wait after a 423: HubSpot's error-handling guide recommends at least two seconds.
pub(crate) const LOCK_WAIT: Duration = Duration::from_secs(2);
/// The wait during HubSpot's migration of an account, where HubSpot sends no `Retry-After`.
pub(crate) const MIGRATION_WAIT: Duration = Duration::from_mins(5);
/// The length of the window that HubSpot calls "secondly".
const SECONDLY_WINDOW: Duration = Duration::from_secs(1);

/// Which quota a 429 is about, and the length of its window; zero: unknown. HubSpot names the quota in `policyName`, or
/// only in the message, and in some responses not at all.
pub(crate) fn exceeded_quota(body: &Body) -> (Reason, Duration) {
    let Body::Error(error) = body else { return (Reason::IntervalQuota, Duration::ZERO) };
    let name = error.policy_name.as_deref().or(error.message.as_deref()).unwrap_or_default().to_lowercase();
    if name.contains("daily") {
        (Reason::DailyQuota, Duration::ZERO)
    } else if name.contains("secondly") && !name.contains("ten_secondly") {
        (Reason::IntervalQuota, SECONDLY_WINDOW)
    } else {
        (Reason::IntervalQuota, Duration::ZERO)
    }
}

/// The wait that HubSpot requests in `Retry-After`, or else `default_wait`. Zero: unknown.
pub(crate) fn wait_or(meta: &Meta, default_wait: Duration) -> Option<Duration> {
    let requested = meta.retry_after.filter(|wait| !wait.is_zero());
    requested.or((!default_wait.is_zero()).then_some(default_wait))
}

/// The decision table for reads that failed. It follows that of creates (`pipeline::interpret`), except that a read has
/// no effect, so that there is nothing to be in doubt about; a refusal of the content concerns the property by which
/// courses are looked up.
pub(crate) fn interpret_failed_read(meta: &Meta, body: &Body) -> (RequestOutcome, Incident) {
    let no_wait = Duration::ZERO;
    let (outcome, reason, default_wait) = match (meta.meaning(), body) {
        (StatusMeaning::Unauthorized, _) => (RequestOutcome::Unauthorized, Reason::Token, no_wait),
        (StatusMeaning::Forbidden, Body::Error(_)) => (RequestOutcome::Unauthorized, Reason::Scopes, no_wait),
        (
            StatusMeaning::NotFound
            | StatusMeaning::WrongRegion
            | StatusMeaning::Redirect
            | StatusMeaning::NotModified,
            _,
        ) => (RequestOutcome::Rejected, Reason::ObjectType, no_wait),
        (StatusMeaning::Locked, _) => (RequestOutcome::Unavailable, Reason::Unavailable, LOCK_WAIT),
        (StatusMeaning::Migrating, _) => (RequestOutcome::Unavailable, Reason::Unavailable, MIGRATION_WAIT),
        (StatusMeaning::RateLimited, body) => {
            let (reason, window) = exceeded_quota(body);
            (RequestOutcome::RateLimited, reason, window)
        }
        (
            StatusMeaning::BadRequest | StatusMeaning::Conflict | StatusMeaning::Unprocessable,
            Body::Error(_),
        ) => (RequestOutcome::Rejected, Reason::Unavailable, no_wait),
        // Executed, but without the expected body.
        (StatusMeaning::Success, _) => (RequestOutcome::Invalid, Reason::Unavailable, no_wait),
        // Everything else is a temporary failure, or a page of something in front of HubSpot.
        (
            StatusMeaning::Forbidden
            | StatusMeaning::BadRequest
            | StatusMeaning::Conflict
            | StatusMeaning::Unprocessable
            | StatusMeaning::TooLarge
            | StatusMeaning::RequestTimeout
            | StatusMeaning::OtherClientError
            | StatusMeaning::GatewayTimeout
            | StatusMeaning::OriginUnreachable
            | StatusMeaning::ServerError
            | StatusMeaning::Unknown,
            _,
        ) => (RequestOutcome::Unavailable, Reason::Unavailable, no_wait),
    };
    let retry_after = wait_or(meta, default_wait);
    (outcome, Incident { reason, retry_after, message: describe_failed_read(meta, body) })
}

fn describe_failed_read(meta: &Meta, body: &Body) -> String {
    let detail = match body {
        Body::Error(error) => error.message.as_deref().unwrap_or("no message"),
        Body::Batch(_) | Body::Unreadable(_) => "no readable response",
    };
    clip(&format!("HubSpot answered a read with {}: {detail}", meta.status), CourseError::MAX_MESSAGE_BYTES)
}

/// What the end of a read of the account's settings means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ReadResult<T> {
    /// The value that was read.
    Found(T),
    /// The token lacks a scope: the message, and the scopes that HubSpot names.
    Denied(String, Vec<String>),
    /// HubSpot refuses the request, with this message.
    Refused(String),
    /// No request of the account can succeed: token, quota or address.
    Stop(Incident),
    /// No answer, or no usable one.
    Unavailable(String),
}

impl<T> ReadResult<T> {
    /// The same with another value.
    pub fn map<U>(self, into: impl FnOnce(T) -> U) -> ReadResult<U> {
        match self {
            Self::Found(value) => ReadResult::Found(into(value)),
            Self::Denied(why, scopes) => ReadResult::Denied(why, scopes),
            Self::Refused(why) => ReadResult::Refused(why),
            Self::Stop(incident) => ReadResult::Stop(incident),
            Self::Unavailable(why) => ReadResult::Unavailable(why),
        }
    }
}

impl<T> ReadResponse<T> {
    /// What the response means.
    #[must_use]
    pub fn result(self) -> ReadResult<T> {
        interpret(self.value, &self.exchange).0
    }
}

/// Interprets the end of a read of the account's settings. Also returns its outcome for the metrics.
#[must_use]
pub fn interpret<T>(value: Option<T>, exchange: &Exchange) -> (ReadResult<T>, RequestOutcome) {
    match (value, exchange) {
        (Some(value), _) => (ReadResult::Found(value), RequestOutcome::Ok),
        (None, Exchange::Answered { meta, body }) => interpret_response(meta, body),
        (None, Exchange::NotSent(NotSent::NoToken(why))) => {
            let incident = Incident { reason: Reason::Token, retry_after: None, message: why.clone() };
            (ReadResult::Stop(incident), RequestOutcome::Unauthorized)
        }
        (None, Exchange::NotSent(NotSent::Unreachable(why) | NotSent::Unbuildable(why))) => {
            (ReadResult::Unavailable(why.clone()), RequestOutcome::Unreachable)
        }
        (None, Exchange::NoAnswer(NoAnswer::Timeout)) => {
            (ReadResult::Unavailable("HubSpot did not answer in time".to_owned()), RequestOutcome::Timeout)
        }
        (None, Exchange::NoAnswer(NoAnswer::Lost(_) | NoAnswer::Abandoned)) => (
            ReadResult::Unavailable("the connection was lost before a response arrived".to_owned()),
            RequestOutcome::Unreachable,
        ),
    }
}

/// Interprets a response without the value that was requested.
fn interpret_response<T>(meta: &Meta, body: &Body) -> (ReadResult<T>, RequestOutcome) {
    if let Some(wrong) = wrong_address(meta, body) {
        let message = wrong.to_string();
        let incident = Incident { reason: Reason::ObjectType, retry_after: None, message };
        return (ReadResult::Stop(incident), RequestOutcome::Rejected);
    }
    let (outcome, incident) = interpret_failed_read(meta, body);
    let error = match body {
        Body::Error(error) => Some(error),
        Body::Batch(_) | Body::Unreadable(_) => None,
    };
    let text = error.and_then(|error| error.message.as_deref()).unwrap_or("no readable response");
    let message = clip(&format!("HubSpot answered {}: {text}", meta.status), CourseError::MAX_MESSAGE_BYTES);
    let result = match incident.reason {
        // Also without HubSpot's JSON: a firewall that blocks this read does not block the others for certain.
        _ if meta.meaning() == StatusMeaning::Forbidden => {
            let scopes = error.map(|error| error.required_scopes()).unwrap_or_default();
            ReadResult::Denied(message, scopes.into_iter().map(str::to_owned).collect())
        }
        Reason::Token | Reason::IntervalQuota | Reason::DailyQuota => {
            ReadResult::Stop(Incident { message, ..incident })
        }
        _ if outcome == RequestOutcome::Rejected => ReadResult::Refused(message),
        _ => ReadResult::Unavailable(message),
    };
    (result, outcome)
}
