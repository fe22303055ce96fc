//! The one table from an HTTP status to its meaning at HubSpot. Pure.
//!
//! Sources: HubSpot's error-handling guide (<https://developers.hubspot.com/docs/api-reference/error-handling>) for
//! 401, 403, 414, 423, 429, 477, 502, 504 and 521 to 526; RFC 9110 for the standard statuses; recorded responses for 488
//! (an account of another region), 499 and 530 (both from the proxy in front of HubSpot).
//!
//! A status alone does not decide what happens to a course: the body does, where there is one. The two readers of this
//! table are `pipeline::interpret` (creates) and `policy::read_result` (reads).

/// What a status means, independent of the request and the body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StatusMeaning {
    /// The request was executed; a 207 lists failures per input.
    Success,
    /// 304. Never expected, because no conditional request is sent.
    NotModified,
    /// Another address. Redirects are not followed, so nothing was executed.
    Redirect,
    /// 400: the content of the request was refused.
    BadRequest,
    /// HubSpot does not accept the token.
    Unauthorized,
    /// The token lacks a scope, or something in front of HubSpot blocks the request. The body shows which.
    Forbidden,
    /// There is no such endpoint, method or object type; 410: the API version was removed.
    NotFound,
    /// The request was not received or processed in time. It may have been executed.
    RequestTimeout,
    /// A unique value is taken.
    Conflict,
    /// The request is larger than HubSpot, or a proxy in front of it, accepts.
    TooLarge,
    /// 422: the content of the request was refused.
    Unprocessable,
    /// HubSpot locks the account for a short time because of a large volume.
    Locked,
    /// A quota is used up. The body shows which.
    RateLimited,
    /// HubSpot migrates the account to another data centre. This takes up to a day.
    Migrating,
    /// The account belongs to another region than `hubspot.base_url`.
    WrongRegion,
    /// Any other 4xx: the request was refused, but not for the content of the courses (402, for example, is about the
    /// bill).
    OtherClientError,
    /// A gateway waited too long. HubSpot may have executed the request; it may have been too large to be in time.
    GatewayTimeout,
    /// The proxy in front of HubSpot could not pass the request on, so it was not executed.
    OriginUnreachable,
    /// Any other 5xx. The request may have been executed.
    ServerError,
    /// Not an HTTP status of a final response.
    Unknown,
}

/// The table. Order matters only where a range follows its exceptions.
#[must_use]
pub fn status_meaning(status: u16) -> StatusMeaning {
    match status {
        200..=299 => StatusMeaning::Success,
        304 => StatusMeaning::NotModified,
        300..=399 => StatusMeaning::Redirect,
        400 => StatusMeaning::BadRequest,
        401 => StatusMeaning::Unauthorized,
        403 => StatusMeaning::Forbidden,
        404 | 405 | 406 | 410 | 415 => StatusMeaning::NotFound,
        // 499 is a proxy's note that its client closed the connection first.
        408 | 499 => StatusMeaning::RequestTimeout,
        409 => StatusMeaning::Conflict,
        413 | 414 => StatusMeaning::TooLarge,
        422 => StatusMeaning::Unprocessable,
        423 => StatusMeaning::Locked,
        429 => StatusMeaning::RateLimited,
        477 => StatusMeaning::Migrating,
        488 => StatusMeaning::WrongRegion,
        402..=498 => StatusMeaning::OtherClientError,
        502 | 504 | 524 => StatusMeaning::GatewayTimeout,
        // The proxy's own connection to HubSpot failed: refused, timed out, no route, no TLS, no DNS.
        521 | 522 | 523 | 525 | 526 | 530 => StatusMeaning::OriginUnreachable,
        500..=599 => StatusMeaning::ServerError,
        _ => StatusMeaning::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exceptions_take_precedence_over_their_range() {
        for (status, meaning) in [
            (207, StatusMeaning::Success),
            (302, StatusMeaning::Redirect),
            (304, StatusMeaning::NotModified),
            (402, StatusMeaning::OtherClientError),
            (410, StatusMeaning::NotFound),
            (477, StatusMeaning::Migrating),
            (487, StatusMeaning::OtherClientError),
            (499, StatusMeaning::RequestTimeout),
            (503, StatusMeaning::ServerError),
            (524, StatusMeaning::GatewayTimeout),
            (526, StatusMeaning::OriginUnreachable),
            (527, StatusMeaning::ServerError),
            (100, StatusMeaning::Unknown),
            (600, StatusMeaning::Unknown),
        ] {
            assert_eq!(status_meaning(status), meaning, "{status}");
        }
    }
}
