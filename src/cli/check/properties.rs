//! The check of the properties that courses use: HubSpot must have them, and the options of their values. `--fix` creates what is
//! missing. Never deletes or renames anything.

use super::Fix;
use super::result::CheckResult;
use super::unique::choose_group;
use crate::cli::format::pluralize;
use crate::cli::output::describe_error;
use crate::hubspot::Client;
use crate::outbox::Database;
use crate::outbox::ops::property_values::{read_property_uses, read_property_values};
use crate::policy::properties::AccountProperties;
use crate::policy::properties::plan::{
    MissingPart, NewProperty, PropertyUse, enumerations, missing_parts, with_options,
};
use crate::policy::read_result::ReadResult;

const CODE: &str = "properties";
/// The most missing parts that the line names.
const NAMED: usize = 10;

pub(super) async fn check_properties(
    client: &Client,
    database: anyhow::Result<Database>,
    unique: Option<&str>,
    schema: Option<&ReadResult<AccountProperties>>,
    fix: Fix,
) -> CheckResult {
    let account = match schema {
        Some(ReadResult::Found(account)) => account,
        Some(ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why)) => {
            return CheckResult::skipped(CODE, format!("the property list could not be read: {why}"));
        }
        Some(ReadResult::Stop(incident)) => {
            return CheckResult::skipped(
                CODE,
                format!("the property list could not be read: {}", incident.message),
            );
        }
        None => return CheckResult::not_checked(CODE, "the property list was not read"),
    };
    let (uses, missing) = match read_missing(database, account, unique).await {
        Ok(found) => found,
        Err(error) => {
            return CheckResult::skipped(
                CODE,
                format!("the courses could not be read: {}", describe_error(&error)),
            );
        }
    };
    match (uses.as_slice(), missing.as_slice(), fix) {
        ([], ..) => CheckResult::ok(CODE, "no course is pending or failed"),
        (uses, [], _) => {
            CheckResult::ok(CODE, format!("HubSpot has every property that courses use ({})", uses.len()))
        }
        (_, missing, Fix::Report) => describe_missing(missing),
        (_, missing, Fix::DryRun) => describe_plan(missing),
        (_, missing, Fix::Apply) => apply(client, account, missing).await,
    }
}

async fn read_missing(
    database: anyhow::Result<Database>,
    account: &AccountProperties,
    unique: Option<&str>,
) -> anyhow::Result<(Vec<PropertyUse>, Vec<MissingPart>)> {
    let database = database?;
    let uses = read_property_uses(&database).await?;
    let values = read_property_values(&database, &enumerations(&uses, account)).await?;
    database.close().await;
    let missing = missing_parts(&uses, &values, account, unique);
    Ok((uses, missing))
}

fn describe_missing(missing: &[MissingPart]) -> CheckResult {
    let text = format!("HubSpot would refuse courses: {}", list(missing, describe_part));
    let is_created = missing.iter().any(|part| !matches!(part, MissingPart::LeftOut { .. }));
    let fix = if is_created {
        "run `course-sync check --fix --dry-run` to see what can be created, then `course-sync check --fix`"
    } else {
        "correct the catalogue, or create the property in HubSpot"
    };
    CheckResult::warning(CODE, text, fix)
}

fn describe_plan(missing: &[MissingPart]) -> CheckResult {
    CheckResult::warning(CODE, list(missing, describe_step), "run `course-sync check --fix` to create this")
}

fn list(missing: &[MissingPart], describe: impl Fn(&MissingPart) -> String) -> String {
    let mut texts: Vec<String> = missing.iter().take(NAMED).map(describe).collect();
    if missing.len() > NAMED {
        texts.push(format!("{} more", missing.len() - NAMED));
    }
    texts.join("; ")
}

fn describe_part(part: &MissingPart) -> String {
    match part {
        MissingPart::Property(NewProperty { name, courses, .. }) => {
            format!("it has no property {name:?} ({})", pluralize(*courses, "course"))
        }
        MissingPart::Options { name, values } => format!("{name:?} has no option {}", quote_all(values)),
        MissingPart::LeftOut { name, why } => format!("{name:?}: {why}"),
    }
}

fn describe_step(part: &MissingPart) -> String {
    match part {
        MissingPart::Property(property) => {
            let NewProperty { name, kind, .. } = property;
            format!("would create the property {name:?} ({}, label {:?})", kind.describe(), property.label())
        }
        MissingPart::Options { name, values } => {
            format!("would add to the options of {name:?}: {}", quote_all(values))
        }
        MissingPart::LeftOut { name, why } => format!("would not create {name:?}: {why}"),
    }
}

fn quote_all(values: &[String]) -> String {
    values.iter().map(|value| format!("{value:?}")).collect::<Vec<_>>().join(", ")
}

/// Creates what is missing, one request for each part. A part that HubSpot refuses does not stop the others.
async fn apply(client: &Client, account: &AccountProperties, missing: &[MissingPart]) -> CheckResult {
    let group = choose_group(client, account).await;
    let (mut done, mut failed) = (Vec::new(), Vec::new());
    for part in missing {
        match part {
            MissingPart::Property(property) => match create(client, property, &group).await {
                Ok(()) => done.push(format!(
                    "created the property {:?} ({})",
                    property.name,
                    property.kind.describe()
                )),
                Err(why) => failed.push(format!("{:?} could not be created: {why}", property.name)),
            },
            MissingPart::Options { name, values } => match add_options(client, name, values).await {
                Ok(()) => done.push(format!("added to the options of {name:?}: {}", quote_all(values))),
                Err(why) => failed.push(format!("the options of {name:?} could not be added: {why}")),
            },
            MissingPart::LeftOut { .. } => failed.push(describe_part(part)),
        }
    }
    if failed.is_empty() {
        return CheckResult::ok(
            CODE,
            format!("{}. HubSpot may need a minute to accept them", done.join("; ")),
        );
    }
    let text = done.into_iter().chain(failed).collect::<Vec<_>>().join("; ");
    let fix = "correct the catalogue, or create the rest in HubSpot; creating needs the scope crm.schemas.courses.write";
    CheckResult::failed(CODE, text, fix)
}

async fn create(client: &Client, property: &NewProperty, group: &str) -> Result<(), String> {
    outcome(client.create_property(&property.definition(group)).await.result()).map(|_created| ())
}

/// Reads the list of options immediately before it is replaced by a longer one.
async fn add_options(client: &Client, name: &str, values: &[String]) -> Result<(), String> {
    let definition = outcome(client.property(name).await.result())?;
    let Some(change) = with_options(&definition, values) else {
        return Err("HubSpot's definition shows no list of options".to_owned());
    };
    outcome(client.update_property(name, &change).await.result()).map(|_changed| ())
}

fn outcome<T>(result: ReadResult<T>) -> Result<T, String> {
    match result {
        ReadResult::Found(value) => Ok(value),
        ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why) => Err(why),
        ReadResult::Stop(incident) => Err(incident.message),
    }
}
