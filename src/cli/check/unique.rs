//! The unique property: there, unique, and fit to carry the key; made if wished.

use std::time::Duration;

use super::Finding;
use crate::config::Config;
use crate::hubspot::Client;
use crate::policy::schema::{Ending, Kind, Property, Schema, Sensitivity};

const CODE: &str = "unique_property";
/// How often and how far apart it is looked whether a property that was made is there: HubSpot takes its time.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(500);
/// The group that HubSpot puts its own properties of courses into.
const GROUP: &str = "course_information";

pub(super) async fn check(config: &Config, client: &Client, schema: &Ending<Schema>, fix: bool) -> Finding {
    let Some(name) = config.hubspot.unique_property.as_deref() else {
        let text = "hubspot.unique_property is not set: what becomes of a request without an answer cannot be proved. \
                    Set it to a name, and `course-sync check --fix` creates it";
        return Finding::untold(CODE, text);
    };
    match schema {
        Ending::Told(schema) => match schema.property(name) {
            Some(property) => judged(name, property),
            None if fix => create(client, name, schema).await,
            None => Finding::wrong(
                CODE,
                format!("HubSpot has no property {name:?} of courses"),
                "`course-sync check --fix` creates it",
            ),
        },
        Ending::Denied(why, scopes) => {
            let scopes =
                if scopes.is_empty() { "crm.schemas.courses.read".to_owned() } else { scopes.join(" or ") };
            Finding::wrong(
                CODE,
                format!("it could not be looked up: {why}"),
                format!("add the scope {scopes}"),
            )
        }
        Ending::Stop(trouble) => Finding::untold(CODE, &trouble.message),
        Ending::Refused(why) | Ending::Away(why) => {
            Finding::untold(CODE, format!("it could not be looked up: {why}"))
        }
    }
}

fn judged(name: &str, property: &Property) -> Finding {
    if !property.has_unique_value {
        let text = format!("HubSpot has a property {name:?}, but its values are not unique");
        let mend = "HubSpot cannot change that: set hubspot.unique_property to a new name, and `course-sync check \
                    --fix` creates it. Archiving the old one does not free its name";
        return Finding::wrong(CODE, text, mend);
    }
    if property.is_read_only || property.kind != Kind::Text {
        let text = format!("the property {name:?} is unique, but not a text that may be written");
        return Finding::wrong(
            CODE,
            text,
            "set hubspot.unique_property to a new name, then `course-sync check --fix`",
        );
    }
    Finding::fine(CODE, format!("{name:?} is there, and its values are unique"))
}

async fn create(client: &Client, name: &str, schema: &Schema) -> Finding {
    let group = group(client, schema).await;
    let could_not =
        |why: &str, mend: &str| Finding::wrong(CODE, format!("{name:?} could not be created: {why}"), mend);
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

/// What was made is believed when HubSpot lists it so.
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
                judged.mend.is_none().then(|| format!("{name:?} was created, and its values are unique"));
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
