//! Reads the properties of an account, for the commands that check courses against them.
//!
//! May touch: HubSpot, within the given rate limit.

use anyhow::bail;

use crate::account::rate_limiter::RateLimiter;
use crate::hubspot::Client;
use crate::hubspot::api::properties::{PropertyList, Sensitivity};
use crate::policy::access::{Access, access};
use crate::policy::gate::Reason;
use crate::policy::properties::AccountProperties;
use crate::policy::read_result::ReadResult;

/// Reads the account's properties; `None` if the token may not read them.
///
/// # Errors
/// If HubSpot does not accept the token, or does not respond.
pub(super) async fn read_account_properties(
    hubspot: &Client,
    rate_limiter: &RateLimiter,
) -> anyhow::Result<Option<AccountProperties>> {
    let mut listings = Vec::new();
    for which in Sensitivity::ALL {
        let permit = rate_limiter.acquire().await;
        let result = hubspot.properties(which).await.result();
        drop(permit);
        match (which, result) {
            (_, ReadResult::Found(definitions)) => listings.push(Some(definitions.into_list())),
            // The token may be valid and lack access only to the list, so a request that sending needs decides.
            (Sensitivity::None, ReadResult::Stop(incident)) if incident.reason == Reason::Token => {
                let _permit = rate_limiter.acquire().await;
                return match access(&hubspot.create_nothing().await) {
                    Access::Stop(_) | Access::Unknown(_) => bail!("{}", incident.message),
                    _ => Ok(None),
                };
            }
            (_, ReadResult::Stop(incident)) => bail!("{}", incident.message),
            (Sensitivity::None, ReadResult::Denied(..)) => return Ok(None),
            (Sensitivity::None, ReadResult::Refused(why) | ReadResult::Unavailable(why)) => {
                bail!("failed to read the account's properties: {why}")
            }
            _ => listings.push(None),
        }
    }
    let mut listings = listings.into_iter();
    let mut next = || -> Option<PropertyList> { listings.next().flatten() };
    Ok(next().map(|ordinary| AccountProperties::new(ordinary, next(), next())))
}
