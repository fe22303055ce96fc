//! `resolve`: an operator settles the outcome of an unconfirmed course, or decides about a course whose record is lost.

use serde::Serialize;

use super::connections::open_client;
use super::format::sanitize;
use super::outcome::{CommandOutcome, UsageError};
use super::output::{print_progress, print_result};
use super::unknown_key::unknown_key_message;
use crate::config::Config;
use crate::course::{HubSpotId, Status};
use crate::hubspot::{Client, Presence};
use crate::outbox::ops::resolve::{self, Resolution, UnresolvedCourse};
use crate::outbox::{Database, journal};

/// Resolve an unconfirmed course, or a failed course whose record is lost
///
/// For courses that are `unconfirmed` and held for an operator: without `hubspot.unique_property` course-sync
/// cannot find out whether HubSpot created them. `course-sync explain KEY` shows records that may match.
///
/// Also for courses that are `failed` and had a HubSpot record, above all if the record was deleted (`record_gone`) or
/// merged into another one (`record_merged`): course-sync never creates a second record without --recreate.
#[derive(Debug, clap::Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of its own")]
#[command(group = clap::ArgGroup::new("decision").required(true).args(["hubspot_id", "not_created", "recreate"]))]
pub(super) struct ResolveArgs {
    /// Course key; several keys only with --not-created or --recreate
    #[arg(value_name = "KEY", required = true)]
    keys: Vec<String>,
    /// The course is this record (course-sync checks that the record exists). A failed course is pending then, and
    /// course-sync sends all its properties to the record
    #[arg(long, value_name = "ID")]
    hubspot_id: Option<String>,
    /// Accept the id without checking it in HubSpot
    #[arg(long, requires = "hubspot_id")]
    unverified: bool,
    /// The unconfirmed course was not created: send it again (creates a duplicate if this is wrong)
    #[arg(long)]
    not_created: bool,
    /// Create a new record for the failed course (a second one if the old record still exists)
    #[arg(long)]
    recreate: bool,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

/// The result for one course.
#[derive(Serialize)]
struct ResolveResult {
    key: String,
    #[serde(flatten)]
    outcome: ResolveOutcome,
}

/// How the course was resolved.
#[derive(Serialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
enum ResolveOutcome {
    /// It is pending and will be sent. With an id: it updates this record; without a name if the record was not checked.
    Pending {
        #[serde(skip_serializing_if = "Option::is_none")]
        hubspot_id: Option<String>,
        #[serde(skip_serializing_if = "Option::is_none")]
        hubspot_name: Option<String>,
    },
    /// It is this record; without a name if the record was not checked in HubSpot.
    Synced { hubspot_id: String, hubspot_name: Option<String> },
    /// It was not changed.
    #[serde(rename = "left")]
    Unchanged { why: String },
}

#[derive(Serialize)]
struct ResolveReport {
    courses: Vec<ResolveResult>,
}

pub(super) async fn run(
    args: &ResolveArgs,
    config: &Config,
    database: &Database,
) -> anyhow::Result<CommandOutcome> {
    if args.hubspot_id.is_some() && args.keys.len() > 1 {
        return Err(UsageError(
            "--hubspot-id takes exactly one KEY, because a record belongs to one course".into(),
        )
        .into());
    }
    let mut courses = Vec::with_capacity(args.keys.len());
    for key in &args.keys {
        let outcome = match &args.hubspot_id {
            None => resolve_without_record(args, key, database).await?,
            Some(id) => resolve_as_record(args, key, id, config, database).await?,
        };
        let result = ResolveResult { key: key.clone(), outcome };
        match result.outcome {
            _ if args.json => {}
            ResolveOutcome::Pending { .. } | ResolveOutcome::Synced { .. } => {
                print_result(&format_result(&result))?;
            }
            ResolveOutcome::Unchanged { .. } => print_progress(&format_result(&result)),
        }
        courses.push(result);
    }
    // Needed even if no course was changed: an earlier `resolve` may have been interrupted before this statement.
    journal::close_settled_batches(database).await?;
    let has_unchanged =
        courses.iter().any(|result| matches!(result.outcome, ResolveOutcome::Unchanged { .. }));
    if args.json {
        print_result(&serde_json::to_string_pretty(&ResolveReport { courses })?)?;
    }
    Ok(if has_unchanged { CommandOutcome::Failure } else { CommandOutcome::Success })
}

fn format_result(result: &ResolveResult) -> String {
    let key = sanitize(&result.key);
    match &result.outcome {
        ResolveOutcome::Pending { hubspot_id: None, .. } => format!("{key}: set back to pending"),
        ResolveOutcome::Pending { hubspot_id: Some(id), hubspot_name } => {
            let shown = describe_name(hubspot_name.as_deref());
            format!("{key}: pending, its properties will be sent to HubSpot record {id} {shown}")
        }
        ResolveOutcome::Synced { hubspot_id, hubspot_name } => {
            let shown = describe_name(hubspot_name.as_deref());
            format!("{key}: synced as HubSpot record {hubspot_id} {shown}")
        }
        ResolveOutcome::Unchanged { why } => format!("{key} not changed: {why}"),
    }
}

fn describe_name(name: Option<&str>) -> String {
    match name {
        Some(name) => format!("{:?}", sanitize(name)),
        None => "(not checked in HubSpot)".to_owned(),
    }
}

/// Resolves the course as not created, or by a new record.
async fn resolve_without_record(
    args: &ResolveArgs,
    key: &str,
    database: &Database,
) -> anyhow::Result<ResolveOutcome> {
    let resolution = if args.recreate {
        resolve::recreate(database, key).await?
    } else {
        resolve::resolve_as_not_created(database, key).await?
    };
    Ok(match resolution {
        Resolution::Synced | Resolution::Pending => {
            ResolveOutcome::Pending { hubspot_id: None, hubspot_name: None }
        }
        refused => ResolveOutcome::Unchanged { why: describe_refusal(args, key, refused, database).await? },
    })
}

async fn resolve_as_record(
    args: &ResolveArgs,
    key: &str,
    id: &str,
    config: &Config,
    database: &Database,
) -> anyhow::Result<ResolveOutcome> {
    let id =
        HubSpotId::parse(id).filter(|id| id.as_str().bytes().all(|byte| byte.is_ascii_digit())).ok_or_else(
            || UsageError(format!("{:?} is not a HubSpot record id: the id is a number", sanitize(id))),
        )?;
    let hubspot_name = match open_client(config) {
        _ if args.unverified => None,
        Some(client) => Some(read_record_name(&client?, &id).await?),
        None => anyhow::bail!(
            "record {} cannot be checked in HubSpot, because no token is configured; nothing was changed. To accept the id \
             without checking it, add --unverified",
            id.as_str()
        ),
    };
    let resolution = match resolve::resolve_as_created(database, key, &id).await? {
        // The own record of a failed course belongs to no other course.
        Resolution::NotApplicable => {
            let unique = config.hubspot.unique_property.as_deref();
            resolve::replace_record(database, key, &id, unique).await?
        }
        resolution => resolution,
    };
    let hubspot_id = id.as_str().to_owned();
    Ok(match resolution {
        Resolution::Synced => ResolveOutcome::Synced { hubspot_id, hubspot_name },
        Resolution::Pending => ResolveOutcome::Pending { hubspot_id: Some(hubspot_id), hubspot_name },
        refused => ResolveOutcome::Unchanged { why: describe_refusal(args, key, refused, database).await? },
    })
}

/// The name of the record. An error if there is no such record.
async fn read_record_name(client: &Client, id: &HubSpotId) -> anyhow::Result<String> {
    let id_text = id.as_str();
    match client.presence(id).await {
        Ok(Presence::Live(name)) => Ok(name.unwrap_or_default()),
        Ok(Presence::Absent) => anyhow::bail!(
            "HubSpot has no live course record {id_text} (never created, or in the recycle bin); nothing was changed"
        ),
        Ok(Presence::Merged(other)) => {
            anyhow::bail!(
                "HubSpot record {id_text} was merged into {}; use that id. Nothing was changed",
                sanitize(&other)
            )
        }
        Err(why) => anyhow::bail!(
            "record {id_text} could not be checked in HubSpot: {}; nothing was changed. To accept the id without checking \
             it, add --unverified",
            sanitize(&why)
        ),
    }
}

/// Why the course was not changed.
async fn describe_refusal(
    args: &ResolveArgs,
    key: &str,
    refused: Resolution,
    database: &Database,
) -> anyhow::Result<String> {
    Ok(match refused {
        Resolution::TakenBy(other) => format!("the record already belongs to course {:?}", sanitize(&other)),
        Resolution::StillInFlight(ends) => {
            format!("its request may still be in flight; try again after {}", ends.strftime("%H:%M:%SZ"))
        }
        Resolution::Synced | Resolution::Pending | Resolution::NotApplicable => {
            match resolve::read_unresolved(database, key).await? {
                Some(course) => describe_state(args, &course),
                None => unknown_key_message(database, key).await?,
            }
        }
    })
}

/// Why the decision does not fit the course's state.
fn describe_state(args: &ResolveArgs, course: &UnresolvedCourse) -> String {
    let status = course.status.as_str();
    match course.status {
        Status::Unconfirmed if course.is_change_unknown => {
            "it is unconfirmed, because it is not known whether HubSpot has its last change; course-sync reads its record and \
             settles it by itself"
                .to_owned()
        }
        Status::Failed if args.not_created && course.has_record => {
            "it is failed, and HubSpot created it before; for a new record, use --recreate".to_owned()
        }
        Status::Failed if !course.has_record => {
            "it is failed and has no HubSpot record; use `course-sync retry` to send it again".to_owned()
        }
        _ if args.not_created => format!("it is {status}, not unconfirmed"),
        _ if args.recreate => format!("it is {status}, not failed"),
        _ => format!("it is {status}, not unconfirmed or failed"),
    }
}
