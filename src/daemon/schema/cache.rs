//! The lists of the account's properties, how old they are, and which failed courses they were held against.
//! No I/O: times are arguments.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;

use super::News;
use crate::policy::batch::{Batch, Claimed, Unfit};
use crate::policy::schema::{Ending, Listing, Schema, Sensitivity, refusal};

/// A list read within this time before a claim counts as read after it.
const FRESH: Duration = Duration::from_secs(2);
/// How long the lists of sensitive properties serve; and how often the ordinary one is read while courses come.
const SERVES: Duration = Duration::from_mins(10);
/// A list that could not be read is not tried again before.
const AGAIN: Duration = Duration::from_mins(1);
/// How many poll intervals apart the properties are read while a course waits for them to change: at first, and
/// at most `SERVES`.
const WATCH: u32 = 60;

/// One list.
#[derive(Debug, Default)]
struct Slot {
    known: Option<(Listing, Instant)>,
    not_before: Option<Instant>,
}

/// Failed courses that wait for a change.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Waiting {
    #[default]
    Nobody,
    Some,
    /// Some failed since the last look through the failed ones began, which may have missed them.
    SomeNewly,
}

/// What is known.
#[derive(Debug, Default)]
pub(super) struct Cache {
    slots: BTreeMap<Sensitivity, Slot>,
    schema: Arc<Schema>,
    /// Grows whenever the lists change.
    version: u64,
    /// Failed courses are to be looked through.
    wants_sweep: bool,
    waiting: Waiting,
    /// How many times in a row nothing had changed.
    unchanged: u32,
    /// A batch was judged since the ordinary list was read.
    is_used: bool,
    /// Whether it was told last that the lists can be read.
    told: Option<bool>,
}

/// What is known of a batch.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Judgement {
    /// Nothing speaks against it for certain.
    Fine,
    /// This list is to be read first.
    Read(Sensitivity),
    /// HubSpot would refuse these.
    Refused {
        /// The courses, each with the reason.
        courses: Vec<Unfit>,
        /// By which version of the lists.
        version: u64,
    },
}

impl Cache {
    /// Judges a batch that was claimed at `claimed`.
    pub(super) fn judge(
        &mut self,
        batch: &Batch,
        unique: Option<&str>,
        claimed: Instant,
        now: Instant,
        clock: Timestamp,
    ) -> Judgement {
        self.is_used = true;
        if self.read_at(Sensitivity::None).is_none() {
            return self.read_or_pass(Sensitivity::None, now);
        }
        // What HubSpot may hold from an earlier sending is not for us to fail.
        let courses = || batch.courses().iter().filter(|course| course.doubts == 0);
        if courses().any(|course| self.schema.misses_any(&course.properties, unique)) {
            let others = [Sensitivity::Sensitive, Sensitivity::HighlySensitive];
            let is_old =
                |which: &Sensitivity| !self.is_within(*which, now, SERVES) && self.may_read(*which, now);
            if let Some(which) = others.into_iter().find(is_old) {
                return Judgement::Read(which);
            }
        }
        let objections = |course: &Claimed| self.schema.objections(&course.properties, unique);
        let refused: Vec<_> = courses()
            .filter_map(|course| Some(Unfit::of(course, refusal(&objections(course), clock)?)))
            .collect();
        let is_fresh = self.read_at(Sensitivity::None).is_some_and(|at| at >= claimed)
            || self.is_within(Sensitivity::None, now, FRESH);
        match refused {
            refused if refused.is_empty() => Judgement::Fine,
            courses if is_fresh => Judgement::Refused { courses, version: self.version },
            _ => self.read_or_pass(Sensitivity::None, now),
        }
    }

    /// Where the list cannot be read, HubSpot judges.
    fn read_or_pass(&self, which: Sensitivity, now: Instant) -> Judgement {
        if self.may_read(which, now) { Judgement::Read(which) } else { Judgement::Fine }
    }

