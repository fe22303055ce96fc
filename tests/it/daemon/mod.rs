//! The daemon, as the real program, between a real Postgres and the simulator.

mod clocks;
mod crashes;
mod credentials;
mod database;
mod database_falls;
mod database_weather;
mod day;
mod doubts;
mod evidence;
mod failover;
mod hostile;
mod isolation;
mod leadership;
mod log_pipe;
mod look_ups;
mod lost_commits;
mod main_job;
mod network;
mod pace;
mod pauses;
mod poison;
mod pooler;
mod properties;
mod refusals;
mod shutdown;
