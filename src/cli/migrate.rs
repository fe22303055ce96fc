//! `migrate`: brings the schema up to date and exits.

use super::Outcome;
use crate::config::Config;
use crate::outbox::connect;

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    let applied = connect::migrate(&config.database_url()?).await?;
    super::say(&format!("the schema is up to date: {applied} migrations applied now"))?;
    Ok(Outcome::Fine)
}
