//! The daemon, as the real program, between a real Postgres and the simulator.

mod crashes;
mod database;
mod database_falls;
mod day;
mod doubts;
mod failover;
mod leadership;
mod lost_commits;
mod main_job;
mod network;
mod pace;
mod pauses;
mod poison;
mod pooler;
mod refusals;
mod schema;
mod shutdown;
