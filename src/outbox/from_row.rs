//! Reads a row into a struct by column name. Touches nothing.
//!
//! `#[derive(sqlx::FromRow)]` would do the same, but its crate compiles the Postgres driver and TLS a second time, for
//! the build host.

/// Implements [`sqlx::FromRow`] for a struct whose fields are named as the columns. A field that is left out does not
/// compile.
macro_rules! impl_from_row {
    ($row:ident { $($column:ident),+ $(,)? }) => {
        impl sqlx::FromRow<'_, sqlx::postgres::PgRow> for $row {
            fn from_row(row: &sqlx::postgres::PgRow) -> Result<Self, sqlx::Error> {
                use sqlx::Row as _;
                Ok(Self { $($column: row.try_get(stringify!($column))?),+ })
            }
        }
    };
}

pub(super) use impl_from_row;
