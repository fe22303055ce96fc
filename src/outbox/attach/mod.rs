//! Attaches a table of the catalogue: triggers that write its rows to the outbox, in the catalogue's own transaction.
//!
//! `plan` and `sql` decide, without I/O, which statements attach or detach a table; `quote` is the only place that turns
//! a name or a value into SQL. The other files touch the database: `table` reads what is known of a table, `apply`
//! executes the statements, `backfill` enqueues the rows that exist, `refused` lists what the outbox cannot hold.

pub mod apply;
pub mod backfill;
pub mod plan;
mod quote;
pub mod refused;
pub mod sql;
pub mod table;
