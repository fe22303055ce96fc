//! Whether the token may make a call that `run` needs, from the response to a call of the same kind without effect. Pure.

use crate::hubspot::api::response::{Body, Exchange};
use crate::hubspot::api::status::StatusMeaning;
use crate::policy::gate::Incident;
use crate::policy::read_result::{ReadResult, interpret};

/// What the response shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// HubSpot accepts the call.
    Granted,
    /// The token lacks a scope: the message, and the scopes that HubSpot names.
    Denied(String, Vec<String>),
    /// The account has no such object type, or the path does not exist.
    NoSuchType(String),
    /// HubSpot permits the call and refuses its content, with this message.
    Refused(String),
    /// No request of the account can succeed: token, quota or address.
    Stop(Incident),
    /// No answer, or one that shows nothing.
    Unknown(String),
}

/// Interprets the end of a request without effect.
#[must_use]
pub fn access(exchange: &Exchange) -> Access {
    if let Exchange::Answered { meta, body: Body::Batch(_) } = exchange
        && meta.is_success()
    {
        return Access::Granted;
    }
    match interpret(None::<()>, exchange).0 {
        ReadResult::Found(()) => Access::Granted,
        ReadResult::Denied(why, scopes) => Access::Denied(why, scopes),
        ReadResult::Stop(incident) => Access::Stop(incident),
        ReadResult::Unavailable(why) => Access::Unknown(why),
        ReadResult::Refused(why) if is_content_refused(exchange) => Access::Refused(why),
        ReadResult::Refused(why) => Access::NoSuchType(why),
    }
}

/// Whether HubSpot refuses the content of the request, rather than the endpoint or the object type.
fn is_content_refused(exchange: &Exchange) -> bool {
    let Exchange::Answered { meta, body } = exchange else { return false };
    match (meta.meaning(), body) {
        (StatusMeaning::BadRequest, Body::Error(error)) => !error.blames_object_type(),
        (StatusMeaning::Conflict | StatusMeaning::Unprocessable, _) => true,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubspot::api::error::ErrorReply;
    use crate::hubspot::api::response::{BatchReply, Meta, NoAnswer, NotSent, Unreadable};
    use crate::policy::gate::Reason;

    fn answered(status: u16, body: Body) -> Exchange {
        Exchange::Answered { meta: Meta { status, ..Meta::default() }, body }
    }

    fn error(message: &str) -> Body {
        Body::Error(Box::new(ErrorReply { message: Some(message.to_owned()), ..ErrorReply::default() }))
    }

    fn kind(access: Access) -> String {
        match access {
            Access::Granted => "granted".to_owned(),
            Access::Denied(..) => "denied".to_owned(),
            Access::NoSuchType(_) => "no such type".to_owned(),
            Access::Refused(_) => "refused".to_owned(),
            Access::Stop(incident) => format!("stop: {}", incident.reason.as_str()),
            Access::Unknown(_) => "unknown".to_owned(),
        }
    }

    fn batch() -> Body {
        Body::Batch(Box::<BatchReply>::default())
    }

    fn page() -> Body {
        Body::Unreadable(Unreadable::Foreign("<html>".into()))
    }

    #[test]
    fn each_response_shows_the_access() {
        for (exchange, expected) in [
            (answered(201, batch()), "granted"),
            (answered(207, batch()), "granted"),
            (answered(200, page()), "unknown"),
            (answered(400, error("Batch input provided should have at least one object.")), "refused"),
            (answered(409, error("taken")), "refused"),
            (answered(400, error("Unable to infer object type from: widgets")), "no such type"),
            (answered(400, error("Invalid object or event type id: 0-9999")), "no such type"),
            (answered(404, error("resource not found")), "no such type"),
            (answered(404, Body::Unreadable(Unreadable::Empty)), "no such type"),
            (answered(403, error("scopes")), "denied"),
            (answered(403, page()), "denied"),
            (answered(401, error("no")), "stop: token"),
            (answered(429, error("You have reached your daily limit.")), "stop: daily_quota"),
            (answered(488, error("in Hublet eu1")), "stop: object_type"),
            (answered(302, page()), "stop: object_type"),
            (answered(500, error("internal error")), "unknown"),
            (answered(400, page()), "unknown"),
            (Exchange::NoAnswer(NoAnswer::Timeout), "unknown"),
            (Exchange::NotSent(NotSent::Unreachable("x".into())), "unknown"),
            (Exchange::NotSent(NotSent::NoToken("x".into())), "stop: token"),
        ] {
            assert_eq!(kind(access(&exchange)), expected, "{exchange:?}");
        }
    }

    #[test]
    fn a_denied_call_shows_the_status_and_the_scopes() {
        let mut reply = ErrorReply { message: Some("not granted".into()), ..ErrorReply::default() };
        reply.context.insert("requiredGranularScopes".into(), vec!["crm.objects.courses.write".into()]);
        let exchange = answered(403, Body::Error(Box::new(reply)));
        let scopes = vec!["crm.objects.courses.write".to_owned()];
        assert_eq!(access(&exchange), Access::Denied("HubSpot answered 403: not granted".into(), scopes));
        let Access::Stop(incident) = access(&answered(488, error("in Hublet eu1"))) else { panic!() };
        assert_eq!(incident.reason, Reason::ObjectType);
        assert!(incident.message.contains("https://api-eu1.hubapi.com"), "{}", incident.message);
    }
}
