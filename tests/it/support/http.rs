//! HTTP clients of the tests. They ignore the proxy settings of the environment.

/// A client builder that can be configured further.
pub fn http_client_builder() -> reqwest::ClientBuilder {
    course_sync::tls::install_provider();
    reqwest::Client::builder().no_proxy()
}

/// A client with default settings.
pub fn http_client() -> reqwest::Client {
    http_client_builder().build().expect("a client")
}

/// Sends one GET request with a new client, without connection reuse.
pub async fn http_get(url: impl reqwest::IntoUrl) -> reqwest::Result<reqwest::Response> {
    http_client().get(url).send().await
}
