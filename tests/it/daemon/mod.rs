//! Tests of the daemon: the real program between a real Postgres and the simulator.

mod attribution;
mod clocks;
mod crashes;
mod credentials;
mod daily_quota;
mod database;
mod database_outages;
mod database_restarts;
mod failover;
mod happy_path;
mod hostile;
mod isolation;
mod leadership;
mod log_pipe;
mod look_ups;
mod lost_commits;
mod network;
mod pauses;
mod poison;
mod pooler;
mod properties;
mod rate_limiter;
mod refusals;
mod shutdown;
mod unconfirmed;
