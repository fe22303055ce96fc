//! `adopt`: matches the courses that an account holds already to rows of the outbox, and gives them their keys.

mod apply;
mod lease;
mod matching;
mod report;

use std::num::NonZeroU64;

use anyhow::bail;

use self::apply::{Applied, Applier};
use self::lease::CommandLease;
use self::matching::{Fingerprints, MatchDecision, MatchRule, RecordEntry, RowEntry, RowState, decide};
use self::report::{AdoptReport, Counts};
use super::connections::open_database;
use super::interruption::interrupted;
use super::outcome::{CommandOutcome, UsageError};
use super::output::{print_as, print_progress, spinner};
use super::paced_client::{PacedClient, RecordWalk, Share};
use crate::config::Config;
use crate::course::{InstanceId, MAX_COURSES, RowId, Status};
use crate::hubspot::api::response::CourseRecord;
use crate::outbox::Database;
use crate::outbox::ops::adopt::{self, MatchableRow};

/// Match courses that HubSpot holds already to the outbox
///
/// For an account that is not empty, before the first `run`. Lists HubSpot's courses and compares them with the rows of the
/// outbox. A row and a record belong together if they have the same values, and no other row and no other record has these
/// values. Case, white space and the notation of numbers and dates do not matter. Everything else is left to an operator:
/// it is printed, and never guessed.
///
/// Without --apply nothing is changed. With --apply, course-sync writes the course key into `hubspot.unique_property` of the
/// matched records, reads them back, and gives the rows their records. Rows whose record differs are pending, and `run`
/// updates the record. No daemon may run meanwhile. An interrupted run is completed by running the command again.
#[derive(Debug, clap::Args)]
pub(super) struct AdoptArgs {
    /// HubSpot property whose value identifies a course, and the row's property if it has another name there; `course_key`
    /// is the row's key. Repeatable: then all of them must agree
    #[arg(long = "match", value_name = "PROPERTY[=PROPERTY]", required = true)]
    rules: Vec<MatchRule>,
    /// Write the keys to the matched records, and give the rows their records
    #[arg(long)]
    apply: bool,
    /// The part of the quota that this command reserves; a daemon leaves it free
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = Share::parse)]
    share: Share,
    /// The number of examples of each kind
    #[arg(long, value_name = "N", default_value_t = 10)]
    examples: usize,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(super) async fn run(args: &AdoptArgs, config: &Config) -> anyhow::Result<CommandOutcome> {
    let Some(unique) = config.hubspot.unique_property.as_deref() else {
        let message = "adopt needs hubspot.unique_property, the HubSpot property that holds the course key; `course-sync \
                       check --fix` creates it";
        return Err(UsageError(message.to_owned()).into());
    };
    let database = open_database(config).await?;
    let instance = InstanceId(uuid::Uuid::new_v4());
    let client = PacedClient::new(config, args.share, &database, instance)?;
    let mut lease = args.apply.then(|| CommandLease::new(&database, instance, config.outbox.lease));
    let command = Adopting { args, unique, database: &database, client: &client };
    let result = tokio::select! {
        result = command.run(&mut lease) => result,
        signal = interrupted() => {
            print_progress("interrupted: run the command again to complete it");
            signal.map(CommandOutcome::Interrupted)
        }
    };
    client.release().await;
    if let Some(lease) = lease {
        lease.release().await;
    }
    result
}

/// The command, and what it works with.
struct Adopting<'a> {
    args: &'a AdoptArgs,
    unique: &'a str,
    database: &'a Database,
    client: &'a PacedClient,
}

impl<'a> Adopting<'a> {
    async fn run(&self, lease: &mut Option<CommandLease<'a>>) -> anyhow::Result<CommandOutcome> {
        if let Some(lease) = lease {
            lease.renew().await?;
        }
        self.check_properties().await?;
        let prints = Fingerprints::new();
        let (records, unreadable) = self.read_records(&prints, lease).await?;
        // The rows are read after the records: what is enqueued meanwhile is seen.
        let rows = self.read_rows(&prints, lease).await?;
        let counts = Counts { records: records.len(), unreadable, rows: rows.len() };
        let decision = decide(&rows, records);
        drop(rows);
        let applied = match lease {
            Some(lease) => Some(self.apply(lease, &decision).await?),
            None => None,
        };
        let report = AdoptReport::read(self, counts, &decision, applied.as_ref()).await?;
        print_as(self.args.json, &report, AdoptReport::to_text)?;
        let has_refused = applied.is_some_and(|applied| !applied.refused.is_empty());
        Ok(if has_refused { CommandOutcome::Failure } else { CommandOutcome::Success })
    }