    fn read_at(&self, which: Sensitivity) -> Option<Instant> {
        self.slots.get(&which)?.known.as_ref().map(|(_, at)| *at)
    }

    fn is_within(&self, which: Sensitivity, now: Instant, time: Duration) -> bool {
        self.read_at(which).is_some_and(|at| now.saturating_duration_since(at) <= time)
    }

    fn may_read(&self, which: Sensitivity, now: Instant) -> bool {
        self.slots.get(&which).and_then(|slot| slot.not_before).is_none_or(|not_before| not_before <= now)
    }

    /// Takes in the answer to a question that was asked at `asked`. What is worth telling comes back.
    pub(super) fn heard(
        &mut self,
        which: Sensitivity,
        ending: Ending<Listing>,
        asked: Instant,
    ) -> Option<News> {
        let (known, wait, why) = match ending {
            Ending::Told(listing) => (Some(listing), None, None),
            Ending::Denied(why, _) | Ending::Refused(why) => (None, Some(SERVES), Some(why)),
            Ending::Away(why) => (None, Some(AGAIN), Some(why)),
            // The pause that it makes is the wait.
            Ending::Stop(_) => return None,
        };
        let slot = self.slots.entry(which).or_default();
        slot.not_before = wait.map(|wait| asked + wait);
        match known {
            Some(listing) => slot.known = Some((listing, asked)),
            // An old ordinary list refuses nobody, and an old list of the others must not.
            None if which != Sensitivity::None => slot.known = None,
            None => {}
        }
        let is_changed = self.rebuild();
        if which != Sensitivity::None {
            return None;
        }
        self.is_used = false;
        self.unchanged = if is_changed { 0 } else { self.unchanged.saturating_add(1) };
        let is_known = why.is_none();
        let is_news = self.told.replace(is_known) != Some(is_known);
        is_news.then(|| why.map_or(News::Known, News::Unknown))
    }

    /// Makes the schema of the lists there are. True where it is another one.
    fn rebuild(&mut self) -> bool {
        let listing = |which: Sensitivity| {
            self.slots.get(&which).and_then(|slot| slot.known.as_ref()).map(|(listing, _)| listing.clone())
        };
        let Some(ordinary) = listing(Sensitivity::None) else { return false };
        let schema =
            Schema::of(ordinary, listing(Sensitivity::Sensitive), listing(Sensitivity::HighlySensitive));
        let is_changed = self.version == 0 || *self.schema != schema;
        if is_changed {
            self.schema = Arc::new(schema);
            self.version += 1;
            self.wants_sweep = true;
        }
        is_changed
    }

    /// Courses that were refused by this version are recorded as failed now.
    pub(super) fn refused(&mut self, version: u64) {
        self.waiting = Waiting::SomeNewly;
        self.unchanged = 0;
        if version != self.version {
            // They were not there yet when the failed ones were looked through.
            self.wants_sweep = true;
        }
    }

    /// The list that is to be read without anybody asking: seldom while nothing depends on it.
    pub(super) fn due(&self, now: Instant, poll_interval: Duration) -> Option<Sensitivity> {
        let is_awaited = self.waiting != Waiting::Nobody;
        let wait = if is_awaited {
            (poll_interval * WATCH * 2_u32.saturating_pow(self.unchanged.min(10))).min(SERVES)
        } else {
            SERVES
        };
        Sensitivity::ALL
            .into_iter()
            .filter(|_| is_awaited || self.is_used)
            .filter(|which| *which == Sensitivity::None || self.read_at(*which).is_some())
            .find(|which| {
                let time = if *which == Sensitivity::None { wait } else { SERVES };
                !self.is_within(*which, now, time) && self.may_read(*which, now)
            })
    }

    /// What is known of the properties; `None`: nothing yet.
    pub(super) fn schema(&self) -> Option<Arc<Schema>> {
        (self.version > 0).then(|| Arc::clone(&self.schema))
    }

