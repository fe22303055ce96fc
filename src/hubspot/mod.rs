//! The HTTP edge to HubSpot: the only place that reaches it.
//!
//! It sends one request and says how that ended; what the end means is `policy`'s business. It never
//! tries anything twice, and neither does anything below it.

mod account;
mod advice;
mod auth;
mod body_budget;
mod client;
pub mod limits;
mod oauth;
pub mod request;
pub mod schema;
pub mod wire;

pub use client::{Candidate, Client, ClientError, Presence};
