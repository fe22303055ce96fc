//! What a person can do against an error: for a single course and for all that failed alike. Pure.

use crate::course::Category;

/// What mends courses that failed like this.
#[must_use]
pub fn mend(category: Option<Category>, code: Option<&str>, property: Option<&str>) -> String {
    let named =
        property.map_or_else(|| "the property that HubSpot names".to_owned(), |name| format!("`{name}`"));
    match (category, code.unwrap_or_default()) {
        (Some(Category::Validation), "PROPERTY_DOESNT_EXIST") => {
            format!("create the property {named} in HubSpot, or take it out of the row's `properties`")
        }
        (Some(Category::Validation), "READ_ONLY_VALUE") => {
            format!("HubSpot sets {named} itself: take it out of the row's `properties`")
        }
        (Some(Category::Validation), "INVALID_OPTION") => format!(
            "give {named} the internal value of one of its options in the row's `properties`, or add the option in HubSpot"
        ),
        (Some(Category::Validation), "MISSING_REQUIRED_PROPERTY") => {
            format!("give {named} a value in the row's `properties`")
        }
        (Some(Category::Validation), _) => match property {
            Some(_) => format!("give {named} a value that HubSpot accepts, in the row's `properties`"),
            None => "correct the row's `properties` or `associations` after HubSpot's message".to_owned(),
        },
        (Some(Category::Conflict), _) => format!(
            "another record of HubSpot holds the same value of {named}: merge or archive that record, or correct the row"
        ),
        (Some(Category::KeyCollision), _) => {
            "HubSpot takes this key and another course's for the same: give one of the two courses another key, in a row \
             of its own"
                .to_owned()
        }
        (Some(Category::TooLarge), _) => {
            "shorten the row's `properties` or `associations`: even alone they are more than HubSpot takes".to_owned()
        }
        (Some(Category::InvalidRow), _) => {
            "correct the row after the message; it was not sent, and HubSpot was not asked".to_owned()
        }
        (Some(Category::UnknownOutcome), _) => {
            "HubSpot failed at it every time: correct the row if the message tells how, else ask HubSpot's support with \
             the correlation id"
                .to_owned()
        }
        (Some(Category::Deferred), _) => {
            "nothing yet: the course goes again by itself; if it fails alone while others pass, it counts against it"
                .to_owned()
        }
        (Some(Category::RecordGone), _) => {
            "restore the record in HubSpot's recycle bin; or, if the course is to be created again, delete the record there \
             permanently"
                .to_owned()
        }
        (Some(Category::Refused) | None, _) => {
            "follow HubSpot's message; its support knows the request by the correlation id".to_owned()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_of_error_has_its_own_mend() {
        let all: std::collections::BTreeSet<_> =
            Category::ALL.into_iter().map(|category| mend(Some(category), None, None)).collect();
        assert_eq!(all.len(), Category::ALL.len());
        for (code, expected) in [
            ("PROPERTY_DOESNT_EXIST", "create the property `colour`"),
            ("INVALID_OPTION", "one of its options"),
            ("READ_ONLY_VALUE", "take it out"),
            ("MISSING_REQUIRED_PROPERTY", "give `colour` a value"),
            ("INVALID_DATE", "a value that HubSpot accepts"),
        ] {
            let told = mend(Some(Category::Validation), Some(code), Some("colour"));
            assert!(told.contains(expected), "{code}: {told}");
        }
    }
}