    /// A term begins: earlier leaders may have failed courses by properties that have changed since.
    pub(super) fn lead(&mut self) {
        self.wants_sweep = true;
    }

    /// Whether failed courses are to be looked through, by whoever asks.
    pub(super) fn take_sweep(&mut self) -> bool {
        let is_wanted = std::mem::take(&mut self.wants_sweep);
        if is_wanted && self.waiting == Waiting::SomeNewly {
            self.waiting = Waiting::Some;
        }
        is_wanted
    }

    /// It did not come to its end.
    pub(super) fn sweep_again(&mut self) {
        self.wants_sweep = true;
    }

    /// They were looked through, and some are left or not.
    pub(super) fn swept(&mut self, is_any_left: bool) {
        self.waiting = match self.waiting {
            Waiting::SomeNewly => Waiting::SomeNewly,
            Waiting::Nobody | Waiting::Some if is_any_left => Waiting::Some,
            Waiting::Nobody | Waiting::Some => Waiting::Nobody,
        };
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;
    use uuid::Uuid;

    use super::*;
    use crate::policy::batch::tests::claimed;
    use crate::policy::schema::Definitions;

    const SECOND: Duration = Duration::from_secs(1);
    const POLL: Duration = Duration::from_secs(1);

    fn listing(names: &[&str]) -> Ending<Listing> {
        let definitions: Vec<_> =
            names.iter().map(|name| json!({ "name": name, "type": "number" })).collect();
        let definitions: Definitions = serde_json::from_value(json!({ "results": definitions })).unwrap();
        Ending::Told(definitions.listing())
    }

    fn batch(properties: &str) -> Batch {
        Batch::assemble(Uuid::nil(), vec![claimed(1, "A", properties)], None, Timestamp::UNIX_EPOCH).0
    }

    /// Judges a batch that was claimed at this instant.
    fn judge(cache: &mut Cache, batch: &Batch, now: Instant) -> Judgement {
        cache.judge(batch, None, now, now, Timestamp::UNIX_EPOCH)
    }

    fn known(at: Instant) -> Cache {
        let mut cache = Cache::default();
        cache.heard(Sensitivity::None, listing(&["hs_course_name", "capacity"]), at);
        cache
    }

    #[test]
    fn a_course_fails_only_by_a_list_read_after_its_claim_or_just_before() {
        let (bad, start) = (batch(r#"{"capacity":"many"}"#), Instant::now());
        let mut cache = Cache::default();
        assert_eq!(judge(&mut cache, &bad, start), Judgement::Read(Sensitivity::None));
        let mut cache = known(start);
        assert!(matches!(judge(&mut cache, &bad, start + FRESH), Judgement::Refused { version: 1, .. }));
        let late = start + FRESH + SECOND;
        assert_eq!(judge(&mut cache, &bad, late), Judgement::Read(Sensitivity::None));
        cache.heard(Sensitivity::None, listing(&["hs_course_name", "capacity"]), late);
        // However long the rest took: the list is younger than the claim.
        let judged = cache.judge(&bad, None, late, late + 60 * SECOND, Timestamp::UNIX_EPOCH);
        assert!(matches!(judged, Judgement::Refused { version: 1, .. }), "nothing has changed: {judged:?}");
        assert_eq!(judge(&mut cache, &batch(r#"{"capacity":3}"#), late + 600 * SECOND), Judgement::Fine);
    }

    #[test]
    fn a_name_is_missed_only_when_the_lists_of_sensitive_properties_lack_it_too() {
        let (bad, start) = (batch(r#"{"passport":"x"}"#), Instant::now());
        let mut cache = known(start);
        for which in [Sensitivity::Sensitive, Sensitivity::HighlySensitive] {
            assert_eq!(judge(&mut cache, &bad, start), Judgement::Read(which));
            cache.heard(which, listing(&[]), start);
        }
        assert!(matches!(judge(&mut cache, &bad, start), Judgement::Refused { .. }));
        cache.heard(Sensitivity::Sensitive, listing(&["passport"]), start);
        assert_eq!(judge(&mut cache, &bad, start), Judgement::Fine);
        cache.heard(Sensitivity::Sensitive, Ending::Refused("no such list".into()), start);
        assert_eq!(judge(&mut cache, &bad, start), Judgement::Fine, "what is not known refuses nobody");
    }

    #[test]
    fn what_may_be_in_hubspot_already_is_left_to_it() {
        let start = Instant::now();
        let mut course = claimed(1, "A", r#"{"capacity":"many"}"#);
        course.doubts = 1;
        let (batch, _) = Batch::assemble(Uuid::nil(), vec![course], None, Timestamp::UNIX_EPOCH);
        assert_eq!(judge(&mut known(start), &batch, start), Judgement::Fine);
    }

    #[test]
    fn lists_that_cannot_be_read_are_told_once_and_hold_nothing_up() {
        let (bad, start) = (batch(r#"{"capacity":"many"}"#), Instant::now());
        let mut cache = Cache::default();
        let denied = || Ending::Denied("no scope".into(), Vec::new());
        assert_eq!(cache.heard(Sensitivity::None, denied(), start), Some(News::Unknown("no scope".into())));
        assert_eq!(judge(&mut cache, &bad, start), Judgement::Fine);
        assert_eq!(judge(&mut cache, &bad, start + SERVES), Judgement::Read(Sensitivity::None));
        assert_eq!(cache.heard(Sensitivity::None, denied(), start), None);
        let told = listing(&["hs_course_name"]);
        assert_eq!(cache.heard(Sensitivity::None, told, start), Some(News::Known));
    }

    #[test]
    fn the_list_is_read_unasked_only_while_there_is_reason_to() {
        let start = Instant::now();
        let mut cache = known(start);
        let far = start + 60 * SERVES;
        assert_eq!(cache.due(far, POLL), None, "nobody has asked since");
        judge(&mut cache, &batch("{}"), start);
        assert_eq!(cache.due(start + SERVES, POLL), None);
        assert_eq!(cache.due(start + SERVES + SECOND, POLL), Some(Sensitivity::None));
        // A course waits for a change: soon at first, then ever less often.
        cache.refused(1);
        let waits = [60, 120, 240, 480, 600, 600];
        let mut now = start;
        for seconds in waits {
            assert_eq!(cache.due(now + seconds * SECOND, POLL), None);
            now += (seconds + 1) * SECOND;
            assert_eq!(cache.due(now, POLL), Some(Sensitivity::None));
            cache.heard(Sensitivity::None, listing(&["hs_course_name", "capacity"]), now);
        }
    }

    #[test]
    fn failed_courses_are_looked_through_after_each_change_and_after_a_late_record() {
        let start = Instant::now();
        let mut cache = known(start);
        assert!(cache.take_sweep() && !cache.take_sweep());
        cache.heard(Sensitivity::None, listing(&["hs_course_name", "capacity"]), start);
        assert!(!cache.take_sweep(), "nothing has changed");
        cache.heard(Sensitivity::None, listing(&["hs_course_name", "credits"]), start);
        assert!(cache.take_sweep());
        cache.refused(2);
        assert!(!cache.take_sweep(), "they failed by the lists as they are");
        cache.refused(1);
        assert!(cache.take_sweep(), "they failed by older lists, after the look");
        cache.refused(2);
        cache.swept(false);
        let later = start + SERVES;
        assert_eq!(
            cache.due(later, POLL),
            Some(Sensitivity::None),
            "one came while they were looked through"
        );
        assert!(!cache.take_sweep());
        cache.heard(Sensitivity::None, listing(&["hs_course_name"]), later);
        assert!(cache.take_sweep());
        cache.swept(false);
        assert_eq!(cache.due(later + 60 * SERVES, POLL), None, "none is left");
    }
}
