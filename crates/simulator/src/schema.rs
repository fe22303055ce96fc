//! The property definitions of courses: HubSpot's own, and those created by the properties API. Touches nothing else.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::merge::MERGED_IDS;
use super::wire::iso;

/// The group of HubSpot's own course properties.
pub(super) const GROUP: &str = "course_information";
/// Maximum number of properties with unique values.
pub(super) const UNIQUE_MAX: usize = 10;
const PIPELINE: &str = "5d0e7b4c-52b9-4a8e-9c7a-0b2f6b1f7a11";
const STAGES: [&str; 2] = ["3e1a235d-1a64-4b7a-9ed5-7f0273ebd774", "9c1f6a40-7f0b-4c39-8f0a-2f51f1a4c1b7"];

/// The type of a property's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[expect(missing_docs, reason = "HubSpot's own names")]
pub enum PropertyType {
    String,
    Number,
    Date,
    Datetime,
    Enumeration,
    Bool,
}

/// One choice of an enumeration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PropertyOption {
    /// The displayed name.
    pub label: String,
    /// The value in requests and responses.
    pub value: String,
    /// Position in the list; -1: last.
    #[serde(default = "last")]
    pub display_order: i32,
    /// Whether it is hidden in the user interface.
    #[serde(default)]
    pub hidden: bool,
}

impl PropertyOption {
    /// An option with its value as label.
    pub(super) fn of_value(value: &str) -> Self {
        option(value, value)
    }
}

/// A property definition in the format of the properties API.
#[expect(clippy::struct_excessive_bools, reason = "HubSpot's own shape")]
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Property {
    pub(super) updated_at: String,
    pub(super) created_at: String,
    pub(super) name: String,
    pub(super) label: String,
    #[serde(rename = "type")]
    pub(super) kind: PropertyType,
    pub(super) field_type: String,
    pub(super) description: String,
    pub(super) group_name: String,
    pub(super) options: Vec<PropertyOption>,
    pub(super) display_order: i32,
    pub(super) calculated: bool,
    pub(super) external_options: bool,
    pub(super) archived: bool,
    pub(super) has_unique_value: bool,
    pub(super) hidden: bool,
    pub(super) hubspot_defined: bool,
    pub(super) modification_metadata: Modification,
    pub(super) form_field: bool,
    pub(super) data_sensitivity: &'static str,
}

/// Which parts of a property can be changed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Modification {
    pub(super) archivable: bool,
    pub(super) read_only_definition: bool,
    pub(super) read_only_value: bool,
}

impl Property {
    /// A custom property with default settings.
    pub(super) fn new(name: &str, kind: PropertyType, now: Timestamp) -> Self {
        let options = match kind {
            PropertyType::Bool => vec![option("true", "Yes"), option("false", "No")],
            _ => Vec::new(),
        };
        Self {
            updated_at: iso(now),
            created_at: iso(now),
            name: name.to_owned(),
            label: name.to_owned(),
            kind,
            field_type: field_type(kind).to_owned(),
            description: String::new(),
            group_name: GROUP.to_owned(),
            options,
            display_order: -1,
            calculated: false,
            external_options: false,
            archived: false,
            has_unique_value: false,
            hidden: false,
            hubspot_defined: false,
            modification_metadata: Modification {
                archivable: true,
                read_only_definition: false,
                read_only_value: false,
            },
            form_field: false,
            data_sensitivity: "non_sensitive",
        }
    }

    fn of_hubspot(name: &str, kind: PropertyType, label: &str, now: Timestamp) -> Self {
        let mut property = Self::new(name, kind, now);
        label.clone_into(&mut property.label);
        property.hubspot_defined = true;
        property.modification_metadata.archivable = false;
        property.modification_metadata.read_only_definition = true;
        property
    }

    fn read_only(mut self) -> Self {
        self.modification_metadata.read_only_value = true;
        self
    }

    /// Several values, separated by semicolons; not shown to users.
    fn checkboxes(mut self) -> Self {
        "checkbox".clone_into(&mut self.field_type);
        self.hidden = true;
        self
    }

    fn choices(mut self, options: Vec<PropertyOption>) -> Self {
        self.options = options;
        self
    }
}

/// All property definitions by name, including archived ones.
#[derive(Debug)]
pub(super) struct Schema {
    properties: BTreeMap<String, Property>,
}

impl Schema {
    /// The properties that every account has.
    pub(super) fn of_hubspot(now: Timestamp) -> Self {
        use PropertyType as T;
        let stages = STAGES.iter().zip(["Open", "Closed"]).map(|(id, label)| option(id, label)).collect();
        let properties = [
            Property::of_hubspot("hs_course_name", T::String, "Course Name", now),
            Property::of_hubspot("hs_course_id", T::String, "Course ID", now),
            Property::of_hubspot("hs_course_description", T::String, "Course Description", now),
            Property::of_hubspot("hs_enrollment_capacity", T::Number, "Enrollment Capacity", now),
            Property::of_hubspot("hs_pipeline", T::Enumeration, "Pipeline", now)
                .choices(vec![option(PIPELINE, "Course pipeline")]),
            Property::of_hubspot("hs_pipeline_stage", T::Enumeration, "Pipeline Stage", now).choices(stages),
            Property::of_hubspot("hs_createdate", T::Datetime, "Create Date", now).read_only(),
            Property::of_hubspot("hs_lastmodifieddate", T::Datetime, "Last Modified Date", now).read_only(),
            Property::of_hubspot("hs_object_id", T::Number, "Record ID", now).read_only(),
            Property::of_hubspot(MERGED_IDS, T::Enumeration, "Merged record IDs", now)
                .read_only()
                .checkboxes(),
        ];
        Self { properties: properties.map(|property| (property.name.clone(), property)).into() }
    }

    /// A property that is not archived.
    pub(super) fn live(&self, name: &str) -> Option<&Property> {
        self.properties.get(name).filter(|property| !property.archived)
    }

    /// A property, archived or not.
    pub(super) fn any_mut(&mut self, name: &str) -> Option<&mut Property> {
        self.properties.get_mut(name)
    }

    /// Adds or replaces a property.
    pub(super) fn put(&mut self, property: Property) {
        self.properties.insert(property.name.clone(), property);
    }

    /// All archived or all other properties.
    pub(super) fn list(&self, archived: bool) -> impl Iterator<Item = &Property> {
        self.properties.values().filter(move |property| property.archived == archived)
    }

    /// The properties with unique values that are not archived.
    pub(super) fn unique_names(&self) -> impl Iterator<Item = &str> {
        self.list(false).filter(|property| property.has_unique_value).map(|property| property.name.as_str())
    }

    /// Whether records can be looked up by this property.
    pub(super) fn is_unique(&self, name: &str) -> bool {
        self.live(name).is_some_and(|property| property.has_unique_value)
    }
}

/// HubSpot's default form field of a type.
pub(super) fn field_type(kind: PropertyType) -> &'static str {
    match kind {
        PropertyType::String => "text",
        PropertyType::Number => "number",
        PropertyType::Date | PropertyType::Datetime => "date",
        PropertyType::Enumeration => "select",
        PropertyType::Bool => "booleancheckbox",
    }
}

fn option(value: &str, label: &str) -> PropertyOption {
    PropertyOption { label: label.to_owned(), value: value.to_owned(), display_order: -1, hidden: false }
}

fn last() -> i32 {
    -1
}
