//! `migrate`: brings the schema up to date and exits.
#![allow(clippy::print_stdout)]

use super::Outcome;
use crate::config::Config;
use crate::outbox::connect;

pub(super) async fn run(config: &Config) -> anyhow::Result<Outcome> {
    let applied = connect::migrate(&config.database_url()?).await?;
    match applied {
        0 => println!("the schema was up to date already"),
        1 => println!("the schema is up to date: 1 migration applied"),
        more => println!("the schema is up to date: {more} migrations applied"),
    }
    Ok(Outcome::Fine)
}
