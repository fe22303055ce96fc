//! Configuration: built-in defaults, one TOML file and the environment become one checked [`Config`].
//!
//! All problems are reported at once, each with its source and a suggested fix. No message and no `Debug`
//! contains a secret. Touches the configuration file and secret files, nothing else.

mod database_url;
mod environment;
mod file;
mod layer;
mod load;
mod problems;
mod redact;
mod reference;
mod secret;
mod settings;
mod sources;
mod values;
mod warnings;

pub(crate) use database_url::parse_database_url;
pub use problems::{Problem, Problems};
pub use redact::{is_unprintable, redact};
pub use reference::{KEYS, KeyReference, REFERENCE};
pub use secret::{SecretError, SecretSource};
pub use settings::{
    AdminConfig, BatchConfig, Config, Credentials, DatabaseConfig, HubSpotConfig, LogConfig, LogFormat,
    OutboxConfig, RateLimit, RetryConfig, ShutdownConfig, Unconfirmed,
};
pub use sources::{Needs, Sources};
pub(crate) use values::parse_log_filter;
pub use values::{ApiVersion, Percent};