    /// HubSpot ignores unknown names in a list, so a misspelt one would match nothing.
    async fn check_properties(&self) -> anyhow::Result<()> {
        let account = self.client.properties().await?;
        let Some(unique) = account.property(self.unique) else {
            bail!(
                "the property {:?} (hubspot.unique_property) does not exist in HubSpot; `course-sync check --fix` creates it",
                self.unique
            );
        };
        if !unique.has_unique_value || unique.is_read_only {
            bail!(
                "the property {:?} (hubspot.unique_property) cannot hold the course keys: its values are {}; `course-sync \
                 check` shows what to do",
                self.unique,
                if unique.is_read_only { "read-only" } else { "not unique" }
            );
        }
        let unknown = self.args.rules.iter().find(|rule| account.property(&rule.hubspot).is_none());
        if let Some(rule) = unknown {
            let message = format!("HubSpot has no property {:?} of courses; check --match", rule.hubspot);
            return Err(UsageError(message).into());
        }
        Ok(())
    }

    /// Lists all records. Second, the number of those that could not be read.
    async fn read_records(
        &self,
        prints: &Fingerprints,
        lease: &mut Option<CommandLease<'a>>,
    ) -> anyhow::Result<(Vec<RecordEntry>, usize)> {
        let mut names = vec![self.unique];
        names.extend(self.args.rules.iter().map(|rule| rule.hubspot.as_str()));
        let mut walk = RecordWalk::new(self.client, &names, None);
        let progress = spinner("{spinner} {human_pos} courses of HubSpot listed");
        let (mut records, mut unreadable) = (Vec::new(), 0);
        while let Some(page) = walk.next_page().await? {
            for record in page.results {
                match record.as_ref().and_then(|record| self.record_entry(prints, record)) {
                    Some(entry) => records.push(entry),
                    None => unreadable += 1,
                }
                progress.inc(1);
            }
            if let Some(lease) = lease {
                lease.renew_if_due().await?;
            }
        }
        progress.finish_and_clear();
        Ok((records, unreadable))
    }

    /// `None` if the record has no readable id.
    fn record_entry(&self, prints: &Fingerprints, record: &CourseRecord) -> Option<RecordEntry> {
        let value = |name: &str| record.properties.get(name).and_then(Option::as_deref);
        Some(RecordEntry {
            id: record.consistent_id()?.as_str().parse().ok()?,
            key: value(self.unique).and_then(|key| prints.of_key(key)),
            value: prints.of_values(self.args.rules.iter().map(|rule| value(&rule.hubspot))),
        })
    }

    async fn read_rows(
        &self,
        prints: &Fingerprints,
        lease: &mut Option<CommandLease<'a>>,
    ) -> anyhow::Result<Vec<RowEntry>> {
        let names: Vec<Option<&str>> = self.args.rules.iter().map(|rule| rule.row.property()).collect();
        let progress = spinner("{spinner} {human_pos} rows of the outbox read");
        let (mut rows, mut after) = (Vec::new(), RowId(i64::MIN));
        loop {
            let (page, last) = adopt::read_matchable_rows(self.database, after, &names).await?;
            let Some(last) = last else { break };
            after = last;
            progress.inc(page.len() as u64);
            rows.extend(page.iter().map(|row| row_entry(prints, row)));
            if let Some(lease) = lease {
                lease.renew_if_due().await?;
            }
        }
        progress.finish_and_clear();
        Ok(rows)
    }

    async fn apply(&self, lease: &mut CommandLease<'a>, decision: &MatchDecision) -> anyhow::Result<Applied> {
        let mut applied = Applied::default();
        let mut step = Applier {
            database: self.database,
            client: self.client,
            lease,
            unique: self.unique,
            rules: &self.args.rules,
        };
        let progress = spinner("{spinner} {human_pos} matched courses processed");
        for pairs in decision.pairs.chunks(usize::from(MAX_COURSES)) {
            step.apply(pairs, &mut applied).await?;
            progress.inc(pairs.len() as u64);
        }
        progress.finish_and_clear();
        Ok(applied)
    }
}

fn row_entry(prints: &Fingerprints, row: &MatchableRow) -> RowEntry {
    RowEntry {
        id: row.id,
        key: prints.of_key(&row.key),
        value: prints.of_values(row.values.iter().map(Option::as_deref)),
        state: row_state(row),
    }
}

/// A record that the row names and that is no number is none of those listed: the row is linked, to a record that is unknown.
fn row_state(row: &MatchableRow) -> RowState {
    match (&row.hubspot_id, row.status) {
        (Some(id), _) => RowState::Linked(id.parse().ok().and_then(NonZeroU64::new)),
        (None, _) if row.is_archived => RowState::Withdrawn,
        (None, Status::Pending) if row.has_doubts => RowState::Unconfirmed,
        (None, Status::Pending) => RowState::Open,
        (None, Status::InFlight) => RowState::InFlight,
        (None, Status::Failed) => RowState::Failed,
        (None, Status::Unconfirmed | Status::Synced | Status::Archived) => RowState::Unconfirmed,
    }
}
