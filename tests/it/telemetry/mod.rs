//! What the daemon tells of itself: the lines of its log, its metrics, its spans; and that the docs list them all.

mod collector;
mod events;
mod lines;
mod metrics;
mod traces;
