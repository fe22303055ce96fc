//! Generates the courses of a made-up university from a seed. Pure.
//!
//! Most courses are valid. Some have one flaw that HubSpot rejects, and a few exist in HubSpot already, created by
//! another system with the same key.

mod words;

use std::collections::BTreeMap;

use crate::course::{CourseKey, Properties, PropertyValue};
use crate::outbox::ops::enqueue::NewCourse;
use words::{FORMS, SUBJECTS, TOPICS};

/// The name of the university.
pub(super) const UNIVERSITY: &str = "Larkspur Bay University";
/// The HubSpot property that holds the course's key.
pub(super) const UNIQUE_PROPERTY: &str = "course_key";
/// Sections of one course: same name, different keys.
const SECTIONS: usize = 4;
/// One in this many courses is flawed, for each kind of flaw.
const COURSES_PER_FLAW: usize = 1_000;
/// One in this many courses exists in HubSpot already.
const COURSES_PER_PREEXISTING: usize = 5_000;

/// The generated courses.
#[derive(Debug)]
pub(super) struct Catalogue {
    /// The courses to enqueue, in order.
    pub courses: Vec<NewCourse>,
    /// Properties of the records that exist in HubSpot already.
    pub preexisting: Vec<BTreeMap<String, String>>,
}

/// Why HubSpot will reject a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    UnknownProperty,
    NotANumber,
    NoSuchOption,
    NoName,
}

const FLAWS: [Flaw; 4] = [Flaw::UnknownProperty, Flaw::NotANumber, Flaw::NoSuchOption, Flaw::NoName];

/// Generates `count` courses, up to about 100,000, each with its own key.
pub(super) fn generate(count: usize, seed: u64) -> Catalogue {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..count).collect();
    rng.shuffle(&mut order);
    let mut picked = order.into_iter();
    let flawed: BTreeMap<usize, Flaw> = FLAWS
        .iter()
        .cycle()
        .take(FLAWS.len() * (count / COURSES_PER_FLAW).max(1))
        .zip(picked.by_ref())
        .map(|(flaw, at)| (at, *flaw))
        .collect();
    let existing: Vec<usize> = picked.take((count / COURSES_PER_PREEXISTING).max(2)).collect();

    let drafts: Vec<Draft> = (0..count).map(|at| draft_course(at, &mut rng)).collect();
    let preexisting = existing.iter().filter_map(|at| drafts.get(*at)).map(preexisting_record).collect();
    let courses = drafts
        .into_iter()
        .enumerate()
        .filter_map(|(at, draft)| draft.with_flaw(flawed.get(&at).copied()).into_course())
        .collect();
    Catalogue { courses, preexisting }
}

/// The record of a course that exists in HubSpot already.
fn preexisting_record(draft: &Draft) -> BTreeMap<String, String> {
    let name = draft.text("hs_course_name").to_owned();
    [(UNIQUE_PROPERTY, draft.key.clone()), ("hs_course_name", name)]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
}

struct Draft {
    key: String,
    properties: BTreeMap<String, PropertyValue>,
}

fn draft_course(at: usize, rng: &mut fastrand::Rng) -> Draft {
    let (subject, nth) = (at % SUBJECTS.len(), at / SUBJECTS.len());
    let (number, section) = (100 + nth / SECTIONS, 1 + nth % SECTIONS);
    let (code, field) = pick(&SUBJECTS, subject);
    let field = format!("{} {field}", pick(&TOPICS, number / FORMS.len() + subject));
    let name = pick(&FORMS, number + subject).replace("{}", &field);
    let description =
        format!("{name}, section {section}. Offered by the Department of {}.", department(code));
    let text = PropertyValue::Text;
    let properties = [
        ("hs_course_name", text(name)),
        ("hs_course_id", text(format!("{code} {number}"))),
        ("hs_course_description", text(description)),
        ("hs_enrollment_capacity", PropertyValue::Number((rng.u32(2..=30) * 5).into())),
        ("credits", PropertyValue::Number(rng.u32(1..=6).into())),
        ("starts_on", text(format!("2027-0{}-{:02}", rng.u8(1..=3), rng.u8(1..=28)))),
        ("online", PropertyValue::Bool(rng.bool())),
    ];
    let properties = properties.into_iter().map(|(name, value)| (name.to_owned(), value)).collect();
    Draft { key: format!("{code}-{number}-{section:02}"), properties }
}

fn department(code: &str) -> &'static str {
    SUBJECTS.iter().find(|(known, _)| *known == code).map_or("", |(_, field)| field)
}

fn pick<T: Copy + Default>(list: &[T], at: usize) -> T {
    list.get(at % list.len().max(1)).copied().unwrap_or_default()
}

impl Draft {
    fn text(&self, name: &str) -> &str {
        match self.properties.get(name) {
            Some(PropertyValue::Text(text)) => text,
            _ => "",
        }
    }

    fn set_text(&mut self, name: &str, value: &str) {
        self.properties.insert(name.to_owned(), PropertyValue::Text(value.to_owned()));
    }

    fn with_flaw(mut self, flaw: Option<Flaw>) -> Self {
        match flaw {
            None => {}
            Some(Flaw::UnknownProperty) => self.set_text("room_nr", "B 12"),
            Some(Flaw::NotANumber) => self.set_text("hs_enrollment_capacity", "about thirty"),
            Some(Flaw::NoSuchOption) => self.set_text("online", "on Fridays"),
            Some(Flaw::NoName) => {
                self.properties.remove("hs_course_name");
            }
        }
        self
    }

    fn into_course(self) -> Option<NewCourse> {
        let key = CourseKey::parse(self.key).ok()?;
        let properties: Properties = self.properties.into_iter().collect();
        Some(NewCourse { key, properties, associations: None, archived: None })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn keys_are_unique_and_the_seed_determines_the_courses() {
        let (one, same, other) = (generate(9_000, 1), generate(9_000, 1), generate(9_000, 2));
        let keys: HashSet<_> = one.courses.iter().map(|course| course.key.clone()).collect();
        assert_eq!(keys.len(), 9_000);
        assert_eq!(one.courses, same.courses);
        assert_ne!(one.courses, other.courses);
    }

    fn is_flawed(course: &NewCourse) -> bool {
        let properties = &course.properties;
        properties.get("room_nr").is_some()
            || properties.get("hs_enrollment_capacity").as_deref() == Some("about thirty")
            || properties.get("online").as_deref() == Some("on Fridays")
            || properties.get("hs_course_name").is_none()
    }

    #[test]
    fn small_catalogue_has_every_flaw_and_preexisting_courses_have_none() {
        let catalogue = generate(100, 7);
        let flawed = catalogue.courses.iter().filter(|course| is_flawed(course));
        let flawed: HashSet<_> = flawed.map(|course| course.key.as_str()).collect();
        assert_eq!(flawed.len(), FLAWS.len());
        assert_eq!(catalogue.preexisting.len(), 2);
        for record in &catalogue.preexisting {
            assert!(!flawed.contains(record[UNIQUE_PROPERTY].as_str()), "{record:?}");
            assert!(!record["hs_course_name"].is_empty());
        }
    }
}
