//! `audit`: compares what HubSpot holds with what the outbox says, in two passes of bounded memory.
//!
//! The first pass walks the rows and reads their records by id, a hundred at a time: this is the truth about our own records.
//! The second one walks HubSpot's list of courses, and finds records that have a key and belong to no row. A list alone proves
//! nothing about a record that it does not show: it may be archived, merged, or created meanwhile under a lower id.

mod drift;
mod report;

use std::collections::BTreeSet;
use std::io::IsTerminal as _;
use std::time::{Duration, Instant};

use indicatif::ProgressBar;
use jiff::Timestamp;

use self::drift::{Drift, RecordOrigin, compare, origin};
use self::report::{AuditTotals, Finding, Position};
use super::connections::open_database;
use super::interruption::interrupted;
use super::outcome::CommandOutcome;
use super::output::{describe_error, print_progress, print_result, spinner};
use super::paced_client::{PacedClient, RecordWalk, Share};
use crate::config::Config;
use crate::course::{HubSpotId, InstanceId, MAX_COURSES, Properties, RowId};
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::response::CourseRecord;
use crate::outbox::ops::drift::{self as rows, Repair, SettledRow};
use crate::outbox::{Database, audits};
use crate::pipeline::reconcile::record_meaning::{MERGED_IDS, RecordFinding};
use crate::policy::drift::{AuditResult, DriftClass};

/// Compare what HubSpot holds with what the outbox says
///
/// Reads the record of every course that is synced or archived, and then lists HubSpot's courses to find records that have a
/// course key and belong to no course. Prints each difference, and a summary. The exit code is 1 if anything differs. Courses
/// that are pending, in flight, unconfirmed or failed are not compared.
///
/// It needs about two requests for each hundred courses. It reserves a tenth of the quota, which the daemon leaves free. The
/// result is stored: `status` and the daemon's metrics show it. An interrupted audit prints where it stopped; --from continues
/// there.
#[derive(Debug, clap::Args)]
pub(super) struct AuditArgs {
    /// Put courses whose values were edited back to pending, so that the daemon updates their records. Courses whose record is
    /// lost become failed, for `course-sync resolve`. No record is created, and records without the course's key are not touched
    #[arg(long)]
    repair: bool,
    /// Continue where an interrupted audit stopped
    #[arg(long, value_name = "POSITION", default_value_t)]
    from: Position,
    /// The part of the quota that this command reserves; a daemon leaves it free
    #[arg(long, value_name = "PERCENT", default_value = "10%", value_parser = Share::parse)]
    share: Share,
    /// Print one line of JSON for each difference, and one for the summary
    #[arg(long)]
    json: bool,
}

/// How often the position is printed where no progress is shown.
const POSITION_INTERVAL: Duration = Duration::from_mins(1);
/// Records without a row are collected up to this number, because looking for the rows that name them scans the table.
const MAX_CANDIDATES: usize = 2_000;

pub(super) async fn run(args: &AuditArgs, config: &Config) -> anyhow::Result<CommandOutcome> {
    let database = open_database(config).await?;
    let client = PacedClient::new(config, args.share, &database, InstanceId(uuid::Uuid::new_v4()))?;
    let started_at = Timestamp::now();
    let mut audit = Audit {
        args,
        unique: config.hubspot.unique_property.as_deref(),
        settle_seconds: config.outbox.settle.as_secs_f64(),
        database: &database,
        client: &client,
        position: args.from.clone(),
        totals: AuditTotals::default(),
        totals_at_position: AuditTotals::default(),
        progress: spinner("{spinner} {msg}"),
        printed_at: Instant::now(),
    };
    let result = tokio::select! {
        result = audit.run() => result.map(|()| None),
        signal = interrupted() => signal.map(|signal| Some(CommandOutcome::Interrupted(signal))),
    };
    audit.progress.finish_and_clear();
    let is_complete = matches!(result, Ok(None));
    audit.totals.requests = client.requests();
    client.release().await;
    let stopped_at = (!is_complete).then(|| audit.position.to_string());
    // What lies after the position is audited again when the audit is continued.
    let recorded = if is_complete { &audit.totals } else { &audit.totals_at_position };
    record_result(&database, args, started_at, stopped_at, recorded).await;
    print_result(&audit.totals.format(args.json, is_complete, config.outbox.retention.is_some())?)?;
    if !is_complete {
        print_progress(&format!("not complete: continue with `course-sync audit --from {}`", audit.position));
    }
    Ok(match result? {
        Some(interrupted) => interrupted,
        None if audit.totals.has_differences() => CommandOutcome::Failure,
        None => CommandOutcome::Success,
    })
}

