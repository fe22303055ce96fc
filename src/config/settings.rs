//! The settings as plain values, valid once built: what the rest of the program reads.

use std::fmt;
use std::net::SocketAddr;
use std::time::Duration;

use secrecy::SecretString;

use super::secret::{SecretError, SecretSource};
use super::values::Percent;

/// Everything a person can set, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// The Postgres that holds the outbox.
    pub database: Database,
    /// The HubSpot account that receives the courses.
    pub hubspot: HubSpot,
    /// How courses are grouped into requests.
    pub batch: Batch,
    /// How many requests the account permits.
    pub rate_limit: RateLimit,
    /// How a course is tried again.
    pub retry: Retry,
    /// How the outbox is watched and kept.
    pub outbox: Outbox,
    /// The HTTP surface for operators.
    pub admin: Admin,
    /// How the daemon stops.
    pub shutdown: Shutdown,
    /// What is logged, and how.
    pub log: Log,
}

impl Config {
    /// The database's URL, read afresh from its file if it comes as one.
    ///
    /// Fails where the URL is not set or its file cannot be read; the error names the setting.
    pub fn database_url(&self) -> Result<SecretString, SecretError> {
        match &self.database.url {
            Some(source) => source.read(),
            None => Err(SecretError::not_set("database.url")),
        }
    }
}

/// `[database]`
#[derive(Debug, Clone)]
pub struct Database {
    /// A `postgres://` URL. Set whenever the configuration was loaded for a command that needs it.
    pub url: Option<SecretSource>,
    /// Connections of the pool, at most.
    pub max_connections: u32,
    /// Whether `run` brings the schema up to date first.
    pub migrate: bool,
}

/// `[hubspot]`
#[derive(Debug, Clone)]
pub struct HubSpot {
    /// Scheme, host, port and perhaps a path; https or loopback; no slash at its end.
    pub base_url: String,
    /// Which of HubSpot's path schemes to speak.
    pub api_version: ApiVersion,
    /// Set whenever the configuration was loaded for a command that needs it.
    pub credentials: Option<Credentials>,
    /// The property with unique values that carries `course_key`.
    pub unique_property: Option<String>,
    /// For DNS, TCP and TLS together; shorter than `request_timeout`.
    pub connect_timeout: Duration,
    /// For one request as a whole.
    pub request_timeout: Duration,
}

/// A version of HubSpot's API, which decides the paths.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ApiVersion {
    /// `/crm/v3/objects/…`
    V3,
    /// `/crm/objects/2026-03/…`; the date is `YYYY-MM` or `YYYY-MM-beta`.
    Dated(String),
}

impl fmt::Display for ApiVersion {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::V3 => "v3",
            Self::Dated(date) => date,
        })
    }
}

/// What proves to HubSpot who is asking.
#[derive(Debug, Clone)]
pub enum Credentials {
    /// The token of a private app or a service key.
    AccessToken(SecretSource),
    /// An app that was granted access; its short-lived tokens come from the token endpoint.
    OAuth {
        /// The app's public identifier.
        client_id: String,
        /// The app's secret.
        client_secret: SecretSource,
        /// What the account's owner granted.
        refresh_token: SecretSource,
    },
}

/// `[batch]`
#[derive(Debug, Clone)]
pub struct Batch {
    /// Courses in one request, 1 to 100 (HubSpot's own limit).
    pub max_size: usize,
    /// Bytes of one request's body.
    pub max_bytes: u64,
    /// How long a short batch waits for company; may be zero.
    pub linger: Duration,
    /// Requests open at once.
    pub max_in_flight: usize,
}

/// `[rate_limit]`
#[derive(Debug, Clone)]
pub struct RateLimit {
    /// Requests in any rolling window of `per`.
    pub requests: u32,
    /// The window's length.
    pub per: Duration,
    /// The share of the account's daily calls left to its other integrations.
    pub daily_reserve: Percent,
}

/// `[retry]`
#[derive(Debug, Clone)]
pub struct Retry {
    /// The first wait's upper bound.
    pub initial_interval: Duration,
    /// The longest wait's upper bound; never below `initial_interval`.
    pub max_interval: Duration,
    /// From one bound to the next; 1 or more, finite.
    pub multiplier: f64,
    /// How often a course may fail by its own fault; 1 or more.
    pub max_attempts: u32,
}

/// `[outbox]`
#[derive(Debug, Clone)]
pub struct Outbox {
    /// How often the outbox is looked at even if nothing called.
    pub poll_interval: Duration,
    /// How long a leader that fell silent stays leader.
    pub lease: Duration,
    /// How long after an unknown outcome HubSpot is first asked; may be zero.
    pub settle: Duration,
    /// Whether Postgres may wake the daemon by NOTIFY.
    pub listen: bool,
    /// What becomes of an unknown outcome where no unique property can settle it.
    pub unconfirmed: Unconfirmed,
    /// How long synced rows stay; `None` keeps them. Set only together with `hubspot.unique_property`.
    pub retention: Option<Duration>,
    /// How long batches and history stay; `None` keeps them.
    pub history_retention: Option<Duration>,
}

/// What becomes of an unknown outcome without a unique property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unconfirmed {
    /// The row waits for a person; nothing is ever sent twice.
    Hold,
    /// The row is sent again; nothing waits, and duplicates may arise.
    Resend,
}

/// `[admin]`
#[derive(Debug, Clone)]
pub struct Admin {
    /// Where metrics, health and the console are served; port 0 picks one.
    pub listen: SocketAddr,
    /// Further host names, lower case, under which the console may be asked for.
    pub hosts: Vec<String>,
}

/// `[shutdown]`
#[derive(Debug, Clone)]
pub struct Shutdown {
    /// How long the end may take after the first signal.
    pub grace: Duration,
}

impl Shutdown {
    /// How long what follows a forced end takes at most: last words, the lease, the admin server, the pool.
    const LAST_STEPS: Duration = Duration::from_millis(2_500);

    /// How long of it open requests may take to finish.
    #[must_use]
    pub fn for_requests(&self) -> Duration {
        self.grace.saturating_sub(Self::LAST_STEPS.min(self.grace / 2))
    }
}

/// `[log]`
#[derive(Debug, Clone)]
pub struct Log {
    /// The shape of a line.
    pub format: LogFormat,
    /// Which events are logged, in `tracing`'s filter syntax; known to parse.
    pub filter: String,
}

/// The shape of a log line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFormat {
    /// Pretty on a terminal, else JSON.
    Auto,
    /// For people.
    Pretty,
    /// One JSON object a line.
    Json,
}
