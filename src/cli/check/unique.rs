//! The check of the unique property: it must exist, be unique and writable. `--fix` creates it.

use std::time::Duration;

use super::Fix;
use super::result::CheckResult;
use super::scopes::{READ, missing_scope};
use crate::config::Config;
use crate::hubspot::Client;
use crate::hubspot::api::properties::{PropertyDefinition, PropertyKind, Sensitivity};
use crate::policy::access::Access;
use crate::policy::properties::AccountProperties;
use crate::policy::read_result::ReadResult;

const CODE: &str = "unique_property";
/// How often a new property is read back, and the delay in between: HubSpot lists it only after a while.
const READ_ATTEMPTS: u32 = 10;
const READ_DELAY: Duration = Duration::from_millis(500);
/// The group of HubSpot's own course properties.
const DEFAULT_GROUP: &str = "course_information";

pub(super) async fn check_unique_property(
    config: &Config,
    client: &Client,
    schema: &ReadResult<AccountProperties>,
    look_up: Option<&Access>,
    fix: Fix,
) -> CheckResult {
    let Some(name) = config.hubspot.unique_property.as_deref() else {
        let text = "hubspot.unique_property is not set: if a response is lost, course-sync cannot find out whether the \
                    course was created. Set it to a property name, then run `course-sync check --fix` to create the property";
        return CheckResult::skipped(CODE, text);
    };
    match schema {
        ReadResult::Found(schema) => match schema.property(name) {
            Some(property) => match (check_definition(name, property), look_up) {
                (result, Some(Access::Refused(why))) if result.fix.is_none() => look_up_rejected(name, why),
                (result, _) => result,
            },
            None if fix == Fix::Apply => create_property(client, name, schema).await,
            None if fix == Fix::DryRun => CheckResult::failed(
                CODE,
                format!("would create the property {name:?} (text with unique values, label \"Course key\")"),
                "run `course-sync check --fix` to create it",
            ),
            None => CheckResult::failed(
                CODE,
                format!("HubSpot has no course property {name:?}"),
                "run `course-sync check --fix` to create it",
            ),
        },
        ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why) => {
            check_by_look_up(name, look_up, why)
        }
        ReadResult::Stop(incident) => check_by_look_up(name, look_up, &incident.message),
    }
}

/// The result of a look-up by the property, if the property list could not be read.
fn check_by_look_up(name: &str, look_up: Option<&Access>, unread: &str) -> CheckResult {
    match look_up {
        Some(Access::Granted) => {
            let text = format!(
                "HubSpot accepts look-ups by {name:?}; whether its values are unique and writable could not be checked, \
                 because the property list could not be read: {unread}"
            );
            CheckResult::skipped(CODE, text)
        }
        Some(Access::Denied(why, scopes)) => {
            let needed = missing_scope(READ, scopes);
            CheckResult::failed(
                CODE,
                format!("could not be looked up: {why}"),
                format!("add the scope {needed} to the private app or service key"),
            )
        }
        Some(Access::Refused(why)) => look_up_rejected(name, why),
        Some(Access::NoSuchType(why) | Access::Unknown(why)) => not_looked_up(why),
        Some(Access::Stop(incident)) => not_looked_up(&incident.message),
        None => not_looked_up(unread),
    }
}

fn not_looked_up(why: &str) -> CheckResult {
    CheckResult::skipped(CODE, format!("could not be looked up: {why}"))
}

fn look_up_rejected(name: &str, why: &str) -> CheckResult {
    let text = format!("HubSpot rejects look-ups by {name:?}: {why}");
    CheckResult::failed(
        CODE,
        text,
        "set hubspot.unique_property to a text property with unique values; run `course-sync check --fix` to create one",
    )
}

fn check_definition(name: &str, property: &PropertyDefinition) -> CheckResult {
    if !property.has_unique_value {
        let text = format!("HubSpot has a property {name:?}, but its values are not unique");
        let fix = "HubSpot cannot change this: set hubspot.unique_property to a new name, then run `course-sync check \
                    --fix` to create it. Archiving the old property does not free its name";
        return CheckResult::failed(CODE, text, fix);
    }
    if property.is_read_only || property.kind != PropertyKind::Text {
        let why = if property.is_read_only { "read-only" } else { "not a text property" };
        let text = format!("the property {name:?} is unique, but {why}: it cannot hold the course key");
        return CheckResult::failed(
            CODE,
            text,
            "`run` would pause: set hubspot.unique_property to a new name, then run `course-sync check --fix`",
        );
    }
    CheckResult::ok(CODE, format!("{name:?} exists, and its values are unique"))
}

async fn create_property(client: &Client, name: &str, schema: &AccountProperties) -> CheckResult {
    let group = choose_group(client, schema).await;
    match client.create_unique_property(name, &group).await.result() {
        ReadResult::Found(created) if created.has_unique_value => read_back(client, name).await,
        ReadResult::Found(_) => not_created(
            name,
            "HubSpot restored an archived property of that name, whose values are not unique",
            "set hubspot.unique_property to another name",
        ),
        ReadResult::Denied(why, _) => {
            not_created(name, &why, "add the scope crm.schemas.courses.write; only this command needs it")
        }
        ReadResult::Stop(incident) => not_created(name, &incident.message, "fix this error, then try again"),
        ReadResult::Unavailable(why) => not_created(name, &why, "try again later"),
        ReadResult::Refused(why) => not_created(
            name,
            &why,
            "check that the object has fewer than 10 unique properties and the name uses only a-z, 0-9 and _",
        ),
    }
}

fn not_created(name: &str, why: &str, fix: &str) -> CheckResult {
    CheckResult::failed(CODE, format!("{name:?} could not be created: {why}"), fix)
}

/// The property counts as created once HubSpot lists it as unique.
async fn read_back(client: &Client, name: &str) -> CheckResult {
    for attempt in 0..READ_ATTEMPTS {
        if attempt > 0 {
            tokio::time::sleep(READ_DELAY).await;
        }
        let listed = client.properties(Sensitivity::None).await.result();
        if let ReadResult::Found(definitions) = listed
            && let Some(property) = AccountProperties::new(definitions.into_list(), None, None).property(name)
        {
            let result = check_definition(name, property);
            let created =
                result.fix.is_none().then(|| format!("{name:?} was created, and its values are unique"));
            return CheckResult { message: created.unwrap_or(result.message), ..result };
        }
    }
    let text = format!("{name:?} was created, but HubSpot does not list it yet");
    CheckResult::failed(CODE, text, "run `course-sync check` again in a minute")
}

/// The group for the new property: the group of the course name, or HubSpot's own.
pub(super) async fn choose_group(client: &Client, schema: &AccountProperties) -> String {
    let of_name = schema.property("hs_course_name").and_then(|property| property.group.clone());
    match (of_name, client.property_groups().await.result()) {
        (Some(group), _) => group,
        (None, ReadResult::Found(groups)) => {
            let usable =
                |name: &str| groups.results.iter().any(|group| !group.archived && group.name == name);
            let first =
                || groups.results.iter().find(|group| !group.archived).map(|group| group.name.clone());
            if usable(DEFAULT_GROUP) {
                DEFAULT_GROUP.to_owned()
            } else {
                first().unwrap_or_else(|| DEFAULT_GROUP.to_owned())
            }
        }
        (None, _) => DEFAULT_GROUP.to_owned(),
    }
}
