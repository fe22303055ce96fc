//! Configuration: built-in defaults, one TOML file and the environment become one checked [`Config`].
//!
//! Every finding is gathered before anything is refused, each with its source and the mend. A secret's
//! value appears in no message and no `Debug`. Touches the configuration file, secret files, nothing else.

mod problems;
mod secret;
mod settings;
mod sources;
mod values;

pub use problems::{Problem, Problems};
pub use secret::{SecretError, SecretSource, redact};
pub use settings::{
    Admin, ApiVersion, Batch, Config, Credentials, Database, HubSpot, Log, LogFormat, Outbox, RateLimit,
    Retry, Shutdown, Unconfirmed,
};
pub use sources::{Needs, Sources};
pub use values::Percent;

impl Config {
    /// Reads every layer and checks everything; what is wrong comes back all at once.
    pub fn load(_sources: &Sources, _needs: Needs) -> Result<Self, Problems> {
        Err(Problems::default())
    }

    /// What works, but not as well as it could; one sentence each, for the log.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        Vec::new()
    }
}
