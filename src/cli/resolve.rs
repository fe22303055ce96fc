//! `resolve`: a person's word on a course in doubt.

use super::terminal::plain;
use super::{Outcome, UsageError, explain, say};
use crate::config::Config;
use crate::course::HubSpotId;
use crate::hubspot::Presence;
use crate::outbox::resolve::{self, Resolved};
use crate::outbox::{Database, history, recover, retry};

/// Say what became of a course in doubt
///
/// For courses that are `unconfirmed` and held for a person, because without `hubspot.unique_property` nothing
/// can tell whether HubSpot created them. `course-sync explain KEY` shows records that may be it.
#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("word").required(true).args(["hubspot_id", "not_created"]))]
pub(super) struct Args {
    /// The course's key; several with --not-created
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// It was created, as this record; HubSpot is asked whether the record is there
    #[arg(long, value_name = "ID")]
    hubspot_id: Option<String>,
    /// Take the id as it is, without asking HubSpot
    #[arg(long, requires = "hubspot_id")]
    unverified: bool,
    /// It was not created: it is sent again, and will be there twice if that was wrong
    #[arg(long)]
    not_created: bool,
}

pub(super) async fn run(args: &Args, config: &Config, database: &Database) -> anyhow::Result<Outcome> {
    let outcome = match (&args.hubspot_id, args.keys.as_slice()) {
        (None, keys) => not_created(keys, database).await?,
        (Some(id), [key]) => created(args, key, id, config, database).await?,
        (Some(_), _) => return Err(UsageError("one record is one course: give one KEY".into()).into()),
    };
    // Also where nothing was left to say: whoever said it may have been interrupted before this.
    recover::close(database).await?;
    Ok(outcome)
}

async fn not_created(keys: &[String], database: &Database) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome::Fine;
    for key in keys {
        match resolve::not_created(database, key).await? {
            Resolved::Done => {
                say(&format!("{}: pending, and sent again", plain(key)))?;
            }
            refused => {
                say(&format!("{}: left as it is: {}", plain(key), why(key, refused, database).await?))?;
                outcome = Outcome::Failed;
            }
        }
    }
    Ok(outcome)
}

async fn created(
    args: &Args,
    key: &str,
    id: &str,
    config: &Config,
    database: &Database,
) -> anyhow::Result<Outcome> {
    let id = HubSpotId::parse(id)
        .filter(|id| id.as_str().bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| UsageError(format!("{:?} is no id of a HubSpot record: it is a number", plain(id))))?;
    let shown = match super::client(config).filter(|_| !args.unverified) {
        Some(client) => format!(" {:?}", plain(&live(&client?, &id).await?)),
        None => " (HubSpot was not asked)".to_owned(),
    };
    match resolve::created(database, key, &id).await? {
        Resolved::Done => {
            say(&format!("{}: synced as HubSpot's record {}{shown}", plain(key), id.as_str()))?;
            Ok(Outcome::Fine)
        }
        refused => {
            anyhow::bail!("{} is left as it is: {}", plain(key), why(key, refused, database).await?)
        }
    }
}

/// The record's name, if it is there.
async fn live(client: &crate::hubspot::Client, id: &HubSpotId) -> anyhow::Result<String> {
    let id_text = id.as_str();
    match client.presence(id).await {
        Ok(Presence::Live(name)) => Ok(name.unwrap_or_default()),
        Ok(Presence::Absent) => anyhow::bail!(
            "HubSpot holds no live course record {id_text} (never created, or in the recycle bin); nothing was changed"
        ),
        Ok(Presence::Merged(other)) => {
            anyhow::bail!("HubSpot's record {id_text} was merged into {}; give that id", plain(&other))
        }
        Err(why) => anyhow::bail!(
            "HubSpot could not be asked for record {id_text}: {}; nothing was changed. --unverified takes the id as it is",
            plain(&why)
        ),
    }
}

/// Why a person's word changed nothing.
async fn why(key: &str, refused: Resolved, database: &Database) -> anyhow::Result<String> {
    Ok(match refused {
        Resolved::TakenBy(other) => format!("that record is already the course {:?}", plain(&other)),
        Resolved::UnderWay(ends) => {
            format!("its request may still be under way; try again after {}", ends.strftime("%H:%M:%SZ"))
        }
        Resolved::Done | Resolved::NotInDoubt => {
            match retry::standing(database, &[key.to_owned()]).await?.first() {
                Some(standing) => format!("it is {}, not unconfirmed", standing.status.as_str()),
                None => return Err(explain::unknown(key, &history::neighbours(database, key).await?)),
            }
        }
    })
}
