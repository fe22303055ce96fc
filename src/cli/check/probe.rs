//! Whether HubSpot keeps values unique among simultaneous requests: tried in a sandbox only.

use std::collections::BTreeSet;
use std::sync::Arc;

use tokio::sync::Barrier;
use tokio::task::JoinSet;
use uuid::Uuid;

use super::Finding;
use crate::config::Config;
use crate::hubspot::Client;
use crate::policy::schema::Ending;

const CODE: &str = "uniqueness";
/// How many requests carry the value at once.
pub(super) const CONNECTIONS: usize = 20;
/// The accounts whose records are not needed.
const SANDBOXES: [&str; 3] = ["SANDBOX", "DEVELOPER_TEST", "APP_DEVELOPER"];

/// What became of one request.
enum Sent {
    Made(Vec<String>),
    Refused,
    Unknown,
}

pub(super) async fn check(config: &Config, client: &Arc<Client>) -> Finding {
    let unique = config.hubspot.unique_property.as_deref().unwrap_or_default();
    match client.account().await.ending().map(|details| details.account_type) {
        Ending::Told(Some(kind)) if SANDBOXES.contains(&kind.as_str()) => {}
        Ending::Told(kind) => {
            let kind = kind.as_deref().unwrap_or("unknown");
            let text = format!("nothing was tried: HubSpot calls this account {kind}, which is no sandbox");
            return Finding::wrong(CODE, text, "use the token of a sandbox or a developer's test account");
        }
        Ending::Denied(why, _) | Ending::Refused(why) | Ending::Away(why) => return unclear(&why),
        Ending::Stop(trouble) => return unclear(&trouble.message),
    }
    let key = format!("course-sync-probe-{}", Uuid::new_v4());
    let (mut made, mut refused, mut unknown) = (BTreeSet::new(), 0, 0);
    for sent in at_once(client, unique, &key).await {
        match sent {
            Sent::Made(ids) => made.extend(ids),
            Sent::Refused => refused += 1,
            Sent::Unknown => unknown += 1,
        }
    }
    let ids: Vec<String> = made.into_iter().collect();
    let cleaned = match ids.as_slice() {
        [] => true,
        ids => matches!(client.archive(ids).await.ending(), Ending::Told(())),
    };
    judged(&ids, refused, unknown, cleaned, &key)
}

fn judged(ids: &[String], refused: usize, unknown: usize, cleaned: bool, key: &str) -> Finding {
    let count = ids.len();
    let records = if count == 1 { "1 record".to_owned() } else { format!("{count} records") };
    let left = if cleaned { "moved to the recycle bin" } else { "which could not be archived: please do" };
    let text = format!(
        "{CONNECTIONS} simultaneous creates of {key:?} made {records}, {left}; {refused} were refused, {unknown} without a \
         clear answer"
    );
    match (count, unknown, cleaned) {
        (1, 0, true) => Finding::fine(CODE, text),
        (0 | 1, ..) => Finding::wrong(CODE, text, "try again; search HubSpot for the value before"),
        _ => Finding::wrong(
            CODE,
            text,
            "HubSpot does not keep this property unique: exactly-once does not hold; report it to HubSpot's support",
        ),
    }
}

fn unclear(why: &str) -> Finding {
    Finding::wrong(
        CODE,
        format!("nothing was tried: whether this is a sandbox could not be read: {why}"),
        "then try again",
    )
}

/// Sends the same value by as many requests as there are connections, let go at one instant.
async fn at_once(client: &Arc<Client>, unique: &str, key: &str) -> Vec<Sent> {
    let barrier = Arc::new(Barrier::new(CONNECTIONS));
    let mut requests = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let (client, barrier) = (Arc::clone(client), Arc::clone(&barrier));
        let (unique, key) = (unique.to_owned(), key.to_owned());
        requests.spawn(async move {
            barrier.wait().await;
            match client.create_probe(&unique, &key).await.ending() {
                Ending::Told(created) if !created.ids().is_empty() => Sent::Made(created.ids()),
                Ending::Told(_) => Sent::Unknown,
                Ending::Refused(_) => Sent::Refused,
                Ending::Denied(..) | Ending::Stop(_) | Ending::Away(_) => Sent::Unknown,
            }
        });
    }
    requests.join_all().await
}
