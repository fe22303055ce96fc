//! `resolve`: a person's word on a course in doubt.

use serde::Serialize;

use super::terminal::{plain, tell};
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
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// A person's word on one course.
#[derive(Serialize)]
struct Course {
    key: String,
    #[serde(flatten)]
    became: Became,
}

/// What became of it.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum Became {
    /// It is sent again.
    Pending,
    /// It is this record; without a name where HubSpot was not asked.
    Synced { hubspot_id: String, hubspot_name: Option<String> },
    /// It is left as it is.
    Left { why: String },
}

#[derive(Serialize)]
struct Told {
    courses: Vec<Course>,
}

pub(super) async fn run(args: &Args, config: &Config, database: &Database) -> anyhow::Result<Outcome> {
    if args.hubspot_id.is_some() && args.keys.len() > 1 {
        return Err(UsageError("one record is one course: give one KEY".into()).into());
    }
    let mut courses = Vec::with_capacity(args.keys.len());
    for key in &args.keys {
        let became = match &args.hubspot_id {
            None => not_created(key, database).await?,
            Some(id) => created(args, key, id, config, database).await?,
        };
        let course = Course { key: key.clone(), became };
        match course.became {
            _ if args.json => {}
            Became::Pending | Became::Synced { .. } => {
                say(&line(&course))?;
            }
            Became::Left { .. } => tell(&line(&course)),
        }
        courses.push(course);
    }
    // Also where nothing was left to say: whoever said it may have been interrupted before this.
    recover::close(database).await?;
    let is_left = courses.iter().any(|course| matches!(course.became, Became::Left { .. }));
    if args.json {
        say(&serde_json::to_string_pretty(&Told { courses })?)?;
    }
    Ok(if is_left { Outcome::Failed } else { Outcome::Fine })
}

fn line(course: &Course) -> String {
    let key = plain(&course.key);
    match &course.became {
        Became::Pending => format!("{key}: pending, and sent again"),
        Became::Synced { hubspot_id, hubspot_name } => {
            let shown = match hubspot_name {
                Some(name) => format!("{:?}", plain(name)),
                None => "(HubSpot was not asked)".to_owned(),
            };
            format!("{key}: synced as HubSpot's record {hubspot_id} {shown}")
        }
        Became::Left { why } => format!("{key} is left as it is: {why}"),
    }
}

async fn not_created(key: &str, database: &Database) -> anyhow::Result<Became> {
    Ok(match resolve::not_created(database, key).await? {
        Resolved::Done => Became::Pending,
        refused => Became::Left { why: why(key, refused, database).await? },
    })
}

async fn created(
    args: &Args,
    key: &str,
    id: &str,
    config: &Config,
    database: &Database,
) -> anyhow::Result<Became> {
    let id = HubSpotId::parse(id)
        .filter(|id| id.as_str().bytes().all(|byte| byte.is_ascii_digit()))
        .ok_or_else(|| UsageError(format!("{:?} is no id of a HubSpot record: it is a number", plain(id))))?;
    let hubspot_name = match super::client(config) {
        _ if args.unverified => None,
        Some(client) => Some(live(&client?, &id).await?),
        None => anyhow::bail!(
            "without a token HubSpot cannot be asked for record {}; nothing was changed. --unverified takes the id as it is",
            id.as_str()
        ),
    };
    Ok(match resolve::created(database, key, &id).await? {
        Resolved::Done => Became::Synced { hubspot_id: id.as_str().to_owned(), hubspot_name },
        refused => Became::Left { why: why(key, refused, database).await? },
    })
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
                None => explain::unknown(key, &history::neighbours(database, key).await?).to_string(),
            }
        }
    })
}
