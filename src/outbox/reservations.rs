//! The part of the quota that the leader leaves to commands such as `audit`. It is kept in the leader's row, so that each
//! grant of the lease returns it: a leader knows it before the first request. Touches the database.

use std::time::Duration;

use crate::course::InstanceId;
use crate::outbox::OutboxError;
use crate::outbox::database::{DatabaseRef, run_statement};
use crate::outbox::from_row::impl_from_row;

/// A reservation as it was made.
#[derive(Debug, Clone, PartialEq)]
pub struct Reserved {
    /// The requests that are reserved now, by all commands together.
    pub total: i64,
    /// Seconds until the lease of the leader ends, unless it is renewed; `None`: no other instance leads.
    pub leader_left: Option<f64>,
}

impl_from_row!(Reserved { total, leader_left });

/// The requests that these reservations of the row `l` hold now. What cannot be read, and what ends implausibly late because a
/// clock was set back, does not count. The column may be missing, if an older schema was restored.
macro_rules! reserved_requests {
    ($reservations:literal) => {
        concat!(
            "(select least(coalesce(sum((item ->> 'requests')::numeric), 0), 1000000)::bigint
               from jsonb_path_query(",
            $reservations,
            ", 'lax $.* ? (@.requests.type() == \"number\" && @.until.type() == \"number\")') item
              where (item ->> 'until')::numeric - extract(epoch from clock_timestamp()) between 0 and 86400)"
        )
    };
}
pub(super) use reserved_requests;

/// Reserves requests of each window for `lasts`, or renews the reservation. `None`: others have reserved so much that no
/// request would be left to the leader, or the leader's row is missing. `quota`: all requests of a window.
///
/// Index: none; the table has one row.
pub async fn reserve(
    database: impl Into<DatabaseRef<'_>>,
    command: InstanceId,
    requests: u32,
    quota: u32,
    lasts: Duration,
) -> Result<Option<Reserved>, OutboxError> {
    const RESERVE: &str = concat!(
        "-- reserve requests
        update course_sync_leader l
           -- Reservations that have ended are removed.
           set reservations = (
                   select coalesce(jsonb_object_agg(key, value), '{}') from jsonb_each(l.reservations)
                    where key <> $1::text
                      and case when jsonb_typeof(value -> 'until') = 'number'
                               then (value ->> 'until')::numeric > extract(epoch from clock_timestamp()) end
               ) || jsonb_build_object($1::text, jsonb_build_object(
                   'requests', $2::bigint, 'until', extract(epoch from clock_timestamp()) + $4::float8))
         where ",
        reserved_requests!("(to_jsonb(l) -> 'reservations') - $1::text"),
        " + $2::bigint < $3::bigint
        returning ",
        reserved_requests!("to_jsonb(l) -> 'reservations'"),
        " as total,
                  case when holder is distinct from $1 and expires_at > clock_timestamp()
                       then extract(epoch from expires_at - clock_timestamp())::float8 end as leader_left"
    );
    let query = sqlx::query_as(RESERVE)
        .bind(command)
        .bind(i64::from(requests))
        .bind(i64::from(quota))
        .bind(lasts.as_secs_f64());
    run_statement(database, async |session| query.fetch_optional(session).await)
        .await
        .map_err(OutboxError::failed_to("reserve a part of the quota"))
}

/// Ends a reservation after `left`: the requests that were sent still count.
///
/// Index: none; the table has one row.
pub async fn end_reservation(
    database: impl Into<DatabaseRef<'_>>,
    command: InstanceId,
    left: Duration,
) -> Result<(), OutboxError> {
    const END: &str = "-- end reservation
        update course_sync_leader
           set reservations = jsonb_set(reservations, array[$1::text, 'until'],
                                        to_jsonb(extract(epoch from clock_timestamp()) + $2::float8))
         where reservations ? $1::text";
    let query = sqlx::query(END).bind(command).bind(left.as_secs_f64());
    run_statement(database, async |session| query.execute(session).await)
        .await
        .map_err(OutboxError::failed_to("end the reservation of a part of the quota"))?;
    Ok(())
}
