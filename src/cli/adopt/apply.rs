//! Gives rows the records that were matched to them, a hundred at a time: reads both again, writes the missing keys, reads
//! back, records. Each step can be repeated, so an interrupted run is completed by the next one.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::lease::CommandLease;
use super::matching::{MatchRule, Pair, RowValue, is_match};
use crate::cli::paced_client::{PacedClient, SendAttempt};
use crate::course::{CourseKey, HeldProperties, HubSpotId, RowId, fold_key};
use crate::hubspot::api::record_state::RecordState;
use crate::hubspot::api::request::key_trace_id;
use crate::hubspot::api::response::BatchReply;
use crate::outbox::Database;
use crate::outbox::ops::adopt::{self, AdoptableRow, Adoption};
use crate::pipeline::reconcile::record_meaning::{RecordFinding, RecordValues, changed_values};

/// What happened to the pairs.
#[derive(Debug, Default)]
pub(super) struct Applied {
    /// Rows that have their record now, and are synced.
    pub synced: u64,
    /// Rows that have their record now; it differs from the row, so the daemon updates it.
    pub to_update: u64,
    /// Pairs that were not joined, with the reason.
    pub refused: Vec<(Pair, String)>,
}

/// What applying needs.
pub(super) struct Applier<'a, 'd> {
    pub database: &'d Database,
    pub client: &'a PacedClient,
    pub lease: &'a mut CommandLease<'d>,
    pub unique: &'a str,
    pub rules: &'a [MatchRule],
}

/// A row and a record that belong together, as they were read last.
struct JoinCandidate {
    pair: Pair,
    row: AdoptableRow,
    id: HubSpotId,
    values: RecordValues,
}

const NOT_ADOPTABLE: &str = "the row can take no record any more, or cannot be read; run adopt again";
/// How often the outcome of a batch is recorded, if rows are left.
const MAX_RECORD_TRIES: u32 = 3;
const ROW_CHANGED: &str = "the row changed meanwhile; run adopt again";

impl Applier<'_, '_> {
    /// Joins these pairs: at most as many as fit into one request.
    pub(super) async fn apply(&mut self, pairs: &[Pair], applied: &mut Applied) -> anyhow::Result<()> {
        self.lease.renew().await?;
        let candidates = self.read(pairs, applied).await?;
        let (keyed, bare): (Vec<_>, Vec<_>) =
            candidates.into_iter().partition(|candidate| self.has_key(candidate, &candidate.values));
        let errors = self.write_keys(&bare).await?;
        let written = self.read_back(bare, &errors, applied).await?;
        self.record(keyed.into_iter().chain(written).collect(), applied).await
    }

    fn has_key(&self, candidate: &JoinCandidate, values: &RecordValues) -> bool {
        let key = values.get(self.unique).map(String::as_str).unwrap_or_default();
        fold_key(key) == fold_key(candidate.row.key.as_str())
    }

    /// Reads the rows and their records again, and leaves out those that do not belong together any more.
    async fn read(&self, pairs: &[Pair], applied: &mut Applied) -> anyhow::Result<Vec<JoinCandidate>> {
        let ids: Vec<RowId> = pairs.iter().map(|pair| pair.row).collect();
        let rows = adopt::read_adoptable_rows(self.database, &ids).await?;
        let mut rows: HashMap<RowId, AdoptableRow> = rows.into_iter().map(|row| (row.id, row)).collect();
        let mut open = Vec::with_capacity(pairs.len());
        for pair in pairs {
            match (rows.remove(&pair.row), HubSpotId::parse(&pair.record.to_string())) {
                (Some(row), Some(id)) => {
                    open.push(JoinCandidate { pair: *pair, row, id, values: RecordValues::new() });
                }
                _ => applied.refused.push((*pair, NOT_ADOPTABLE.to_owned())),
            }
        }
        let findings = self.read_values(&open).await?;
        let mut candidates = Vec::with_capacity(open.len());
        for (candidate, finding) in open.into_iter().zip(findings) {
            match self.verify(candidate, finding) {
                Ok(candidate) => candidates.push(candidate),
                Err((pair, why)) => applied.refused.push((pair, why)),
            }
        }
        Ok(candidates)
    }

    async fn read_values(&self, candidates: &[JoinCandidate]) -> anyhow::Result<Vec<RecordFinding>> {
        let mut names: BTreeSet<&str> = self.rules.iter().map(|rule| rule.hubspot.as_str()).collect();
        names.insert(self.unique);
        names.extend(candidates.iter().flat_map(|candidate| candidate.row.properties.names()));
        let ids: Vec<&HubSpotId> = candidates.iter().map(|candidate| &candidate.id).collect();
        let names: Vec<&str> = names.into_iter().collect();
        self.client.read_records(&ids, &names, RecordState::Live).await
    }

    /// Compares the values themselves: they may have changed since they were matched.
    fn verify(
        &self,
        candidate: JoinCandidate,
        finding: RecordFinding,
    ) -> Result<JoinCandidate, (Pair, String)> {
        let pair = candidate.pair;
        let refuse = |why: String| Err((pair, why));
        let values = match finding {
            RecordFinding::Present(values) => values,
            RecordFinding::Merged(survivor) => {
                return refuse(format!("the record was merged into record {} meanwhile", survivor.as_str()));
            }
            RecordFinding::Absent => return refuse("the record was deleted meanwhile".to_owned()),
            RecordFinding::Inconclusive => return refuse("HubSpot does not show the record".to_owned()),
        };
        if self.has_key(&candidate, &values) {
            return Ok(JoinCandidate { values, ..candidate });
        }
        if values.get(self.unique).is_some_and(|key| !key.is_empty()) {
            return refuse("the record has another key".to_owned());
        }
        let properties = &candidate.row.properties;
        let is_same = |rule: &MatchRule| {
            let row = match &rule.row {
                RowValue::Key => candidate.row.key.as_str().into(),
                RowValue::Property(name) => properties.get(name).unwrap_or_default(),
            };
            is_match(&row, values.get(&rule.hubspot).map(String::as_str).unwrap_or_default())
        };
        if !self.rules.iter().all(is_same) {
            return refuse("the row and the record do not match any more".to_owned());
        }
        Ok(JoinCandidate { values, ..candidate })
    }

