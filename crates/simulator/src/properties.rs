//! The properties API. `hasUniqueValue` cannot be changed after creation. Creating a property with the name of an
//! archived one restores that property.

use serde::{Deserialize, Serialize};

use super::decode;
use super::route::Operation;
use super::schema::{GROUP, Property, PropertyOption, PropertyType, UNIQUE_MAX};
use super::state::{Call, State};
use super::versions::Cause;
use super::wire::{ErrorBody, Reply, iso};

const CLASS: &str = "com.hubspot.properties.PropertyCreate";
const INVALID: &str = "VALIDATION_ERROR";

#[derive(Serialize)]
struct Results<T> {
    results: Vec<T>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Group {
    name: &'static str,
    label: &'static str,
    display_order: i32,
    archived: bool,
}

/// A definition in a request: complete for a create, partial for an update. `hasUniqueValue` and
/// `modificationMetadata` are used for a create only.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct DefinitionInput {
    name: Option<String>,
    label: Option<String>,
    #[serde(rename = "type")]
    kind: Option<PropertyType>,
    field_type: Option<String>,
    group_name: Option<String>,
    description: Option<String>,
    options: Option<Vec<PropertyOption>>,
    hidden: Option<bool>,
    has_unique_value: Option<bool>,
    modification_metadata: Option<ModificationInput>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ModificationInput {
    read_only_value: Option<bool>,
}

/// Handles all requests of the properties API.
pub(super) fn answer(state: &mut State, call: &Call, cause: Cause) -> Reply {
    match call.target.operation {
        Operation::PropertyCreate => create(state, call).unwrap_or_else(|refusal| refusal),
        Operation::PropertyGroups => {
            let group = Group { name: GROUP, label: "Course information", display_order: 0, archived: false };
            Reply::json(200, &Results { results: vec![group] })
        }
        Operation::PropertyRead => match state.schema.live(name(call)) {
            Some(property) => Reply::json(200, property),
            None => not_found(call),
        },
        Operation::PropertyUpdate => update(state, call, cause).unwrap_or_else(|refusal| refusal),
        Operation::PropertyArchive => archive(state, call),
        _ => Reply::json(200, &Results { results: state.schema.list(call.target.archived()).collect() }),
    }
}

fn name(call: &Call) -> &str {
    call.target.name.as_deref().unwrap_or_default()
}

fn not_found(call: &Call) -> Reply {
    let error = ErrorBody::new(format!("Property \"{}\" does not exist", name(call)))
        .category("OBJECT_NOT_FOUND")
        .context("name", vec![name(call).to_owned()]);
    Reply::refusal(404, error, &call.correlation)
}

fn invalid(call: &Call, message: impl Into<String>) -> Reply {
    Reply::refusal(400, ErrorBody::new(message).category(INVALID), &call.correlation)
}

fn given(call: &Call) -> Result<DefinitionInput, Reply> {
    let given: DefinitionInput = decode::json(&call.body, CLASS)
        .map_err(|message| Reply::refusal(400, ErrorBody::new(message), &call.correlation))?;
    match given.group_name.as_deref() {
        Some(group) if group != GROUP => {
            Err(invalid(call, format!("Property group '{group}' does not exist")))
        }
        _ => Ok(given),
    }
}

fn create(state: &mut State, call: &Call) -> Result<Reply, Reply> {
    let given = given(call)?;
    let (Some(name), Some(kind), true) = (
        given.name.clone(),
        given.kind,
        given.label.is_some() && given.field_type.is_some() && given.group_name.is_some(),
    ) else {
        let message = "Some required fields were not set: [name, label, type, fieldType, groupName]";
        return Err(invalid(call, message));
    };
    if !is_valid_name(&name) {
        return Err(invalid(call, format!("\"{name}\" is not a valid property name")));
    }
    match state.schema.any_mut(&name) {
        Some(old) if old.archived => {
            old.archived = false;
            return Ok(Reply::json(201, old));
        }
        Some(_) => {
            let mut error = ErrorBody::new(format!("A property named '{name}' already exists."))
                .category("OBJECT_ALREADY_EXISTS");
            error.sub_category = Some("Properties.PROPERTY_WITH_NAME_EXISTS");
            return Err(Reply::refusal(409, error, &call.correlation));
        }
        None => {}
    }
    let unique = given.has_unique_value.unwrap_or_default();
    if unique && state.schema.unique_names().count() >= UNIQUE_MAX {
        return Err(invalid(call, format!("An object may have at most {UNIQUE_MAX} unique properties")));
    }
    let mut property = Property::new(&name, kind, call.now);
    property.has_unique_value = unique;
    if let Some(read_only) = given.modification_metadata.as_ref().and_then(|given| given.read_only_value) {
        property.modification_metadata.read_only_value = read_only;
    }
    apply(&mut property, given);
    let reply = Reply::json(201, &property);
    state.schema.put(property);
    Ok(reply)
}

fn is_valid_name(name: &str) -> bool {
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
}

/// Name, type and `hasUniqueValue` cannot be changed and are ignored without an error.
fn update(state: &mut State, call: &Call, cause: Cause) -> Result<Reply, Reply> {
    let given = given(call)?;
    let Some(property) = state.schema.any_mut(name(call)).filter(|property| !property.archived) else {
        return Err(not_found(call));
    };
    apply(property, given);
    property.updated_at = iso(call.now);
    let reply = Reply::json(200, property);
    state.clear_removed_options(name(call), cause);
    Ok(reply)
}

fn apply(property: &mut Property, given: DefinitionInput) {
    if let Some(label) = given.label {
        property.label = label;
    }
    if let Some(field_type) = given.field_type {
        property.field_type = field_type;
    }
    if let Some(description) = given.description {
        property.description = description;
    }
    if let Some(options) = given.options.filter(|options| !options.is_empty()) {
        property.options = options;
    }
    if let Some(hidden) = given.hidden {
        property.hidden = hidden;
    }
}

fn archive(state: &mut State, call: &Call) -> Reply {
    match state.schema.any_mut(name(call)) {
        Some(property) if !property.modification_metadata.archivable => {
            invalid(call, format!("Property \"{}\" is defined by HubSpot and stays", property.name))
        }
        Some(property) => {
            property.archived = true;
            Reply::empty(204)
        }
        None => not_found(call),
    }
}
