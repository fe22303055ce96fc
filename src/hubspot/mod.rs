//! The HTTP edge to HubSpot: the only module that sends requests to it.
//!
//! A request is sent once, and its end is returned as an `Exchange`. Nothing here, or in the libraries below, retries;
//! what an end means is decided in `pipeline` and `policy`. `api` holds HubSpot's API as pure types.

mod account;
mod advice;
pub mod api;
mod auth;
mod body_budget;
mod client;
mod listing;
mod records;
mod transport;
mod urls;

pub use client::{Client, ClientError};
pub use records::{Candidate, Presence};
