//! Stores the typed identifiers in their columns: each as the value it wraps. Touches nothing.

use sqlx::Postgres;
use sqlx::encode::IsNull;
use sqlx::error::BoxDynError;
use sqlx::postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueRef};
use sqlx::{Decode, Encode, Type};
use uuid::Uuid;

use crate::course::{BatchId, InstanceId, RowId, Term};

/// Implements sqlx's traits for a wrapper by those of the value in it. `#[derive(sqlx::Type)]` would do the same, but
/// its crate compiles the Postgres driver and TLS a second time, for the host.
macro_rules! stored_as {
    ($($id:ident: $stored:ty),+ $(,)?) => {
        $(
            impl Type<Postgres> for $id {
                fn type_info() -> PgTypeInfo {
                    <$stored as Type<Postgres>>::type_info()
                }
            }

            impl PgHasArrayType for $id {
                fn array_type_info() -> PgTypeInfo {
                    <$stored as PgHasArrayType>::array_type_info()
                }
            }

            impl Encode<'_, Postgres> for $id {
                fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
                    <$stored as Encode<'_, Postgres>>::encode_by_ref(&self.0, buffer)
                }
            }

            impl<'r> Decode<'r, Postgres> for $id {
                fn decode(value: PgValueRef<'r>) -> Result<Self, BoxDynError> {
                    <$stored as Decode<'r, Postgres>>::decode(value).map(Self)
                }
            }
        )+
    };
}

stored_as!(RowId: i64, BatchId: Uuid, InstanceId: Uuid, Term: i64);
