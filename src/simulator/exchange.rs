//! One request's journal entry from arrival to answer, and the response with HubSpot's headers.

use std::sync::Arc;

use axum::body::Body;
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::response::Response;

use super::state::Shared;
use super::wire::{Kind, Reply};

/// A request between its arrival and its answer. Dropped without one, it is journalled as unanswered.
pub(super) struct Exchange {
    shared: Arc<Shared>,
    seq: u64,
    correlation: String,
    headers: Vec<(&'static str, String)>,
    answered: bool,
}

impl Exchange {
    /// An exchange whose entry is number `seq`; `headers` are its rate headers.
    pub(super) fn new(
        shared: Arc<Shared>,
        seq: u64,
        correlation: String,
        headers: Vec<(&'static str, String)>,
    ) -> Self {
        Self { shared, seq, correlation, headers, answered: false }
    }

    /// Number of its journal entry.
    pub(super) fn seq(&self) -> u64 {
        self.seq
    }

    /// What HubSpot's support would ask for.
    pub(super) fn correlation(&self) -> &str {
        &self.correlation
    }

    /// Journals that a fault was injected.
    pub(super) fn mark_faulted(&self) {
        if let Some(entry) = self.shared.lock().journal.get_mut(self.seq) {
            entry.faulted = true;
        }
    }

    /// Answers.
    pub(super) fn finish(self, reply: Reply) -> Response {
        self.finish_with(reply, Vec::new())
    }

    /// Answers with further headers.
    pub(super) fn finish_with(self, reply: Reply, headers: Vec<(String, String)>) -> Response {
        let Reply { status, kind, body } = reply;
        let (hubspot, open) = self.begin(status);
        open.end(true);
        respond(hubspot, status, kind, headers, Body::from(body))
    }

    /// Gives the connection something to choke on; the client gets nothing of it.
    pub(super) fn withhold(self) -> Response {
        drop(self);
        respond(Vec::new(), 500, Kind::Empty, Vec::new(), Body::empty())
    }

    /// Journals the status of an answer that is about to go out. Returns HubSpot's own headers for it, and
    /// the exchange, to be ended when the last byte is handed over.
    pub(super) fn begin(mut self, status: u16) -> (Vec<(&'static str, String)>, Self) {
        let mut headers = std::mem::take(&mut self.headers);
        headers.push(("X-HubSpot-Correlation-Id", self.correlation.clone()));
        if let Some(entry) = self.shared.lock().journal.get_mut(self.seq) {
            entry.status = Some(status);
        }
        (headers, self)
    }

    /// Journals the end. An exchange that is merely dropped ends unanswered.
    pub(super) fn end(mut self, answered: bool) {
        self.answered = answered;
    }
}

impl Drop for Exchange {
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

/// Builds the response. HTML carries none of HubSpot's headers except the correlation id; a page of the
/// edge's not even that.
pub(super) fn respond(
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
