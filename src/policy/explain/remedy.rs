//! What an operator can do about an error, for one course and for a group of courses that failed for the same
//! reason. Pure.

use crate::course::Category;

/// The fix for courses that failed with this error.
#[must_use]
pub fn remedy(category: Option<Category>, code: Option<&str>, property: Option<&str>) -> String {
    let named =
        property.map_or_else(|| "the property that HubSpot names".to_owned(), |name| format!("`{name}`"));
    match category {
        Some(Category::Validation) => fix_validation(code.unwrap_or_default(), property, &named),
        Some(Category::Conflict) => format!(
            "another HubSpot record has the same value of {named}: merge or archive that record, or correct the row"
        ),
        Some(Category::KeyCollision) => {
            "HubSpot treats this key and the key of another course as equal: enqueue one of the two courses under \
             another key, in a new row"
                .to_owned()
        }
        Some(Category::TooLarge) => {
            "shorten the row's `properties` or `associations`: the course is too large for one request"
                .to_owned()
        }
        Some(Category::InvalidRow) => {
            "correct the row as the message states; the course was not sent to HubSpot".to_owned()
        }
        Some(Category::UnknownOutcome) => {
            "HubSpot failed on every attempt: correct the row if the message shows how, else contact HubSpot support \
             with the correlation id"
                .to_owned()
        }
        Some(Category::Deferred) => {
            "nothing yet: the course is retried automatically; it is failed only if it fails on its own while other \
             courses succeed"
                .to_owned()
        }
        Some(Category::RecordGone) => {
            "for a new record, run `course-sync resolve KEY --recreate`; if the course has another record, run `course-sync \
             resolve KEY --hubspot-id ID`; or restore the record in HubSpot and run `course-sync retry`"
                .to_owned()
        }
        Some(Category::RecordMerged) => {
            "to keep the remaining record, run `course-sync resolve KEY --hubspot-id ID` with its id; for a new record, run \
             `course-sync resolve KEY --recreate`"
                .to_owned()
        }
        Some(Category::Refused) | None => {
            "follow HubSpot's message, or contact HubSpot support with the correlation id".to_owned()
        }
    }
}

/// The fix for a value that HubSpot rejects, by HubSpot's code. `named`: the property, for a sentence.
fn fix_validation(code: &str, property: Option<&str>, named: &str) -> String {
    match code {
        "PROPERTY_DOESNT_EXIST" => {
            format!("create the property {named} in HubSpot, or remove it from the row's `properties`")
        }
        "READ_ONLY_VALUE" => {
            format!("remove {named} from the row's `properties`: HubSpot sets it itself")
        }
        "INVALID_OPTION" => format!(
            "set {named} to the internal value of one of its options in the row's `properties`, or add the option in HubSpot"
        ),
        "MISSING_REQUIRED_PROPERTY" => {
            format!("give {named} a value in the row's `properties`")
        }
        _ => match property {
            Some(_) => format!("give {named} a value that HubSpot accepts, in the row's `properties`"),
            None => "correct the row's `properties` or `associations` as HubSpot's message states".to_owned(),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_category_has_its_own_remedy() {
        let all: std::collections::BTreeSet<_> =
            Category::ALL.into_iter().map(|category| remedy(Some(category), None, None)).collect();
        assert_eq!(all.len(), Category::ALL.len());
        for (code, expected) in [
            ("PROPERTY_DOESNT_EXIST", "create the property `colour`"),
            ("INVALID_OPTION", "one of its options"),
            ("READ_ONLY_VALUE", "remove `colour` from"),
            ("MISSING_REQUIRED_PROPERTY", "give `colour` a value"),
            ("INVALID_DATE", "a value that HubSpot accepts"),
        ] {
            let text = remedy(Some(Category::Validation), Some(code), Some("colour"));
            assert!(text.contains(expected), "{code}: {text}");
        }
    }
}
