//! The outcome of a request as a closed set of labels for metrics, logs and traces. Pure.

/// The outcome of a request, as a label of metrics, logs and spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs)]
pub enum RequestOutcome {
    Ok,
    Partial,
    Rejected,
    RateLimited,
    Unauthorized,
    Unavailable,
    Timeout,
    Unreachable,
    Invalid,
}

impl RequestOutcome {
    /// Every outcome.
    pub const ALL: [Self; 9] = [
        Self::Ok,
        Self::Partial,
        Self::Rejected,
        Self::RateLimited,
        Self::Unauthorized,
        Self::Unavailable,
        Self::Timeout,
        Self::Unreachable,
        Self::Invalid,
    ];

    /// The outcome's name in the metrics.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Partial => "partial",
            Self::Rejected => "rejected",
            Self::RateLimited => "rate_limited",
            Self::Unauthorized => "unauthorized",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Unreachable => "unreachable",
            Self::Invalid => "invalid",
        }
    }
}
