//! The settings: each key with its type and range. Pure. `config/default.toml` describes every key.

#![expect(missing_docs, reason = "config/default.toml describes every key")]

use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;
use serde::Deserialize;

use super::secret::{SecretError, SecretSource};
use super::values::{self, ApiVersion, Percent, Words};

// In milliseconds, for the ranges below.
const MINUTE: u64 = 60 * 1000;
const HOUR: u64 = 60 * MINUTE;
const DAY: u64 = 24 * HOUR;
/// Ten years. What is kept longer is better kept for good.
const MAX_RETENTION: u64 = 3650 * DAY;

/// Every setting, checked. `Config::load` is the only constructor.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    pub database: DatabaseConfig,
    pub hubspot: HubSpotConfig,
    pub batch: BatchConfig,
    pub rate_limit: RateLimit,
    pub retry: RetryConfig,
    pub outbox: OutboxConfig,
    pub admin: AdminConfig,
    pub shutdown: ShutdownConfig,
    pub log: LogConfig,
}

impl Config {
    /// The database's URL; if it comes from a file, the file is read again.
    ///
    /// Fails if the URL is not set or its file cannot be read; the error names the setting.
    pub fn database_url(&self) -> Result<SecretString, SecretError> {
        match &self.database.url {
            Some(source) => source.read(),
            None => Err(SecretError::not_set("database.url")),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// A `postgres://` URL; `None` only if it was loaded for a command that does not need it.
    #[serde(skip)]
    pub url: Option<SecretSource>,
    #[serde(deserialize_with = "values::whole::<2, 1000, _, _>")]
    pub max_connections: u32,
    #[serde(deserialize_with = "values::switch")]
    pub migrate: bool,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HubSpotConfig {
    /// https, or http to this machine; without a slash at its end.
    #[serde(deserialize_with = "values::base_url")]
    pub base_url: String,
    #[serde(deserialize_with = "values::api_version")]
    pub api_version: ApiVersion,
    /// `None` only if they were loaded for a command that does not need them.
    #[serde(skip)]
    pub credentials: Option<Credentials>,
    #[serde(default, deserialize_with = "values::property_name")]
    pub unique_property: Option<String>,
    /// Shorter than `request_timeout`.
    #[serde(deserialize_with = "values::duration::<1, { 10 * MINUTE }, _>")]
    pub connect_timeout: Duration,
    #[serde(deserialize_with = "values::duration::<1, { 10 * MINUTE }, _>")]
    pub request_timeout: Duration,
}

#[derive(Debug, Clone)]
pub enum Credentials {
    AccessToken(SecretSource),
    OAuth { client_id: String, client_secret: SecretSource, refresh_token: SecretSource },
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BatchConfig {
    #[serde(deserialize_with = "values::whole::<1, 100, _, _>")]
    pub max_size: usize,
    #[serde(deserialize_with = "values::size::<1024, { 64 * 1024 * 1024 }, _>")]
    pub max_bytes: u64,
    #[serde(deserialize_with = "values::duration::<0, MINUTE, _>")]
    pub linger: Duration,
    #[serde(deserialize_with = "values::whole::<1, 1000, _, _>")]
    pub max_in_flight: usize,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RateLimit {
    #[serde(deserialize_with = "values::whole::<1, 100_000, _, _>")]
    pub requests: u32,
    #[serde(deserialize_with = "values::duration::<10, DAY, _>")]
    pub per: Duration,
    #[serde(deserialize_with = "values::percent")]
    pub daily_reserve: Percent,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetryConfig {
    #[serde(deserialize_with = "values::duration::<1, DAY, _>")]
    pub initial_interval: Duration,
    /// Never below `initial_interval`.
    #[serde(deserialize_with = "values::duration::<1, { 30 * DAY }, _>")]
    pub max_interval: Duration,
    #[serde(deserialize_with = "values::factor")]
    pub multiplier: f64,
    #[serde(deserialize_with = "values::whole::<1, 1000, _, _>")]
    pub max_attempts: u32,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutboxConfig {
    #[serde(deserialize_with = "values::duration::<10, HOUR, _>")]
    pub poll_interval: Duration,
    #[serde(deserialize_with = "values::duration::<100, HOUR, _>")]
    pub lease: Duration,
    #[serde(deserialize_with = "values::duration::<0, DAY, _>")]
    pub settle: Duration,
    #[serde(deserialize_with = "values::whole::<0, 1_000_000_000, _, _>")]
    pub archive_limit: u32,
    #[serde(deserialize_with = "values::switch")]
    pub listen: bool,
    #[serde(deserialize_with = "values::word")]
    pub unconfirmed: Unconfirmed,
    /// `None` keeps synced rows. Set only together with `hubspot.unique_property`.
    #[serde(default, deserialize_with = "values::retention::<MAX_RETENTION, _>")]
    pub retention: Option<Duration>,
    /// `None` keeps batches and history.
    #[serde(deserialize_with = "values::retention::<MAX_RETENTION, _>")]
    pub history_retention: Option<Duration>,
}

/// How to treat a course with an unknown outcome if there is no unique property to look it up by.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// Wait for an operator; never send a course twice.
    Hold,
    /// Send it again; this may create duplicates.
    Resend,
}

impl Words for Unconfirmed {
    const WORDS: &'static [(&'static str, Self)] = &[("hold", Self::Hold), ("resend", Self::Resend)];
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AdminConfig {
    #[serde(deserialize_with = "values::address")]
    pub listen: SocketAddr,
    /// In lower case.
    #[serde(default, deserialize_with = "values::hosts")]
    pub hosts: Vec<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShutdownConfig {
    #[serde(deserialize_with = "values::duration::<0, HOUR, _>")]
    pub grace: Duration,
}

impl ShutdownConfig {
    /// Reserved for the steps after the last request: logs, the lease, the admin server, the pool.
    const LAST_STEPS: Duration = Duration::from_millis(2_500);

    /// The part of `grace` in which open requests may finish.
    #[must_use]
    pub fn for_requests(&self) -> Duration {
        self.grace.saturating_sub(Self::LAST_STEPS.min(self.grace / 2))
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LogConfig {
    #[serde(deserialize_with = "values::word")]
    pub format: LogFormat,
    /// Known to parse.
    #[serde(deserialize_with = "values::log_filter")]
    pub filter: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    Auto,
    Pretty,
    Json,
}

impl Words for LogFormat {
    const WORDS: &'static [(&'static str, Self)] =
        &[("auto", Self::Auto), ("pretty", Self::Pretty), ("json", Self::Json)];
}
