//! One list of property definitions, read tolerantly: what is absent or strange forbids nothing.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::Value;

/// Which properties HubSpot lists: it lists those that hold sensitive data only where it is asked for them.
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
pub struct Listing {
    pub(super) properties: BTreeMap<String, Property>,
    /// Nothing follows on another page.
    pub(super) is_whole: bool,
}

/// A property, as far as it decides what a course may say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Property {
    /// What its values are.
    pub kind: Kind,
    /// Nobody may set it: HubSpot does, or calculates it.
    pub is_read_only: bool,
    /// No two records may hold the same value.
    pub has_unique_value: bool,
    /// When it was made or last changed.
    pub changed_at: Option<Timestamp>,
    /// The group that it is shown in.
    pub group: Option<String>,
}

/// What the values of a property are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Text.
    Text,
    /// A number.
    Number,
    /// A day, or a point in time.
    Time,
    /// One or several of these values; those that HubSpot takes from elsewhere are not judged.
    Choice(BTreeSet<String>),
    /// True or false.
    Truth(BTreeSet<String>),
    /// Not known well enough to be judged.
    Other,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Definition {
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

impl Listing {
    pub(super) fn of(definitions: Vec<Value>) -> Self {
        let properties = definitions.into_iter().filter_map(|definition| {
            let name = definition.get("name")?.as_str()?.to_owned();
            // One that cannot be read exists all the same.
            let read = serde_json::from_value(definition)
                .unwrap_or_else(|_| Definition { name: name.clone(), ..Definition::default() });
            (!read.archived).then(|| (name, Property::of(&read)))
        });
        Self { properties: properties.collect(), is_whole: true }
    }
}

impl Property {
    fn of(definition: &Definition) -> Self {
        let time = |text: &Option<String>| text.as_deref().and_then(|text| text.parse::<Timestamp>().ok());
        let is_read_only = definition.modification_metadata.get("readOnlyValue").and_then(Value::as_bool);
        Self {
            kind: kind(definition),
            is_read_only: is_read_only.unwrap_or_default() || definition.calculated.as_bool() == Some(true),
            has_unique_value: definition.has_unique_value,
            changed_at: time(&definition.created_at).max(time(&definition.updated_at)),
            group: definition.group_name.clone(),
        }
    }
}

fn kind(definition: &Definition) -> Kind {
    let option = |option: &Value| option.get("value").and_then(Value::as_str).map(str::to_owned);
    let options: BTreeSet<String> =
        definition.options.as_array().into_iter().flatten().filter_map(option).collect();
    // Pipelines have a list of their own, and owners are users.
    let is_elsewhere = definition.external_options
        || definition.referenced_object_type.is_some()
        || definition.name.contains("pipeline");
    match definition.kind.as_str() {
        "string" => Kind::Text,
        "number" => Kind::Number,
        "date" | "datetime" => Kind::Time,
        "enumeration" if !options.is_empty() && !is_elsewhere => Kind::Choice(options),
        "bool" => Kind::Truth(options),
        _ => Kind::Other,
    }
}
