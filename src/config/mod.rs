//! Configuration: built-in defaults, one TOML file and the environment become one checked [`Config`].
//!
//! Every finding is gathered before anything is refused, each with its source and the mend. A secret's
//! value appears in no message and no `Debug`. Touches the configuration file, secret files, nothing else.

mod build;
mod environment;
mod keys;
mod layers;
mod problems;
mod reader;
mod redact;
mod secret;
mod settings;
mod sources;
mod toml;
mod values;
mod warnings;

use reader::Reader;

pub use keys::KEYS;
pub use problems::{Problem, Problems};
pub use redact::{is_unprintable, redact};
pub use secret::{SecretError, SecretSource};
pub use settings::{
    Admin, ApiVersion, Batch, Config, Credentials, Database, HubSpot, Log, LogFormat, Outbox, RateLimit,
    Retry, Shutdown, Unconfirmed,
};
pub use sources::{Needs, Sources};
pub use values::Percent;

impl Config {
    /// Reads every layer and checks everything; what is wrong comes back all at once.
    ///
    /// Secrets that the command needs are read once to prove that they can be.
    pub fn load(sources: &Sources, needs: Needs) -> Result<Self, Problems> {
        let mut problems = Problems::default();
        let layers::Merged { settings, complete } = layers::collect(sources, &mut problems);
        let mut reader = Reader::new(settings, problems);
        let needs = Needs { database: needs.database && complete, hubspot: needs.hubspot && complete };
        match build::config(&mut reader, needs) {
            Ok(config) if reader.problems.0.is_empty() => Ok(config),
            _ => Err(reader.problems),
        }
    }
}
