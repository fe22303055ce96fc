//! Whether a call that `run` needs is permitted, read from the answer to a call of the same kind that has no effect. Pure.

use super::answer::{Body, Exchange};
use super::pause::Trouble;
use super::schema::{Ending, interpret};

/// What the answer shows.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Access {
    /// HubSpot accepts the call.
    Granted,
    /// The token may not make it: the message, and the scopes that HubSpot names.
    Denied(String, Vec<String>),
    /// The account has no such object type, or the path does not exist.
    NoSuchType(String),
    /// HubSpot lets the call through and refuses its content, in its own words.
    Refused(String),
    /// Nothing works for the whole account: token, quota or address.
    Stop(Trouble),
    /// No answer, or none that shows anything.
    Unknown(String),
}

/// Reads the end of a request without effect.
#[must_use]
pub fn access(exchange: &Exchange) -> Access {
    if let Exchange::Answered { meta, body: Body::Batch(_) } = exchange
        && (200..300).contains(&meta.status)
    {
        return Access::Granted;
    }
    match interpret(None::<()>, exchange).0 {
        Ending::Told(()) => Access::Granted,
        Ending::Denied(why, scopes) => Access::Denied(why, scopes),
        Ending::Stop(trouble) => Access::Stop(trouble),
        Ending::Away(why) => Access::Unknown(why),
        Ending::Refused(why) => match exchange {
            Exchange::Answered { meta, body: Body::Error(error) }
                if meta.status == 400 && !error.blames_object_type() =>
            {
                Access::Refused(why)
            }
            Exchange::Answered { meta, .. } if matches!(meta.status, 409 | 422) => Access::Refused(why),
            _ => Access::NoSuchType(why),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::answer::{BatchReply, ErrorReply, Meta, NoAnswer, NotSent, Unreadable};
    use crate::policy::pause::Reason;

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
            Access::Stop(trouble) => format!("stop: {}", trouble.reason.as_str()),
            Access::Unknown(_) => "unknown".to_owned(),
        }
    }

    #[test]
    fn what_each_answer_shows() {
        let batch = || Body::Batch(Box::<BatchReply>::default());
        let page = || Body::Unreadable(Unreadable::Foreign("<html>".into()));
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
    fn a_refused_call_names_its_status_and_the_scopes() {
        let mut reply = ErrorReply { message: Some("not granted".into()), ..ErrorReply::default() };
        reply.context.insert("requiredGranularScopes".into(), vec!["crm.objects.courses.write".into()]);
        let exchange = answered(403, Body::Error(Box::new(reply)));
        let scopes = vec!["crm.objects.courses.write".to_owned()];
        assert_eq!(access(&exchange), Access::Denied("HubSpot answered 403: not granted".into(), scopes));
        let Access::Stop(trouble) = access(&answered(488, error("in Hublet eu1"))) else { panic!() };
        assert_eq!(trouble.reason, Reason::ObjectType);
        assert!(trouble.message.contains("https://api-eu1.hubapi.com"), "{}", trouble.message);
    }
}
