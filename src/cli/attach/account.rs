//! Compares the properties of an attachment with those of the HubSpot account. Touches HubSpot: it reads the definitions.

use serde_json::{Map, Value};

use crate::cli::connections::open_client;
use crate::config::Config;
use crate::course::Properties;
use crate::hubspot::Client;
use crate::hubspot::api::properties::{PropertyList, Sensitivity};
use crate::hubspot::api::request::COURSE_NAME;
use crate::outbox::attach::plan::Attachment;
use crate::policy::properties::AccountProperties;
use crate::policy::read_result::ReadResult;

/// The warnings about the properties. Without access to HubSpot only those that need none.
pub(super) async fn property_warnings(config: &Config, attachment: &Attachment) -> Vec<String> {
    let unique = config.hubspot.unique_property.as_deref();
    let mut warnings = local_warnings(attachment, unique);
    let account = match open_client(config) {
        None => return warnings,
        Some(Ok(client)) => read_properties(&client).await,
        Some(Err(error)) => Err(error.to_string()),
    };
    match account {
        Ok(account) => warnings.extend(account_warnings(&account, attachment, unique)),
        Err(why) => warnings.push(format!("the properties are not compared with HubSpot's: {why}")),
    }
    warnings
}

/// What is wrong in any account.
fn local_warnings(attachment: &Attachment, unique: Option<&str>) -> Vec<String> {
    let is_sent = |name: &str| {
        let mapped = attachment.map.iter().map(|(_, property)| property);
        mapped
            .chain(attachment.constants.iter().map(|(property, _)| property))
            .any(|property| property == name)
    };
    let mut warnings = Vec::new();
    if !is_sent(COURSE_NAME) && unique != Some(COURSE_NAME) {
        warnings.push(format!(
            "HubSpot requires {COURSE_NAME} of every course, and neither --map nor --set gives it"
        ));
    }
    if let Some(unique) = unique.filter(|unique| is_sent(unique)) {
        warnings.push(format!(
            "{unique} is hubspot.unique_property: course-sync fills it from the course key and refuses another value; \
             remove it from --map and --set"
        ));
    }
    warnings
}

async fn read_properties(client: &Client) -> Result<AccountProperties, String> {
    let mut lists = Vec::new();
    for which in Sensitivity::ALL {
        match (which, client.properties(which).await.result()) {
            (_, ReadResult::Found(definitions)) => lists.push(Some(definitions.into_list())),
            (Sensitivity::None, ReadResult::Stop(incident)) => return Err(incident.message),
            (
                Sensitivity::None,
                ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why),
            ) => return Err(why),
            _ => lists.push(None),
        }
    }
    let mut lists = lists.into_iter();
    let mut next = || -> Option<PropertyList> { lists.next().flatten() };
    Ok(AccountProperties::new(next().unwrap_or_default(), next(), next()))
}

/// The problems that every course will have, whatever its values are, and those of the fixed values.
fn account_warnings(
    account: &AccountProperties,
    attachment: &Attachment,
    unique: Option<&str>,
) -> Vec<String> {
    /// A value that no rule on values concerns, so that only the property itself can be wrong.
    const ANY_VALUE: &str = "1";
    let mapped = attachment.map.iter().map(|(_, property)| (property.clone(), Value::from(ANY_VALUE)));
    let constants =
        attachment.constants.iter().map(|(name, value)| (name.clone(), Value::from(value.as_str())));
    let course: Map<String, Value> = mapped.chain(constants).collect();
    let Ok(course) = Properties::parse(Value::Object(course)) else {
        return vec!["a property has an empty name".to_owned()];
    };
    let is_constant = |name: &str| attachment.constants.iter().any(|(constant, _)| constant == name);
    let concerns_every_value = |code: &str| matches!(code, "PROPERTY_DOESNT_EXIST" | "READ_ONLY_VALUE");
    account
        .problems(&course, unique)
        .into_iter()
        .filter(|problem| concerns_every_value(problem.code) || is_constant(&problem.property))
        .map(|problem| format!("HubSpot would refuse the courses: {}", problem.message))
        .collect()
}
