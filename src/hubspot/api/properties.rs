//! Lists of property definitions, read tolerantly: what is absent or unreadable restricts no course. Pure.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Which list of properties: HubSpot lists properties for sensitive data only on request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[allow(missing_docs)]
pub enum Sensitivity {
    None,
    Sensitive,
    HighlySensitive,
}

impl Sensitivity {
    /// Every list.
    pub const ALL: [Self; 3] = [Self::None, Self::Sensitive, Self::HighlySensitive];
}

/// The live properties of one list, by name.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PropertyList {
    pub(crate) properties: BTreeMap<String, PropertyDefinition>,
    /// No further page follows.
    pub(crate) is_complete: bool,
}

/// The parts of a property's definition that decide which values a course may send.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PropertyDefinition {
    /// The type of its values.
    pub kind: PropertyKind,
    /// Only HubSpot sets or calculates it.
    pub is_read_only: bool,
    /// No two records may hold the same value.
    pub has_unique_value: bool,
    /// When it was created or last changed.
    pub changed_at: Option<Timestamp>,
    /// The group in which HubSpot shows it.
    pub group: Option<String>,
}

/// The type of a property's values.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PropertyKind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A date, or a date with time.
    Date,
    /// One or several of these options. An enumeration whose options HubSpot takes from elsewhere is `Other`.
    Enumeration(BTreeSet<String>),
    /// True or false, with the options that HubSpot lists.
    Boolean(BTreeSet<String>),
    /// Not known well enough to check values.
    Other,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct RawDefinition {
    name: String,
    #[serde(rename = "type")]
    kind: String,
    options: Value,
    external_options: bool,
    archived: bool,
    has_unique_value: bool,
    modification_metadata: Value,
    calculated: Value,
    group_name: Option<String>,
    created_at: Option<String>,
    updated_at: Option<String>,
    referenced_object_type: Option<String>,
}

impl PropertyList {
    pub(crate) fn new(definitions: Vec<Value>) -> Self {
        let properties = definitions.into_iter().filter_map(|definition| {
            let name = definition.get("name")?.as_str()?.to_owned();
            // A definition that cannot be read exists nevertheless.
            let raw = serde_json::from_value(definition)
                .unwrap_or_else(|_| RawDefinition { name: name.clone(), ..RawDefinition::default() });
            (!raw.archived).then(|| (name, PropertyDefinition::new(&raw)))
        });
        Self { properties: properties.collect(), is_complete: true }
    }
}

impl PropertyDefinition {
    fn new(definition: &RawDefinition) -> Self {
        let read_only_value = definition.modification_metadata.get("readOnlyValue").and_then(Value::as_bool);
        Self {
            kind: kind(definition),
            is_read_only: read_only_value.unwrap_or_default()
                || definition.calculated.as_bool() == Some(true),
            has_unique_value: definition.has_unique_value,
            changed_at: timestamp(definition.created_at.as_deref())
                .max(timestamp(definition.updated_at.as_deref())),
            group: definition.group_name.clone(),
        }
    }
}

fn timestamp(text: Option<&str>) -> Option<Timestamp> {
    text?.parse().ok()
}

fn kind(definition: &RawDefinition) -> PropertyKind {
    let options = definition.options.as_array().into_iter().flatten();
    let options: BTreeSet<String> = options.filter_map(option_value).collect();
    // Pipeline stages and owners are kept in lists of their own; the options here do not decide.
    let is_external = definition.external_options
        || definition.referenced_object_type.is_some()
        || definition.name.contains("pipeline");
    match definition.kind.as_str() {
        "string" => PropertyKind::Text,
        "number" => PropertyKind::Number,
        "date" | "datetime" => PropertyKind::Date,
        "enumeration" if !options.is_empty() && !is_external => PropertyKind::Enumeration(options),
        "bool" => PropertyKind::Boolean(options),
        _ => PropertyKind::Other,
    }
}

fn option_value(option: &Value) -> Option<String> {
    option.get("value").and_then(Value::as_str).map(str::to_owned)
}

/// A list of property definitions as HubSpot sends it: `{"results":[…]}`.
#[derive(Debug, Deserialize)]
pub struct PropertiesResponse {
    results: Vec<Value>,
    paging: Option<Value>,
}

impl PropertiesResponse {
    /// The properties that are not archived.
    #[must_use]
    pub fn into_list(self) -> PropertyList {
        let has_more = self.paging.is_some_and(|paging| paging.get("next").is_some());
        PropertyList { is_complete: !has_more, ..PropertyList::new(self.results) }
    }
}
