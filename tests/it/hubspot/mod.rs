//! (hubspot)