/// Records the result for the metrics and `status`. An audit that continues the last one is one audit with it.
async fn record_result(
    database: &Database,
    args: &AuditArgs,
    started_at: Timestamp,
    stopped_at: Option<String>,
    totals: &AuditTotals,
) {
    let is_from_start = args.from == Position::default();
    let result = AuditResult {
        started_at,
        is_complete: is_from_start && stopped_at.is_none(),
        stopped_at,
        courses: totals.rows,
        records: totals.records,
        differences: totals.differences.clone(),
        repaired: totals.repaired.clone(),
    };
    let recorded = async {
        let first = if is_from_start { None } else { audits::read_stopped_audit(database).await? };
        let from = args.from.to_string();
        let result = match first.filter(|first| first.stopped_at.as_deref() == Some(from.as_str())) {
            Some(first) => result.continuing(&first),
            None => result,
        };
        audits::record_audit(database, &result).await
    };
    if let Err(error) = recorded.await {
        let error = describe_error(&anyhow::Error::from(error));
        print_progress(&format!(
            "course-sync: warning: the result is not recorded, so metrics and status do not show it: {error}"
        ));
    }
}

/// An audit under way.
struct Audit<'a> {
    args: &'a AuditArgs,
    unique: Option<&'a str>,
    settle_seconds: f64,
    database: &'a Database,
    client: &'a PacedClient,
    /// Everything before it is audited.
    position: Position,
    totals: AuditTotals,
    /// What was counted before the position.
    totals_at_position: AuditTotals,
    progress: ProgressBar,
    printed_at: Instant,
}

/// A record whose key no row has.
struct UnclaimedRecord {
    id: HubSpotId,
    key: String,
}

