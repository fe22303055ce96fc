//! Reads a column whose value may be one that this program cannot represent, so that one such value does not fail the
//! whole statement. Touches nothing.
//!
//! Postgres stores more than can be read here: times that are infinite or beyond the year 9999, and JSON that is nested
//! deeper than the parser allows. A database without an encoding (`SQL_ASCII`) also stores texts that are not UTF-8. By the
//! time a value is read, the statement has been committed.

use jiff::Timestamp;
use jiff_sqlx::Timestamp as SqlTimestamp;
use serde_json::Value;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgTypeInfo, PgValueRef};
use sqlx::{Decode, Postgres, Type};

/// A value of type `T`, or why it cannot be read.
#[derive(Debug, Clone)]
pub(super) struct Lenient<T>(pub Result<T, String>);

impl<T> Lenient<T> {
    /// The value, if it can be read.
    pub(super) fn ok(self) -> Option<T> {
        self.0.ok()
    }
}

impl<T: Type<Postgres>> Type<Postgres> for Lenient<T> {
    fn type_info() -> PgTypeInfo {
        T::type_info()
    }

    fn compatible(other: &PgTypeInfo) -> bool {
        T::compatible(other)
    }
}

impl<'r, T: Decode<'r, Postgres>> Decode<'r, Postgres> for Lenient<T> {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(T::decode(value).map_err(|error| error.to_string())))
    }
}

/// A JSON value that comes as text.
#[derive(Debug, Clone)]
pub(super) struct JsonText(pub Value);

impl Type<Postgres> for JsonText {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(other: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(other)
    }
}

impl<'r> Decode<'r, Postgres> for JsonText {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(serde_json::from_slice(value.as_bytes()?)?))
    }
}

/// A text that is only shown: bytes that are not UTF-8 are replaced.
#[derive(Debug, Clone)]
pub(super) struct LossyText(pub String);

impl Type<Postgres> for LossyText {
    fn type_info() -> PgTypeInfo {
        <str as Type<Postgres>>::type_info()
    }

    fn compatible(other: &PgTypeInfo) -> bool {
        <str as Type<Postgres>>::compatible(other)
    }
}

impl<'r> Decode<'r, Postgres> for LossyText {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        Ok(Self(String::from_utf8_lossy(value.as_bytes()?).into_owned()))
    }
}

/// A time that is only shown or compared: one that cannot be represented becomes the latest or the earliest time.
#[derive(Debug, Clone, Copy)]
pub(super) struct ClampedTimestamp(pub Timestamp);

impl Type<Postgres> for ClampedTimestamp {
    fn type_info() -> PgTypeInfo {
        SqlTimestamp::type_info()
    }
}

impl<'r> Decode<'r, Postgres> for ClampedTimestamp {
    fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
        if let Ok(time) = SqlTimestamp::decode(value.clone()) {
            return Ok(Self(time.to_jiff()));
        }
        // The binary form: microseconds since the year 2000.
        let is_future = i64::decode(value)? > 0;
        Ok(Self(if is_future { Timestamp::MAX } else { Timestamp::MIN }))
    }
}
