//! Tests whether HubSpot enforces unique values for simultaneous requests. Only in a sandbox.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::result::CheckResult;
use crate::config::Config;
use crate::hubspot::Client;
use crate::policy::read_result::ReadResult;

const CODE: &str = "uniqueness";
/// The number of simultaneous requests with the same value.
pub(super) const CONNECTIONS: usize = 20;
/// The account types that count as a sandbox.
const SANDBOX_TYPES: [&str; 3] = ["SANDBOX", "DEVELOPER_TEST", "APP_DEVELOPER"];

/// The result of one request.
enum ProbeResult {
    Created(Vec<String>),
    Refused,
    Unknown,
}

pub(super) async fn probe_uniqueness(config: &Config, client: &Arc<Client>) -> CheckResult {
    let unique = config.hubspot.unique_property.as_deref().unwrap_or_default();
    match client.account_details().await.result().map(|details| details.account_type) {
        ReadResult::Found(Some(kind)) if SANDBOX_TYPES.contains(&kind.as_str()) => {}
        ReadResult::Found(kind) => {
            let kind = kind.as_deref().unwrap_or("unknown");
            let text = format!("not tested: HubSpot reports the account type {kind}, which is not a sandbox");
            return CheckResult::failed(CODE, text, "use the token of a sandbox or a developer test account");
        }
        ReadResult::Denied(why, _) | ReadResult::Refused(why) | ReadResult::Unavailable(why) => {
            return account_type_unknown(&why);
        }
        ReadResult::Stop(incident) => return account_type_unknown(&incident.message),
    }
    let key = format!("course-sync-probe-{}", Uuid::new_v4());
    let (mut created, mut refused, mut unknown) = (BTreeSet::new(), 0, 0);
    for result in send_at_once(client, unique, &key).await {
        match result {
            ProbeResult::Created(ids) => created.extend(ids),
            ProbeResult::Refused => refused += 1,
            ProbeResult::Unknown => unknown += 1,
        }
    }
    let ids: Vec<String> = created.into_iter().collect();
    let cleaned = match ids.as_slice() {
        [] => true,
        ids => matches!(client.archive(ids).await.result(), ReadResult::Found(())),
    };
    evaluate(&ids, refused, unknown, cleaned, &key)
}

fn evaluate(ids: &[String], refused: usize, unknown: usize, cleaned: bool, key: &str) -> CheckResult {
    let count = ids.len();
    let records = if count == 1 { "1 record".to_owned() } else { format!("{count} records") };
    let left = if cleaned {
        "moved to the recycle bin"
    } else {
        "which could not be archived (archive them in HubSpot)"
    };
    let text = format!(
        "{CONNECTIONS} simultaneous requests to create {key:?} created {records}, {left}; {refused} were rejected, \
         {unknown} had an unknown outcome"
    );
    match (count, unknown, cleaned) {
        (1, 0, true) => CheckResult::ok(CODE, text),
        (0 | 1, ..) => CheckResult::failed(
            CODE,
            text,
            "search HubSpot for the value and archive the records found, then try again",
        ),
        _ => CheckResult::failed(
            CODE,
            text,
            "HubSpot does not keep this property unique, so exactly-once does not hold: contact HubSpot support",
        ),
    }
}

fn account_type_unknown(why: &str) -> CheckResult {
    CheckResult::failed(
        CODE,
        format!("not tested: the account type could not be read: {why}"),
        "fix this error, then try again",
    )
}

/// Sends the same value over every connection at the same instant.
async fn send_at_once(client: &Arc<Client>, unique: &str, key: &str) -> Vec<ProbeResult> {
    let barrier = Arc::new(Barrier::new(CONNECTIONS));
    let mut requests = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, barrier) = (Arc::clone(client), Arc::clone(&barrier));
        let (unique, key) = (unique.to_owned(), key.to_owned());
        requests.spawn(async move {
            barrier.wait().await;
            match client.create_probe(&unique, &key).await.result() {
                ReadResult::Found(created) if !created.ids().is_empty() => {
                    ProbeResult::Created(created.ids())
                }
                ReadResult::Found(_) => ProbeResult::Unknown,
                ReadResult::Refused(_) => ProbeResult::Refused,
                ReadResult::Denied(..) | ReadResult::Stop(_) | ReadResult::Unavailable(_) => {
                    ProbeResult::Unknown
                }
            }
        });
    }
    requests.join_all().await
}
