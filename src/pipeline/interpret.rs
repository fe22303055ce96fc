//! What the end of a request that writes courses means: for each course of the batch, and for the account. Pure.
//!
//! **The conservation law.** Every course of the batch gets exactly one verdict:
//! inputs = created ⊎ refused ⊎ not taken ⊎ unknown. A course that the response leaves out is unknown, whatever the
//! status. A record is assigned to a course by what the record contains, never by its position in the response.

mod changes;
mod items;
mod response;
pub(crate) mod values;
mod whole;

use jiff::Timestamp;

use self::response::{CreateResponse, same_for_all};
use crate::course::{Batch, Category, CourseError, NotTaken, Verdict, Write};
use crate::hubspot::api::outcome::RequestOutcome;
use crate::hubspot::api::response::{Body, Exchange, NoAnswer, NotSent, Unreadable};
use crate::hubspot::api::status::StatusMeaning;
use crate::policy::gate::{Incident, Reason};
use crate::policy::read_result::{LOCK_WAIT, MIGRATION_WAIT, exceeded_quota};
use crate::policy::signal::{Interpretation, Signal};

/// Interprets the end of a request.
#[must_use]
pub fn interpret(batch: &Batch, exchange: &Exchange, now: Timestamp) -> Interpretation {
    match exchange {
        Exchange::NotSent(why) => interpret_not_sent(batch, why),
        Exchange::NoAnswer(why) => interpret_no_answer(batch, why, now),
        Exchange::Answered { meta, body } => interpret_response(batch, &CreateResponse { meta, body, now }),
    }
}

/// The decision table: status and body → verdicts and signal. The body decides where the status cannot.
///
/// A failure that names no course is only a hypothesis about its cause: `policy::attribution` compares it with other
/// requests before it blames a course or the account.
fn interpret_response(batch: &Batch, response: &CreateResponse<'_>) -> Interpretation {
    use RequestOutcome::{Invalid, RateLimited, Rejected, Unauthorized, Unavailable};

    match (response.meta.meaning(), response.body) {
        // An archive is answered without a body.
        (StatusMeaning::Success, Body::Batch(_) | Body::Unreadable(Unreadable::Empty))
            if batch.write() == Write::Archive =>
        {
            changes::interpret_archive(batch)
        }
        (StatusMeaning::Success, Body::Batch(reply)) if batch.write() == Write::Update => {
            changes::interpret_update(batch, response, reply)
        }
        (StatusMeaning::Success, Body::Batch(reply)) => items::interpret_items(batch, response, reply),
        (StatusMeaning::Success, _) => response.unknown_for_all(batch, Invalid),
        // The body lists records, and the status denies them. It is not known which of the two is wrong.
        (_, Body::Batch(reply)) if !reply.results.is_empty() => response.unknown_for_all(batch, Invalid),
        // Redirects are not followed, so nothing was executed.
        (StatusMeaning::Redirect | StatusMeaning::NotModified | StatusMeaning::WrongRegion, _) => {
            response.turned_away(batch, Rejected, response.wrong_address())
        }
        (StatusMeaning::Unauthorized, _) => {
            response.turned_away(batch, Unauthorized, response.incident(Reason::Token))
        }
        (StatusMeaning::Forbidden, Body::Error(error)) => {
            response.turned_away(batch, Unauthorized, response.missing_scopes(error))
        }
        (StatusMeaning::NotFound, _) => {
            response.turned_away(batch, Rejected, response.incident(Reason::ObjectType))
        }
        (StatusMeaning::TooLarge, _) => whole::interpret_too_large(batch, response),
        (StatusMeaning::Locked, _) => {
            let incident = response.incident_lasting(Reason::Unavailable, LOCK_WAIT);
            untouched(batch, Unavailable, incident)
        }
        (StatusMeaning::Migrating, _) => {
            let incident = response.incident_lasting(Reason::Unavailable, MIGRATION_WAIT);
            untouched(batch, Unavailable, incident)
        }
        (StatusMeaning::RateLimited, body) => {
            let (reason, window) = exceeded_quota(body);
            untouched(batch, RateLimited, response.incident_lasting(reason, window))
        }
        (
            StatusMeaning::BadRequest | StatusMeaning::Conflict | StatusMeaning::Unprocessable,
            Body::Error(error),
        ) => whole::interpret_refusal(batch, response, error),
        // Refused, but not for the content of the courses.
        (StatusMeaning::OtherClientError, Body::Error(_)) => {
            response.turned_away(batch, Rejected, response.incident(Reason::Unavailable))
        }
        // A 403 without HubSpot's JSON is the page of a firewall or proxy, which did not pass the request on.
        (StatusMeaning::Forbidden | StatusMeaning::OriginUnreachable, _) => {
            response.turned_away(batch, Unavailable, response.incident(Reason::Unavailable))
        }
        (StatusMeaning::GatewayTimeout, _) => {
            Interpretation { may_be_size: true, ..response.unknown_for_all(batch, Unavailable) }
        }
        (StatusMeaning::RequestTimeout | StatusMeaning::ServerError, _) => {
            response.unknown_for_all(batch, Unavailable)
        }
        // A 4xx without HubSpot's JSON may come from anything in between, and proves nothing.
        (
            StatusMeaning::BadRequest
            | StatusMeaning::Conflict
            | StatusMeaning::Unprocessable
            | StatusMeaning::OtherClientError
            | StatusMeaning::Unknown,
            _,
        ) => response.unknown_for_all(batch, Invalid),
    }
}

/// No course was created, and none can be the cause: sending pauses.
fn untouched(batch: &Batch, outcome: RequestOutcome, incident: Incident) -> Interpretation {
    same_for_all(batch, &Verdict::NotTaken(NotTaken::Untouched), outcome, Signal::Pause(incident))
}

fn interpret_not_sent(batch: &Batch, why: &NotSent) -> Interpretation {
    let (reason, outcome, message) = match why {
        NotSent::Unreachable(message) | NotSent::Unbuildable(message) => {
            (Reason::Unavailable, RequestOutcome::Unreachable, message)
        }
        NotSent::NoToken(message) => (Reason::Token, RequestOutcome::Unauthorized, message),
    };
    let incident = Incident { reason, retry_after: None, message: message.clone() };
    same_for_all(batch, &Verdict::NotTaken(NotTaken::NotSent), outcome, Signal::Pause(incident))
}

fn interpret_no_answer(batch: &Batch, why: &NoAnswer, now: Timestamp) -> Interpretation {
    let (outcome, what) = match why {
        NoAnswer::Timeout => (RequestOutcome::Timeout, "HubSpot did not answer in time".to_owned()),
        NoAnswer::Lost(how) => {
            (RequestOutcome::Unreachable, format!("the connection was lost before a response arrived: {how}"))
        }
        NoAnswer::Abandoned => {
            (RequestOutcome::Invalid, "the request was abandoned before a response arrived".to_owned())
        }
    };
    let message = format!("it is not known whether HubSpot {} this course: {what}", batch.write().past());
    let verdict = Verdict::Unknown(CourseError::new(Category::UnknownOutcome, &message, now));
    let incident = Incident { reason: Reason::Unavailable, retry_after: None, message: what };
    // A smaller batch may be answered in time.
    let may_be_size = *why == NoAnswer::Timeout;
    Interpretation { may_be_size, ..same_for_all(batch, &verdict, outcome, Signal::Failed(incident)) }
}
