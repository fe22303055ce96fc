//! A made-up university and its courses, the same for the same seed. Pure.
//!
//! Most are as they should be. Some have one flaw each that HubSpot refuses, and a few were made in
//! HubSpot already, by another system, under the same key.

mod words;

use std::collections::BTreeMap;

use crate::course::{Associations, CourseKey, Properties, PropertyValue};
use crate::outbox::enqueue::NewCourse;
use words::{FORMS, SUBJECTS, TOPICS};

/// Whose courses they are.
pub(super) const UNIVERSITY: &str = "Larkspur Bay University";
/// The HubSpot property that carries the course's key.
pub(super) const UNIQUE_PROPERTY: &str = "course_key";
/// Sections of one course: the same name, a key each.
const SECTIONS: usize = 4;
/// Of so many courses one is flawed, for each kind of flaw.
const ONE_FLAWED_OF: usize = 1_000;
/// Of so many courses one exists in HubSpot already.
const ONE_MADE_ELSEWHERE_OF: usize = 5_000;

/// What the university offers.
#[derive(Debug)]
pub(super) struct Catalogue {
    /// For the outbox, in order.
    pub courses: Vec<NewCourse>,
    /// Properties of the records that another system made.
    pub made_elsewhere: Vec<BTreeMap<String, String>>,
}

/// What HubSpot will refuse about a course.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    UnknownProperty,
    NotANumber,
    NoSuchOption,
    NoName,
}

const FLAWS: [Flaw; 4] = [Flaw::UnknownProperty, Flaw::NotANumber, Flaw::NoSuchOption, Flaw::NoName];

/// `count` courses with a key each, up to about a hundred thousand.
pub(super) fn generate(count: usize, seed: u64) -> Catalogue {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut order: Vec<usize> = (0..count).collect();
    rng.shuffle(&mut order);
    let mut picked = order.into_iter();
    let flawed: BTreeMap<usize, Flaw> = FLAWS
        .iter()
        .cycle()
        .take(FLAWS.len() * (count / ONE_FLAWED_OF).max(1))
        .zip(picked.by_ref())
        .map(|(flaw, at)| (at, *flaw))
        .collect();
    let elsewhere: Vec<usize> = picked.take((count / ONE_MADE_ELSEWHERE_OF).max(2)).collect();

    let drafts: Vec<Draft> = (0..count).map(|at| draft(at, &mut rng)).collect();
    let record = |draft: &Draft| {
        let name = draft.text("hs_course_name").to_owned();
        [(UNIQUE_PROPERTY, draft.key.clone()), ("hs_course_name", name)]
            .map(|(name, value)| (name.to_owned(), value))
            .into()
    };
    let made_elsewhere = elsewhere.iter().filter_map(|at| drafts.get(*at)).map(record).collect();
    let courses = drafts
        .into_iter()
        .enumerate()
        .filter_map(|(at, draft)| draft.with(flawed.get(&at).copied()).finish())
        .collect();
    Catalogue { courses, made_elsewhere }
}

struct Draft {
    key: String,
    properties: BTreeMap<String, PropertyValue>,
}

fn draft(at: usize, rng: &mut fastrand::Rng) -> Draft {
    let (subject, nth) = (at % SUBJECTS.len(), at / SUBJECTS.len());
    let (number, section) = (100 + nth / SECTIONS, 1 + nth % SECTIONS);
    let (code, field) = pick(&SUBJECTS, subject);
    let field = format!("{} {field}", pick(&TOPICS, number / FORMS.len() + subject));
    let name = pick(&FORMS, number + subject).replace("{}", &field);
    let description = format!("{name}, section {section}. Offered by the Department of {}.", field_of(code));
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

fn field_of(code: &str) -> &'static str {
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

    fn with(mut self, flaw: Option<Flaw>) -> Self {
        let mut set = |name: &str, value: &str| {
            self.properties.insert(name.to_owned(), PropertyValue::Text(value.to_owned()));
        };
        match flaw {
            None => {}
            Some(Flaw::UnknownProperty) => set("room_nr", "B 12"),
            Some(Flaw::NotANumber) => set("hs_enrollment_capacity", "about thirty"),
            Some(Flaw::NoSuchOption) => set("online", "on Fridays"),
            Some(Flaw::NoName) => {
                self.properties.remove("hs_course_name");
            }
        }
        self
    }

    fn finish(self) -> Option<NewCourse> {
        let key = CourseKey::parse(self.key).ok()?;
        let properties: Properties = self.properties.into_iter().collect();
        Some(NewCourse { key, properties, associations: Associations::default() })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_course_has_a_key_of_its_own_and_the_seed_decides_the_rest() {
        let (one, same, other) = (generate(9_000, 1), generate(9_000, 1), generate(9_000, 2));
        let keys: HashSet<_> = one.courses.iter().map(|course| course.key.clone()).collect();
        assert_eq!(keys.len(), 9_000);
        assert_eq!(one.courses, same.courses);
        assert_ne!(one.courses, other.courses);
    }

    #[test]
    fn a_small_catalogue_has_every_flaw_and_what_exists_elsewhere_is_good() {
        let catalogue = generate(100, 7);
        let flawed = |course: &&NewCourse| {
            let properties = &course.properties;
            properties.get("room_nr").is_some()
                || properties.get("hs_enrollment_capacity").as_deref() == Some("about thirty")
                || properties.get("online").as_deref() == Some("on Fridays")
                || properties.get("hs_course_name").is_none()
        };
        let flawed: HashSet<_> =
            catalogue.courses.iter().filter(flawed).map(|course| course.key.as_str()).collect();
        assert_eq!(flawed.len(), FLAWS.len());
        assert_eq!(catalogue.made_elsewhere.len(), 2);
        for record in &catalogue.made_elsewhere {
            assert!(!flawed.contains(record[UNIQUE_PROPERTY].as_str()), "{record:?}");
            assert!(!record["hs_course_name"].is_empty());
        }
    }
}
