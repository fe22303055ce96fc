//! Which properties and options an account lacks for the courses of an outbox, and how they are created. Pure.
//!
//! Nothing is created on a guess: a name or an option that is probably a misspelling of an existing one is left to an
//! operator, and so are names that HubSpot keeps for itself.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Value, json};

use super::AccountProperties;
use crate::course::is_property_name;
use crate::hubspot::api::properties::PropertyKind;

/// The longest name and value that HubSpot takes.
const NAME_MAX: usize = 100;
/// Longer texts get a field of several lines.
const LINE_MAX: i32 = 200;

/// A property that courses use. Each form: whether all values have it.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(clippy::struct_excessive_bools, reason = "several forms may apply to the same values")]
pub struct PropertyUse {
    /// Its name.
    pub name: String,
    /// How many of the courses have a value.
    pub courses: i64,
    /// `true` or `false`.
    pub are_booleans: bool,
    /// Numbers, or texts that are numbers without leading zeros.
    pub are_numbers: bool,
    /// `2027-02-01`.
    pub are_dates: bool,
    /// `2027-02-01T09:00`, with or without seconds and zone.
    pub are_times: bool,
    /// The characters of the longest value.
    pub longest: i32,
}

/// What is missing in the account.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MissingPart {
    /// A property.
    Property(NewProperty),
    /// Options of an enumeration.
    Options {
        /// The property.
        name: String,
        /// The values that are no options.
        values: Vec<String>,
    },
    /// A property that is not created, and why.
    LeftOut {
        /// The property.
        name: String,
        /// Why, and what to do.
        why: String,
    },
}

/// A property to be created.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewProperty {
    /// Its name.
    pub name: String,
    /// The type of its values.
    pub kind: NewKind,
    /// How many courses use it.
    pub courses: i64,
}

/// The type of a new property.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum NewKind {
    Boolean,
    Number,
    Date,
    DateAndTime,
    Line,
    Text,
}

impl NewKind {
    /// The narrowest type that takes all values.
    fn of(values: &PropertyUse) -> Self {
        if values.are_booleans {
            Self::Boolean
        } else if values.are_numbers {
            Self::Number
        } else if values.are_dates {
            Self::Date
        } else if values.are_times {
            Self::DateAndTime
        } else if values.longest <= LINE_MAX {
            Self::Line
        } else {
            Self::Text
        }
    }

    /// As an operator reads it.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Self::Boolean => "yes or no",
            Self::Number => "number",
            Self::Date => "date",
            Self::DateAndTime => "date and time",
            Self::Line => "text",
            Self::Text => "text of several lines",
        }
    }

    /// HubSpot's `type` and `fieldType`.
    fn types(self) -> (&'static str, &'static str) {
        match self {
            Self::Boolean => ("bool", "booleancheckbox"),
            Self::Number => ("number", "number"),
            Self::Date => ("date", "date"),
            Self::DateAndTime => ("datetime", "date"),
            Self::Line => ("string", "text"),
            Self::Text => ("string", "textarea"),
        }
    }
}

impl NewProperty {
    /// What HubSpot shows: `credit_points` becomes "Credit points".
    #[must_use]
    pub fn label(&self) -> String {
        let words = self.name.replace('_', " ");
        let mut characters = words.trim().chars();
        characters.next().map(|first| first.to_uppercase().chain(characters).collect()).unwrap_or_default()
    }

    /// The body of the request that creates it.
    #[must_use]
    pub fn definition(&self, group: &str) -> Value {
        let (kind, field) = self.kind.types();
        let options = match self.kind {
            NewKind::Boolean => vec![option("Yes", "true", 0), option("No", "false", 1)],
            _ => Vec::new(),
        };
        json!({
            "groupName": group, "name": self.name, "label": self.label(), "type": kind, "fieldType": field,
            "options": options,
        })
    }
}

/// An option as HubSpot requires it.
fn option(label: &str, value: &str, place: usize) -> Value {
    json!({ "label": label, "value": value, "displayOrder": place, "hidden": false })
}

