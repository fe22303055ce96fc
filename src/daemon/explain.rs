//! The life of one course, explained: read from the database alone, so that any instance, and none, can tell it.

use jiff::Timestamp;
use serde_json::Value;

use super::{Settings, status};
use crate::config::Unconfirmed;
use crate::course::Status;
use crate::outbox::{OutboxError, Reach, history, pause, report};
use crate::policy::explain::{Doubts, Explanation, Situation, Standstill, explain};

impl Settings {
    /// What this configuration does with a course whose outcome is unknown.
    #[must_use]
    pub fn doubts(&self) -> Doubts {
        match (&self.unique_property, self.unconfirmed) {
            (Some(unique), _) => Doubts::LookedUp { by: unique.clone() },
            (None, Unconfirmed::Hold) => Doubts::Held,
            (None, Unconfirmed::Resend) => Doubts::SentAgain { up_to: self.retry.max_attempts },
        }
    }
}

/// Explains the course with this key; `None`: there is none. `doubts` is what [`Settings::doubts`] says.
pub async fn read(
    database: impl Into<Reach<'_>>,
    key: &str,
    doubts: Doubts,
) -> Result<Option<Explanation>, OutboxError> {
    let reach = database.into();
    let Some(life) = history::life(reach, key).await? else { return Ok(None) };
    let leader = report::leader(reach).await?.filter(|leader| leader.is_current);
    let durable = pause::active(reach).await?;
    let is_in_doubt = life.course.status == Status::Unconfirmed;
    let pauses = status::pauses(leader.as_ref(), &durable);
    // What pauses look-ups alone is of no matter to a course that is to be created.
    let concerns = |pause: &&Value| is_in_doubt || pause.get("operation").is_none();
    let pauses = pauses.iter().filter(concerns).filter_map(standstill).collect();
    let around = Situation { now: Timestamp::now(), is_led: leader.is_some(), pauses, doubts };
    Ok(Some(explain(life, &around)))
}

/// A pause as it is reported.
fn standstill(said: &Value) -> Option<Standstill> {
    let text = |name: &str| said.get(name)?.as_str().map(str::to_owned);
    Some(Standstill { reason: text("reason")?, message: text("message").unwrap_or_default() })
}