impl Audit<'_> {
    async fn run(&mut self) -> anyhow::Result<()> {
        if let Position::Rows(after) = self.position {
            self.audit_rows(after).await?;
            self.advance(Position::Records(None));
        }
        match self.unique {
            Some(unique) => self.audit_records(unique).await,
            // Without keys, every record that no row names may have been made by hand.
            None => Ok(()),
        }
    }

    async fn audit_rows(&mut self, mut after: RowId) -> anyhow::Result<()> {
        loop {
            let page =
                rows::read_settled_rows(self.database, after, MAX_COURSES, self.settle_seconds).await?;
            let Some(last) = page.last else { return Ok(()) };
            after = last;
            self.totals.rows += page.rows.len() as u64;
            let (settling, settled): (Vec<&SettledRow>, Vec<_>) =
                page.rows.iter().partition(|row| row.is_settling);
            self.totals.settling += settling.len() as u64;
            self.audit_page(&settled).await?;
            self.advance(Position::Rows(after));
            self.show_progress();
        }
    }

    async fn audit_page(&mut self, page: &[&SettledRow]) -> anyhow::Result<()> {
        let drifts = self.find_drifts(page).await?;
        if drifts.is_empty() {
            return Ok(());
        }
        // A row that was written meanwhile may have been sent meanwhile: then the difference proves nothing.
        let suspects: Vec<&SettledRow> = drifts.iter().map(|(row, _)| *row).collect();
        let unchanged = rows::read_unchanged_rows(self.database, &suspects).await?;
        let (drifts, changed): (Vec<_>, Vec<_>) =
            drifts.into_iter().partition(|(row, _)| unchanged.contains(&row.id));
        self.totals.settling += changed.len() as u64;
        let repaired = self.repair(&drifts).await?;
        for (row, drift) in &drifts {
            let repair = repaired.iter().find(|(id, _)| *id == row.id).map(|(_, status)| *status);
            self.report(&Finding::of_row(row, drift, repair))?;
        }
        Ok(())
    }

    /// Reads the records of these rows, and compares them.
    async fn find_drifts<'r>(&self, page: &[&'r SettledRow]) -> anyhow::Result<Vec<(&'r SettledRow, Drift)>> {
        if page.is_empty() {
            return Ok(Vec::new());
        }
        let mut names: BTreeSet<&str> = self.unique.into_iter().chain([MERGED_IDS]).collect();
        names.extend(page.iter().filter_map(|row| row.properties.as_ref()).flat_map(Properties::names));
        let names: Vec<&str> = names.into_iter().collect();
        let ids: Vec<&HubSpotId> = page.iter().map(|row| &row.hubspot_id).collect();
        let live = self.client.read_records(&ids, &names, RecordState::Live).await?;
        let mut archived = self.read_absent(page, &live).await?.into_iter();
        let mut drifts = Vec::new();
        for (row, live) in page.iter().zip(live) {
            let bin = if is_to_be_found(row, &live) { archived.next() } else { None };
            drifts.extend(compare(row, live, bin, self.unique).map(|drift| (*row, drift)));
        }
        Ok(drifts)
    }

    /// What the recycle bin shows of the records that should be live and are not, in the order of the rows.
    async fn read_absent(
        &self,
        page: &[&SettledRow],
        live: &[RecordFinding],
    ) -> anyhow::Result<Vec<RecordFinding>> {
        let absent = page.iter().zip(live).filter(|(row, live)| is_to_be_found(row, live));
        let ids: Vec<&HubSpotId> = absent.map(|(row, _)| &row.hubspot_id).collect();
        if ids.is_empty() {
            return Ok(Vec::new());
        }
        self.client.read_records(&ids, &[MERGED_IDS], RecordState::Archived).await
    }

    /// Repairs what can be repaired, if that is requested. Returns the new statuses of the rows.
    async fn repair(&self, drifts: &[(&SettledRow, Drift)]) -> anyhow::Result<Vec<(RowId, &'static str)>> {
        if !self.args.repair {
            return Ok(Vec::new());
        }
        let now = Timestamp::now();
        let repairs: Vec<(&SettledRow, Repair)> =
            drifts.iter().filter_map(|(row, drift)| Some((*row, drift.repair(row, now)?))).collect();
        if repairs.is_empty() {
            return Ok(Vec::new());
        }
        let done = rows::record_repairs(self.database, &repairs).await?;
        let status = |repair: &Repair| match repair {
            Repair::Update(_) | Repair::Archive => "pending",
            Repair::Fail(_) => "failed",
        };
        let repaired = repairs.iter().filter(|(row, _)| done.contains(&row.id));
        Ok(repaired.map(|(row, repair)| (row.id, status(repair))).collect())
    }

    /// Lists all records, and finds those that have a key and belong to no row.
    async fn audit_records(&mut self, unique: &str) -> anyhow::Result<()> {
        let after = match &self.position {
            Position::Records(after) => after.clone(),
            Position::Rows(_) => None,
        };
        let names = [unique, MERGED_IDS];
        let mut walk = RecordWalk::new(self.client, &names, after);
        let mut candidates = Vec::new();
        while let Some(page) = walk.next_page().await? {
            self.totals.records += page.results.len() as u64;
            let keyed: Vec<CourseRecord> =
                page.results.into_iter().flatten().filter(|record| has_value(record, unique)).collect();
            self.totals.keyed += keyed.len() as u64;
            self.audit_keyed(&keyed, unique, &mut candidates).await?;
            // The position advances only past records that are decided.
            if candidates.len() >= MAX_CANDIDATES {
                self.report_strangers(std::mem::take(&mut candidates)).await?;
            }
            if candidates.is_empty() {
                self.advance(Position::Records(walk.cursor().map(str::to_owned)));
            }
            self.show_progress();
        }
        self.report_strangers(candidates).await
    }

    async fn audit_keyed(
        &mut self,
        records: &[CourseRecord],
        unique: &str,
        candidates: &mut Vec<UnclaimedRecord>,
    ) -> anyhow::Result<()> {
        let keys: Vec<&str> = records.iter().filter_map(|record| value(record, unique)).collect();
        if keys.is_empty() {
            return Ok(());
        }
        let known = rows::read_keyed_rows(self.database, &keys).await?;
        for record in records {
            let (Some(id), Some(key)) = (record.consistent_id(), value(record, unique)) else { continue };
            let row = known.iter().find(|row| row.key == key);
            match origin(id.as_str(), value(record, MERGED_IDS), row) {
                RecordOrigin::Known => {}
                RecordOrigin::Drift(class) => {
                    let own = row.and_then(|row| row.hubspot_id.as_deref());
                    self.report(&Finding::of_record(&id, key, class, own))?;
                }
                RecordOrigin::NoRow => candidates.push(UnclaimedRecord { id, key: key.to_owned() }),
            }
        }
        Ok(())
    }

    /// Reports the records that no row names either.
    async fn report_strangers(&mut self, candidates: Vec<UnclaimedRecord>) -> anyhow::Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let ids: Vec<&str> = candidates.iter().map(|candidate| candidate.id.as_str()).collect();
        let named: BTreeSet<String> =
            rows::read_named_records(self.database, &ids).await?.into_iter().collect();
        for UnclaimedRecord { id, key } in candidates.iter().filter(|it| !named.contains(it.id.as_str())) {
            self.report(&Finding::of_record(id, key, DriftClass::Stranger, None))?;
        }
        Ok(())
    }

    /// Prints a difference, and counts it.
    fn report(&mut self, finding: &Finding<'_>) -> anyhow::Result<()> {
        self.totals.count(finding);
        let line = if self.args.json { serde_json::to_string(finding)? } else { finding.to_line() };
        self.progress.suspend(|| print_result(&line))?;
        Ok(())
    }

    fn advance(&mut self, position: Position) {
        self.position = position;
        self.totals_at_position = self.totals.clone();
    }

    fn show_progress(&mut self) {
        let (rows, records) = (self.totals.rows, self.totals.records);
        self.progress.set_message(format!("{rows} courses and {records} records audited"));
        self.progress.tick();
        if !std::io::stderr().is_terminal() && self.printed_at.elapsed() >= POSITION_INTERVAL {
            self.printed_at = Instant::now();
            print_progress(&format!(
                "{rows} courses and {records} records audited; --from {}",
                self.position
            ));
        }
    }
}

/// Whether the recycle bin must be read to find the record of this row.
fn is_to_be_found(row: &SettledRow, live: &RecordFinding) -> bool {
    !row.is_withdrawn && *live == RecordFinding::Absent
}

fn value<'r>(record: &'r CourseRecord, name: &str) -> Option<&'r str> {
    record.properties.get(name)?.as_deref()
}

fn has_value(record: &CourseRecord, name: &str) -> bool {
    value(record, name).is_some_and(|value| !value.is_empty())
}