/// The parts that the account lacks. `values`: the values of the properties in [`enumerations`].
#[must_use]
pub fn missing_parts(
    uses: &[PropertyUse],
    values: &[(String, String)],
    account: &AccountProperties,
    unique: Option<&str>,
) -> Vec<MissingPart> {
    let new =
        uses.iter().filter(|used| Some(used.name.as_str()) != unique && account.is_unlisted(&used.name));
    let mut parts: Vec<MissingPart> = new.map(|used| missing_property(used, account)).collect();
    let mut of_property: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for (name, value) in values {
        of_property.entry(name).or_default().insert(value);
    }
    for (name, values) in of_property {
        parts.extend(missing_options(name, &values, account));
    }
    parts
}

/// The enumerations among these properties, whose values decide whether options are missing.
#[must_use]
pub fn enumerations<'a>(uses: &'a [PropertyUse], account: &AccountProperties) -> Vec<&'a str> {
    let is_enumeration = |name: &str| {
        let property = account.property(name);
        property.is_some_and(|it| !it.is_read_only && matches!(it.kind, PropertyKind::Enumeration(_)))
    };
    uses.iter().map(|used| used.name.as_str()).filter(|name| is_enumeration(name)).collect()
}

fn missing_property(used: &PropertyUse, account: &AccountProperties) -> MissingPart {
    let name = used.name.clone();
    let why = if name.starts_with("hs_") {
        Some(
            "HubSpot keeps names that begin with hs_ for itself; correct the name in the catalogue"
                .to_owned(),
        )
    } else if name.len() > NAME_MAX || !is_property_name(&name) {
        Some(format!(
            "HubSpot takes names of a-z, 0-9 and _ that begin with a letter, up to {NAME_MAX} characters; correct the name in \
             the catalogue"
        ))
    } else {
        account.misspelt_name(&name).map(|near| {
            format!("it is probably a misspelling of {near:?}; correct it in the catalogue, or create it in HubSpot")
        })
    };
    match why {
        Some(why) => MissingPart::LeftOut { name, why },
        None => MissingPart::Property(NewProperty { name, kind: NewKind::of(used), courses: used.courses }),
    }
}

impl AccountProperties {
    /// The property whose name differs only in one letter, in case or in punctuation.
    fn misspelt_name(&self, name: &str) -> Option<&str> {
        let is_near = |known: &str| {
            let digits = |text: &str| text.chars().filter(char::is_ascii_digit).collect::<String>();
            fold(known) == fold(name)
                || strsim::osa_distance(known, name) == 1 && digits(known) == digits(name)
        };
        self.properties.keys().map(String::as_str).find(|known| is_near(known))
    }
}

