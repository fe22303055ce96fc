//! The throwaway Postgres of the demo.

mod postgres;
