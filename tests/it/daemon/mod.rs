//! The daemon, as the real program, between a real Postgres and the simulator.

mod database;
mod doubts;
mod leadership;
mod lost_commits;
mod main_job;
mod pace;
mod pauses;
mod pooler;
mod refusals;
mod shutdown;
