//! The unique property: whether it exists, is unique and may be written; `--fix` creates it.

use std::time::Duration;

use super::Finding;
use super::scopes::{READ, lacking};
use crate::config::Config;
use crate::hubspot::Client;
use crate::policy::access::Access;
use crate::policy::schema::{Ending, Kind, Property, Schema, Sensitivity};

const CODE: &str = "unique_property";
/// How often and how far apart it is looked whether a property that was made is there: HubSpot takes its time.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The group that HubSpot puts its own properties of courses into.
const GROUP: &str = "course_information";

pub(super) async fn check(
    config: &Config,
    client: &Client,
    schema: &Ending<Schema>,
    look_up: Option<&Access>,
    fix: bool,
) -> Finding {
    let Some(name) = config.hubspot.unique_property.as_deref() else {
        let text = "hubspot.unique_property is not set: after a lost answer nothing can prove whether the course was created. \
                    Set it to a name, and `course-sync check --fix` creates the property";
        return Finding::unknown(CODE, text);
    };
    match schema {
        Ending::Told(schema) => match schema.property(name) {
            Some(property) => match (judged(name, property), look_up) {
                (judged, Some(Access::Refused(why))) if judged.fix.is_none() => refused(name, why),
                (judged, _) => judged,
            },
            None if fix => create(client, name, schema).await,
            None => Finding::wrong(
                CODE,
                format!("HubSpot has no property {name:?} of courses"),
                "`course-sync check --fix` creates it",
            ),
        },
        Ending::Denied(why, _) | Ending::Refused(why) | Ending::Away(why) => by_look_up(name, look_up, why),
        Ending::Stop(trouble) => by_look_up(name, look_up, &trouble.message),
    }
}

/// What a look-up by the property shows, where the property list could not be read.
fn by_look_up(name: &str, look_up: Option<&Access>, unread: &str) -> Finding {
    let not_checked = |why: &str| Finding::unknown(CODE, format!("it could not be looked up: {why}"));
    match look_up {
        Some(Access::Granted) => {
            let text = format!(
                "HubSpot accepts look-ups by {name:?}; whether it is unique and may be written could not be checked, because \
                 the property list could not be read: {unread}"
            );
            Finding::unknown(CODE, text)
        }
        Some(Access::Denied(why, scopes)) => {
            let needed = lacking(READ, scopes);
            Finding::wrong(
                CODE,
                format!("it could not be looked up: {why}"),
                format!("add the scope {needed} to the private app or service key"),
            )
        }
        Some(Access::Refused(why)) => refused(name, why),
        Some(Access::NoSuchType(why) | Access::Unknown(why)) => not_checked(why),
        Some(Access::Stop(trouble)) => not_checked(&trouble.message),
        None => not_checked(unread),
    }
}

fn refused(name: &str, why: &str) -> Finding {
    let text = format!("HubSpot refuses look-ups by {name:?}: {why}");
    Finding::wrong(
        CODE,
        text,
        "set hubspot.unique_property to a text property with unique values; `course-sync check --fix` creates one",
    )
}

fn judged(name: &str, property: &Property) -> Finding {
    if !property.has_unique_value {
        let text = format!("HubSpot has a property {name:?}, but its values are not unique");
        let fix = "HubSpot cannot change that: set hubspot.unique_property to a new name, and `course-sync check \
                    --fix` creates it. Archiving the old one does not free its name";
        return Finding::wrong(CODE, text, fix);
    }
    if property.is_read_only || property.kind != Kind::Text {
        let why = if property.is_read_only { "read-only" } else { "no text" };
        let text = format!("the property {name:?} is unique, but {why}: it cannot carry the course's key");
        return Finding::wrong(
            CODE,
            text,
            "`run` pauses: set hubspot.unique_property to a new name, then `course-sync check --fix` creates it",
        );
    }
    Finding::fine(CODE, format!("{name:?} is there, and its values are unique"))
}

async fn create(client: &Client, name: &str, schema: &Schema) -> Finding {
    let group = group(client, schema).await;
    let could_not =
        |why: &str, fix: &str| Finding::wrong(CODE, format!("{name:?} could not be created: {why}"), fix);
    match client.create_unique_property(name, &group).await.ending() {
        Ending::Told(made) if made.has_unique_value => read_back(client, name).await,
        Ending::Told(_) => could_not(
            "HubSpot brought an archived property of that name back, whose values are not unique",
            "set hubspot.unique_property to another name",
        ),
        Ending::Denied(why, _) => {
            could_not(&why, "add the scope crm.schemas.courses.write; it is needed for this alone")
        }
        Ending::Stop(trouble) => could_not(&trouble.message, "then try again"),
        Ending::Away(why) => could_not(&why, "then try again"),
        Ending::Refused(why) => {
            could_not(&why, "an object has 10 unique properties at most, and names are of a-z, 0-9 and _")
        }
    }
}

/// The property counts as created once HubSpot lists it as unique.
async fn read_back(client: &Client, name: &str) -> Finding {
    for look in 0..LOOKS {
        if look > 0 {
            tokio::time::sleep(LOOK_AGAIN).await;
        }
        let listed = client.properties(Sensitivity::None).await.ending();
        if let Ending::Told(definitions) = listed
            && let Some(property) = Schema::of(definitions.listing(), None, None).property(name)
        {
            let judged = judged(name, property);
            let made =
                judged.fix.is_none().then(|| format!("{name:?} was created, and its values are unique"));
            return Finding { text: made.unwrap_or(judged.text), ..judged };
        }
    }
    let text = format!("{name:?} was created, but HubSpot does not list it yet");
    Finding::wrong(CODE, text, "check again in a minute")
}

/// The group to put it into: HubSpot's own, or the one of the courses' names.
async fn group(client: &Client, schema: &Schema) -> String {
    let of_name = schema.property("hs_course_name").and_then(|property| property.group.clone());
    match (of_name, client.property_groups().await.ending()) {
        (Some(group), _) => group,
        (None, Ending::Told(groups)) => {
            let usable =
                |name: &str| groups.results.iter().any(|group| !group.archived && group.name == name);
            let first =
                || groups.results.iter().find(|group| !group.archived).map(|group| group.name.clone());
            if usable(GROUP) { GROUP.to_owned() } else { first().unwrap_or_else(|| GROUP.to_owned()) }
        }
        (None, _) => GROUP.to_owned(),
    }
}
