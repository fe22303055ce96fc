//! A HubSpot to develop and test against: as strict and as unkind as the real one, in memory, on one socket.
//!
//! It shares no type and no line with the client (`hubspot`), so that a misread field cannot agree with
//! itself: they meet at the socket only. It imports nothing of this crate.
//!
//! What it speaks: courses (`0-410`) under `/crm/v3/objects/…` and the dated `/crm/objects/2026-03/…`
//! (batch create, read, upsert, update, archive; single records; search), their properties, account details
//! and daily usage, record limits, the object library, private-app token info and the OAuth endpoints (v1 and
//! dated).
//!
//! - **Switches** ([`Behaviour`]): what of HubSpot's behaviour is not known, or differs between accounts. Lags
//!   of reads and search, the spelling in which keys and values are stored, record limits, required
//!   properties, forms of refusals, quotas.
//! - **Faults** ([`Fault`]): a condition and an answer. The condition ([`Match`]) is an operation, a text in the
//!   body, a property, association or id of an input, a number of inputs, a count or a probability. The answer
//!   ([`Answer`]) is any status, headers and body; a broken connection or body; the usual answer, changed; or
//!   the usual answer with an error for chosen inputs.
//! - **Journal** ([`Entry`]): every request and its inputs.
//!
//! # Control API
//! JSON, without a token, below `/_simulator/`; `docs/simulator.md` has examples:
//!
//! | | |
//! |---|---|
//! | `GET behaviour`, `PUT behaviour` | the switches; a `PUT` changes the members it names |
//! | `GET faults`, `POST faults`, `DELETE faults` | the faults that can still hit; add one; remove all |
//! | `GET journal` | every request with its inputs |
//! | `GET records` | every record, archived ones included |
//! | `GET summary` | counts, the busiest rolling interval, duplicates |
//! | `POST neighbour` `{"requests":n}` | another integration spends quota, now; all the time: `behaviour` |
//! | `POST midnight` | the daily quota starts afresh |
//! | `POST reset` | as it was at the start |
//! | `PUT token` `{"token":"…"}`, `PUT scopes` `{"scopes":[…]}` | the token that is accepted, and its scopes |
//!
//! The page at `/` shows records, requests and faults.

mod account;
mod behaviour;
mod connection;
mod control;
mod decode;
mod delivery;
mod exchange;
mod faults;
mod handle;
mod injector;
mod input_fault;
mod journal;
mod markup;
mod objects;
mod operations;
mod output;
mod page;
mod properties;
mod quota;
mod received;
mod refusal;
mod route;
mod rules;
mod schema;
mod search;
mod server;
mod spelling;
mod state;
mod store;
mod summary;
mod wire;
mod write;

use std::collections::BTreeSet;
use std::fmt;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use axum::Router;
use axum::routing::get;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

pub use account::{AccountSwitches, OauthApp, RecordLimit};
pub use behaviour::{
    ArchivedRead, Behaviour, ConflictForm, CoursesState, Keys, Latency, Limits, Neighbour, Normalise,
    RecordLimitForm, RefusedBatches, UniqueCompare, Uniqueness,
};
pub use faults::{Answer, Commit, Dialect, ErrorForm, Fault, Match, PropertyMatch};
pub use handle::Handle;
pub use journal::{Entry, Input};
pub use route::Operation;
pub use schema::PropertyType;
pub use store::Record;
pub use summary::Summary;
pub use wire::{Association, AssociationTarget, AssociationType};

use connection::{Door, Line};
use state::Shared;

/// What a simulator starts with.
#[derive(Clone)]
pub struct Settings {
    /// The private app's token.
    pub token: String,
    /// A text property with unique values that exists from the start.
    pub unique_property: Option<String>,
    /// What the tokens may do.
    pub scopes: BTreeSet<String>,
    /// The app behind the OAuth endpoints.
    pub oauth: OauthApp,
    /// Where its randomness starts.
    pub seed: u64,
    /// The switches to start with.
    pub behaviour: Behaviour,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            token: "pat-na1-simulator".to_owned(),
            unique_property: None,
            scopes: operations::SCOPES.map(str::to_owned).into(),
            oauth: OauthApp::default(),
            seed: 0,
            behaviour: Behaviour::default(),
        }
    }
}

impl fmt::Debug for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Settings")
            .field("unique_property", &self.unique_property)
            .field("seed", &self.seed)
            .field("behaviour", &self.behaviour)
            .finish_non_exhaustive()
    }
}

/// A simulator that has its socket, and does not answer until it is served.
pub struct Simulator {
    listener: TcpListener,
    handle: Handle,
}

impl Simulator {
    /// Takes the socket; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, handle: Handle { shared: Arc::new(Shared::new(settings)), address } })
    }

    /// The same account on the same address again, after an outage: an earlier simulator has ended, and its
    /// records, faults and journal go on.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn rebind(handle: Handle) -> io::Result<Self> {
        Ok(Self { listener: TcpListener::bind(handle.address).await?, handle })
    }

    /// `http://ADDR:PORT`.
    #[must_use]
    pub fn url(&self) -> String {
        self.handle.url()
    }

    /// The grip on it, while and after it runs.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Answers until `shutdown` is over or this future is dropped; every connection ends with it.
    ///
    /// # Errors
    /// When the socket fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, handle } = self;
        let stop = CancellationToken::new();
        let _every_connection_ends_with_this = stop.clone().drop_guard();
        let router = Router::new()
            .route("/", get(page::show))
            .nest("/_simulator", control::routes())
            .with_state(handle.clone())
            .fallback(server::answer)
            .with_state(Arc::clone(&handle.shared));
        let service = router.into_make_service_with_connect_info::<Line>();
        tokio::select! {
            served = async { axum::serve(Door { listener, stop }, service).await } => served,
            () = shutdown => Ok(()),
        }
    }
}
