//! Builds the response with HubSpot's headers, and records in the journal how the request ended.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::state::Shared;
use super::wire::{Kind, Reply};

/// A request that has no response yet. If dropped, the journal records that there was no response.
pub(super) struct PendingResponse {
    shared: Arc<Shared>,
    seq: u64,
    correlation: String,
    headers: Vec<(&'static str, String)>,
    answered: bool,
}

impl PendingResponse {
    /// `seq` is the number of the journal entry; `headers` are the rate limit headers.
    pub(super) fn new(
        shared: Arc<Shared>,
        seq: u64,
        correlation: String,
        headers: Vec<(&'static str, String)>,
    ) -> Self {
        Self { shared, seq, correlation, headers, answered: false }
    }

    /// The number of the journal entry.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// The correlation ID.
    pub(super) fn correlation(&self) -> &str {
        &self.correlation
    }

    /// Records that a fault was injected.
    pub(super) fn mark_faulted(&self) {
        if let Some(entry) = self.shared.lock().journal.get_mut(self.seq) {
            entry.faulted = true;
        }
    }

    /// Responds.
    pub(super) fn finish(self, reply: Reply) -> Response {
        self.finish_with(reply, Vec::new())
    }

    /// Responds with additional headers.
    pub(super) fn finish_with(self, reply: Reply, headers: Vec<(String, String)>) -> Response {
        let Reply { status, kind, body } = reply;
        let (hubspot, open) = self.begin(status);
        open.end(true);
        build_response(hubspot, status, kind, headers, Body::from(body))
    }

    /// Returns a response that is never sent, because the connection was broken.
    pub(super) fn withhold(self) -> Response {
        drop(self);
        build_response(Vec::new(), 500, Kind::Empty, Vec::new(), Body::empty())
    }

    /// Records the status of the response. Returns HubSpot's headers, and `self`, on which `end` must be called after
    /// the last byte was written.
    pub(super) fn begin(mut self, status: u16) -> (Vec<(&'static str, String)>, Self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.push(("X-HubSpot-Correlation-Id", self.correlation.clone()));
        if let Some(entry) = self.shared.lock().journal.get_mut(self.seq) {
            entry.status = Some(status);
        }
        (headers, self)
    }

    /// Records the end. Dropping without this call means that there was no complete response.
    pub(super) fn end(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for PendingResponse {
    fn drop(&mut self) {
        let finished = self.shared.now_us();
        let mut state = self.shared.lock();
        state.open = state.open.saturating_sub(1);
        if let Some(entry) = state.journal.get_mut(self.seq) {
            entry.finished_us = Some(finished);
            entry.answered = self.answered;
        }
    }
}

/// Builds the response. HTML of HubSpot has only the correlation ID of its headers; a page of the edge has none.
pub(super) fn build_response(
    hubspot: Vec<(&'static str, String)>,
    status: u16,
    kind: Kind,
    own: Vec<(String, String)>,
    body: Body,
) -> Response {
    let mut response = Response::new(body);
    *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    let content_type = match kind {
        Kind::Json => Some("application/json;charset=utf-8"),
        Kind::Html | Kind::Page => Some("text/html;charset=utf-8"),
        Kind::Empty => None,
    };
    if let Some(content_type) = content_type {
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    let hubspot = hubspot
        .into_iter()
        .filter(|(name, _)| match kind {
            Kind::Json | Kind::Empty => true,
            Kind::Html => *name == "X-HubSpot-Correlation-Id",
            Kind::Page => false,
        })
        .map(|(name, value)| (name.to_owned(), value));
    for (name, value) in hubspot.chain(own) {
        if let (Ok(name), Ok(value)) =
            (HeaderName::from_bytes(name.as_bytes()), HeaderValue::from_str(&value))
        {
            headers.insert(name, value);
        }
    }
    response
}