/// Without case and punctuation.
fn fold(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

fn missing_options(name: &str, values: &BTreeSet<&str>, account: &AccountProperties) -> Vec<MissingPart> {
    let Some(PropertyKind::Enumeration(options)) = account.property(name).map(|property| &property.kind)
    else {
        return Vec::new();
    };
    let parts: BTreeSet<&str> = values
        .iter()
        .filter(|value| !options.contains(**value))
        .flat_map(|value| value.split(';').map(str::trim))
        .filter(|part| !part.is_empty() && !options.contains(*part))
        .collect();
    let near = |part: &str| options.iter().find(|option| fold(option) == fold(part));
    let (misspelt, new): (Vec<&str>, Vec<&str>) = parts.into_iter().partition(|part| near(part).is_some());
    let mut missing: Vec<MissingPart> = misspelt
        .into_iter()
        .filter_map(|part| {
            let why = format!(
                "its value {part:?} is probably the option {:?}; correct it in the catalogue",
                near(part)?
            );
            Some(MissingPart::LeftOut { name: name.to_owned(), why })
        })
        .collect();
    if !new.is_empty() {
        let values = new.into_iter().map(str::to_owned).collect();
        missing.push(MissingPart::Options { name: name.to_owned(), values });
    }
    missing
}

/// The options of a property together with these values, as HubSpot's update takes them: it replaces the whole list. `None` if
/// the definition shows no list.
#[must_use]
pub fn with_options(definition: &Value, values: &[String]) -> Option<Value> {
    let mut options = definition.get("options")?.as_array()?.clone();
    let known: BTreeSet<String> =
        options.iter().filter_map(|it| it.get("value")?.as_str().map(str::to_owned)).collect();
    for value in values.iter().filter(|value| !known.contains(*value)) {
        options.push(option(value, value, options.len()));
    }
    Some(json!({ "options": options }))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hubspot::api::properties::PropertyList;

    fn used(name: &str, longest: i32) -> PropertyUse {
        PropertyUse {
            name: name.into(),
            courses: 3,
            are_booleans: false,
            are_numbers: false,
            are_dates: false,
            are_times: false,
            longest,
        }
    }

    fn account() -> AccountProperties {
        let property = |name: &str| json!({ "name": name, "type": "string" });
        let level = json!({ "name": "level", "type": "enumeration",
            "options": [{ "label": "Beginner", "value": "beginner" }, { "label": "Level 1", "value": "level_1" }] });
        AccountProperties::new(
            PropertyList::new(vec![
                property("hs_course_name"),
                property("teacher"),
                property("week_1"),
                level,
            ]),
            None,
            None,
        )
    }

    #[test]
    fn the_type_of_a_new_property_fits_all_values() {
        let cases = [
            (PropertyUse { are_booleans: true, ..used("online", 5) }, NewKind::Boolean),
            (PropertyUse { are_numbers: true, ..used("price", 5) }, NewKind::Number),
            (PropertyUse { are_dates: true, ..used("starts_on", 10) }, NewKind::Date),
            (PropertyUse { are_times: true, ..used("starts_at", 16) }, NewKind::DateAndTime),
            (used("room", 200), NewKind::Line),
            (used("outline", 201), NewKind::Text),
        ];
        for (used, kind) in cases {
            let property = NewProperty { name: used.name.clone(), kind, courses: 3 };
            assert_eq!(missing_parts(&[used], &[], &account(), None), [MissingPart::Property(property)]);
        }
    }

    #[test]
    fn names_that_exist_or_are_probably_wrong_are_not_created() {
        let known = ["hs_course_name", "Teacher", "level", "course_key"].map(|name| used(name, 5));
        assert_eq!(missing_parts(&known, &[], &account(), Some("course_key")), []);
        for (name, words) in [
            ("hs_price", "for itself"),
            ("Preis", "a-z, 0-9"),
            ("9th", "a-z, 0-9"),
            ("techer", "\"teacher\""),
            ("tea_cher", "\"teacher\""),
        ] {
            match missing_parts(&[used(name, 5)], &[], &account(), None).as_slice() {
                [MissingPart::LeftOut { why, .. }] => assert!(why.contains(words), "{why}"),
                other => panic!("{name}: {other:?}"),
            }
        }
        let numbered = missing_parts(&[used("week_2", 5)], &[], &account(), None);
        assert!(matches!(numbered.as_slice(), [MissingPart::Property(_)]), "{numbered:?}");
    }

    #[test]
    fn missing_options_are_found_in_single_and_multiple_values() {
        let values = ["beginner", "expert", "beginner;level_2", "Level 1", " ; "];
        let values = values.map(|value| ("level".to_owned(), value.to_owned()));
        let parts = missing_parts(&[used("level", 9)], &values, &account(), None);
        let options =
            MissingPart::Options { name: "level".into(), values: vec!["expert".into(), "level_2".into()] };
        match parts.as_slice() {
            [MissingPart::LeftOut { why, .. }, found] => {
                assert!(why.contains("\"Level 1\"") && why.contains("\"level_1\""), "{why}");
                assert_eq!(*found, options);
            }
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn new_options_keep_the_others_as_they_are() {
        let kept = json!({ "label": "Beginner", "value": "b", "displayOrder": 7, "hidden": true, "description": "x" });
        let updated = with_options(&json!({ "options": [kept] }), &["b".into(), "expert".into()]).unwrap();
        assert_eq!(updated, json!({ "options": [kept, option("expert", "expert", 1)] }));
        assert_eq!(with_options(&json!({ "name": "level" }), &["b".into()]), None);
    }

    #[test]
    fn a_definition_has_what_hubspot_requires() {
        let property = NewProperty { name: "is_online".into(), kind: NewKind::Boolean, courses: 1 };
        let definition = property.definition("course_information");
        assert_eq!(definition["label"], "Is online");
        assert_eq!(
            (&definition["type"], &definition["fieldType"]),
            (&json!("bool"), &json!("booleancheckbox"))
        );
        assert_eq!(definition["options"].as_array().unwrap().len(), 2);
    }
}