    /// Writes the keys. Repeating a request has no effect, so it is sent until HubSpot answers. Returns HubSpot's messages about
    /// records that it refused; whether the others have their keys is read back.
    async fn write_keys(&mut self, candidates: &[JoinCandidate]) -> anyhow::Result<HashMap<String, String>> {
        let keys: Vec<(&HubSpotId, &CourseKey)> =
            candidates.iter().map(|candidate| (&candidate.id, &candidate.row.key)).collect();
        let mut errors = HashMap::new();
        let mut parts = vec![keys.as_slice()];
        while let Some(part) = parts.pop() {
            if part.is_empty() {
                continue;
            }
            match self.write_part(part).await? {
                Ok(reply) => errors.extend(messages(part, &reply)),
                Err(why) => match part {
                    [(id, _)] => {
                        errors.insert(id.as_str().to_owned(), why);
                    }
                    _ => {
                        let (first, second) = part.split_at(part.len() / 2);
                        parts.extend([second, first]);
                    }
                },
            }
        }
        Ok(errors)
    }

    /// Sends one request until HubSpot answers, each time under the lease.
    async fn write_part(
        &mut self,
        part: &[(&HubSpotId, &CourseKey)],
    ) -> anyhow::Result<Result<BatchReply, String>> {
        let mut failures = 0;
        loop {
            self.lease.renew_if_due().await?;
            match self.client.set_keys(part, self.unique, &mut failures).await? {
                SendAttempt::Done(reply) => return Ok(Ok(reply)),
                SendAttempt::Refused(why) => return Ok(Err(why)),
                SendAttempt::Again(wait) => tokio::time::sleep(wait).await,
            }
        }
    }

    /// Reads the records to which keys were written. Only a record that shows its key has it.
    async fn read_back(
        &self,
        candidates: Vec<JoinCandidate>,
        errors: &HashMap<String, String>,
        applied: &mut Applied,
    ) -> anyhow::Result<Vec<JoinCandidate>> {
        if candidates.is_empty() {
            return Ok(candidates);
        }
        let findings = self.read_values(&candidates).await?;
        let mut written = Vec::with_capacity(candidates.len());
        for (candidate, finding) in candidates.into_iter().zip(findings) {
            match finding {
                RecordFinding::Present(values) if self.has_key(&candidate, &values) => {
                    written.push(JoinCandidate { values, ..candidate });
                }
                _ => {
                    let why = errors.get(candidate.id.as_str()).map_or_else(
                        || "HubSpot answered the update, but the record does not show its key".to_owned(),
                        |error| format!("HubSpot refused the key: {error}"),
                    );
                    applied.refused.push((candidate.pair, why));
                }
            }
        }
        Ok(written)
    }

    async fn record(&mut self, candidates: Vec<JoinCandidate>, applied: &mut Applied) -> anyhow::Result<()> {
        if candidates.is_empty() {
            return Ok(());
        }
        let adoptions: Vec<Adoption> =
            candidates.iter().map(|candidate| adoption(candidate, self.unique)).collect();
        let mut marked = HashSet::new();
        for _ in 0..MAX_RECORD_TRIES {
            let open: Vec<&Adoption> = adoptions.iter().filter(|it| !marked.contains(&it.id)).collect();
            if open.is_empty() {
                break;
            }
            // On a slow machine the lease may end before the statement runs. Then the statement changes nothing.
            let lease = self.lease.renew().await?;
            marked.extend(adopt::record_adoptions(self.database, lease, &open).await?);
        }
        for (candidate, adoption) in candidates.iter().zip(&adoptions) {
            match &adoption.held {
                _ if !marked.contains(&adoption.id) => {
                    applied.refused.push((candidate.pair, ROW_CHANGED.to_owned()));
                }
                None => applied.synced += 1,
                Some(_) => applied.to_update += 1,
            }
        }
        Ok(())
    }
}

/// What the row takes over: the record, and what it holds where that differs.
fn adoption(candidate: &JoinCandidate, unique: &str) -> Adoption {
    let AdoptableRow { id, revision, properties, .. } = &candidate.row;
    let differing = changed_values(properties, Some(unique), &candidate.values);
    let held = (!differing.is_empty()).then(|| HeldProperties::of(properties).with(differing));
    Adoption { id: *id, revision: *revision, hubspot_id: candidate.id.clone(), held }
}

/// HubSpot's message about each of these records that an error names.
fn messages(part: &[(&HubSpotId, &CourseKey)], reply: &BatchReply) -> Vec<(String, String)> {
    let mut messages = Vec::new();
    for error in reply.errors.iter().flatten() {
        let named = ["ids", "id"].iter().filter_map(|name| error.context.get(*name)).flatten();
        let named: BTreeSet<&str> = named.map(String::as_str).collect();
        let is_named =
            |id: &HubSpotId| named.contains(id.as_str()) || error.trace_ids().contains(&key_trace_id(id));
        let message = error.message.as_deref().unwrap_or("no message");
        let about = part.iter().filter(|(id, _)| part.len() == 1 || is_named(id));
        messages.extend(about.map(|(id, _)| (id.as_str().to_owned(), message.to_owned())));
    }
    messages
}
