//! `migrate`: brings the schema up to date and exits.

use super::Outcome;
use crate::config::Config;
use crate::outbox::connect;

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    let applied = connect::migrate(&config.database_url()?).await?;
    super::say(&match applied {
        0 => "the schema was up to date already".to_owned(),
        1 => "the schema is up to date: 1 migration applied".to_owned(),
        more => format!("the schema is up to date: {more} migrations applied"),
    })?;
    Ok(Outcome::Fine)
}
