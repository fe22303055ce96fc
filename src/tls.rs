//! Selects the process's TLS provider, which HubSpot's client and the span exporter share.

/// Makes ring the process's TLS provider. reqwest has none built in, and panics without one when it builds a client.
/// Repeated calls have no effect. (sqlx uses ring by its own features.)
pub fn install_provider() {
    // An error means that a provider is installed already: only ring is compiled in.
    rustls::crypto::ring::default_provider().install_default().ok();
}
