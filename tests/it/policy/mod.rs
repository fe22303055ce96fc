//! Property tests of the decisions in `policy`, for any order of events.

mod attribution;
mod linger;
mod pauses;
mod quota_share;
