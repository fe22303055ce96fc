//! Checks the Host header against the allowed host names, as protection against DNS rebinding.

use std::collections::BTreeSet;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;

use axum::extract::{Request, State};
use axum::http::{StatusCode, header};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};

/// The names, in lower case and without port.
#[derive(Debug)]
pub(super) struct AllowedHosts {
    names: BTreeSet<String>,
}

impl AllowedHosts {
    /// The loopback names, the listen address, and the configured names.
    pub(super) fn new(listen: SocketAddr, configured: &[String]) -> Self {
        let own = ["localhost".to_owned(), listen.ip().to_string()];
        let names = own.into_iter().chain(configured.iter().map(|name| without_port(name).to_lowercase()));
        Self { names: names.collect() }
    }

    fn is_allowed(&self, host: &str) -> bool {
        let name = without_port(host).to_lowercase();
        name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback()) || self.names.contains(&name)
    }
}

/// `name`, `name:80`, `[::1]` and `[::1]:80` without port and brackets.
fn without_port(host: &str) -> &str {
    match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((address, _)) => address,
        None if host.matches(':').count() > 1 => host,
        None => host.split_once(':').map_or(host, |(name, _)| name),
    }
}

/// Refuses a request whose Host header is not allowed.
pub(super) async fn check_host(
    State(allowed): State<Arc<AllowedHosts>>,
    request: Request,
    next: Next,
) -> Response {
    let host = request.headers().get(header::HOST).and_then(|host| host.to_str().ok()).unwrap_or_default();
    if allowed.is_allowed(host) {
        return next.run(request).await;
    }
    let hint = "This host name is not allowed. Add it to admin.hosts to allow it.\n";
    (StatusCode::MISDIRECTED_REQUEST, hint).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_own_and_configured_names_are_allowed() {
        let allowed = AllowedHosts::new("10.1.2.3:9464".parse().unwrap(), &["Sync.example.edu:80".into()]);
        for good in [
            "localhost:9464",
            "127.0.0.1",
            "127.8.8.8:1",
            "[::1]:9464",
            "10.1.2.3:9464",
            "sync.example.edu",
            "SYNC.example.edu:9464",
        ] {
            assert!(allowed.is_allowed(good), "{good} was refused");
        }
        for bad in ["", "evil.example", "localhost.evil.example", "10.1.2.4", "127.0.0.1.evil.example:9464"] {
            assert!(!allowed.is_allowed(bad), "{bad} was allowed");
        }
    }
}
