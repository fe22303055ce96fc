//! Trouble with the database, told once for all that suffers from it: in the log, and for `/readyz`.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use crate::outbox::OutboxError;
use crate::policy::spell::{Spell, Word};

/// What the daemon does with the database again and again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Work {
    /// Bringing the schema up to date, at the start.
    Prepare,
    /// Taking and keeping the lease.
    Lead,
    /// Claiming courses.
    Claim,
    /// Recording answers.
    Record,
    /// Asking whether a person paused.
    HearOperator,
    /// Noting that the account's day is used up, or no longer.
    NoteDay,
    /// Settling doubts.
    Settle,
    /// Reading the account's properties, and letting failed courses go again by them.
    Properties,
    /// Taking a claim back whose answer was lost.
    TakeBack,
    /// Listening for new courses.
    Listen,
}

impl Work {
    /// What its failure means, for a person.
    fn consequence(self) -> &'static str {
        match self {
            Self::Prepare => "the daemon waits for it",
            Self::Lead => "the lease could not be renewed; once it runs out, nothing new is sent",
            Self::Claim => "claiming nothing for now",
            Self::Record => "an answer could not be recorded; it is kept and recorded later",
            Self::HearOperator => "nobody can tell whether a person paused",
            Self::NoteDay => "the pause of a used-up day is not noted yet",
            Self::Settle => "doubts are not settled for now",
            Self::Properties => "courses are not checked against the account's properties for now",
            Self::TakeBack => "a claim may have to be taken back",
            Self::Listen => "not listening for new courses; polling meanwhile",
        }
    }

    /// Whether without it the daemon cannot do its work.
    fn is_vital(self) -> bool {
        !matches!(self, Self::NoteDay | Self::Properties | Self::TakeBack | Self::Listen)
    }
}

/// The state of the database, as those who use it find it.
#[derive(Debug, Default)]
pub struct Trouble(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    spell: Spell<Work>,
    last_error: String,
}

impl Trouble {
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A work failed; it will be tried again.
    pub fn failed(&self, work: Work, error: &OutboxError) {
        let (news, suffering) = {
            let mut state = self.state();
            state.last_error = error.to_string();
            let news = state.spell.failed(work, Instant::now());
            (news, state.spell.failing().map(Work::consequence).collect::<Vec<_>>())
        };
        match news {
            Some(Word::Lasts(lasts)) => {
                let suffering = suffering.join(" | ");
                tracing::warn!(%error, lasts_seconds = lasts.as_secs(), suffering, "the database is still in trouble");
            }
            Some(Word::Began | Word::Ended(_)) => {
                tracing::warn!(%error, consequence = work.consequence(), "the database is in trouble");
            }
            None => {
                tracing::debug!(%error, consequence = work.consequence(), "the database is in trouble");
            }
        }
    }

    /// A work went well, or is nobody's concern any more.
    pub fn is_well(&self, work: Work) {
        let news = self.state().spell.is_well(work, Instant::now());
        if let Some(Word::Ended(lasted)) = news {
            tracing::info!(lasted_seconds = lasted.as_secs_f64(), "the database is well again");
        }
    }

    /// What only a leader does is not done here any more.
    pub(super) fn is_not_leading(&self) {
        for work in [Work::Claim, Work::HearOperator, Work::Settle, Work::Properties] {
            self.is_well(work);
        }
    }

    /// Why the daemon cannot do its work, in the database's own words.
    #[must_use]
    pub fn reason(&self) -> Option<String> {
        let state = self.state();
        state.spell.failing().any(Work::is_vital).then(|| state.last_error.clone())
    }
}
