//! A HubSpot simulator for development and tests. It runs in memory on one socket, checks requests as strictly as
//! HubSpot does, and fails in the ways HubSpot is known to fail.
//!
//! It shares no code with the clients that it tests, so that a field that a client misreads is not misread here in
//! the same way.
//!
//! What it serves: courses (`0-410`) under `/crm/v3/objects/…` and the dated `/crm/objects/2026-03/…`
//! (batch create, read, upsert, update, archive; single records; merge; search), their properties, account details
//! and daily usage, record limits, the object library, private-app token info and the OAuth endpoints (v1 and
//! dated).
//!
//! - **Switches** ([`Behaviour`]): behaviour of HubSpot that is unknown or differs between accounts: delays until reads
//!   and searches find a record, how keys and values are normalised, record limits, required properties, the format
//!   of errors, quotas.
//! - **Faults** ([`Fault`]): a condition and an answer. The condition ([`Match`]) is an operation, a text in the
//!   body, a property, association or ID of an input, a number of inputs, a count or a probability. The answer
//!   ([`Answer`]) is any status, headers and body; a broken connection or body; the normal response, modified; or
//!   the normal response with an error for selected inputs.
//! - **Journal** ([`Entry`]): every request and its inputs.
//! - **Ledger** ([`Version`]): what happened to each record, in order, and by which request.
//!
//! # Control API
//! JSON, without authentication, under `/_simulator/`. `docs/simulator.md` has examples.
//!
//! | | |
//! |---|---|
//! | `GET behaviour`, `PUT behaviour` | the switches; `PUT` changes the given members and keeps the others |
//! | `GET faults`, `POST faults`, `DELETE faults` | the faults that are still active; add one; remove all |
//! | `GET journal` | every request with its inputs |
//! | `GET records` | every record, including archived ones |
//! | `GET versions`, `GET versions/ID` | the ledger: every change of every record, or of one |
//! | `POST edit` `{"id":n,"properties":{…}}` | a user changes values of a record, unchecked |
//! | `POST archive`, `restore`, `purge` `{"id":n}` | a user archives a record, restores it, deletes it permanently |
//! | `POST merge` `{"primary":n,"other":n}` | a user merges two records; responds with the survivor's `id` |
//! | `POST touch` `{"id":n}` | HubSpot moves the modification date of a record |
//! | `PUT options` `{"property":"…","options":["…"]}` | a user replaces the options of a property |
//! | `GET summary` | counts, the busiest rolling interval, duplicates |
//! | `POST neighbour` `{"requests":n}` | another integration makes n requests now (continuously: see `behaviour`) |
//! | `POST midnight` | resets the daily quota |
//! | `POST reset` | restores the initial state |
//! | `PUT token` `{"token":"…"}`, `PUT scopes` `{"scopes":[…]}` | sets the accepted token, and the scopes |
//!
//! The page at `/` shows records, requests and faults.

mod account;
mod archive;
mod behaviour;
mod connection;
mod control;
mod decode;
mod fault_response;
mod fault_rules;
mod faults;
mod handle;
mod input_fault;
mod journal;
mod lifecycle;
mod lookup;
mod markup;
mod merge;
mod objects;
mod operations;
mod output;
mod page;
mod pending_response;
mod properties;
mod quota;
mod received;
mod refusal;
mod route;
mod rules;
mod schema;
mod search;
mod server;
mod side_effects;
mod spelling;
mod state;
mod store;
mod summary;
#[cfg(test)]
mod testing;
mod user_actions;
mod versions;
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
    ArchivedRead, Behaviour, ConflictForm, CoursesState, Keys, Latency, Limits, ListPages, Normalise,
    OtherIntegration, RecordLimitForm, RefusedBatches, UniqueCompare, Uniqueness,
};
pub use faults::{Answer, Commit, Dialect, ErrorForm, Fault, Match, PropertyMatch};
pub use handle::Handle;
pub use journal::{Entry, Input};
pub use lifecycle::{
    BadArchive, ClearRequired, LifecycleSwitches, LoserKey, MergeSurvivor, MergedArchive, MergedUpdate,
    MissingNamedBy, MissingOnUpdate, RemovedOptions, SameRecordTwice, UpdateErrors,
};
pub use route::Operation;
pub use schema::PropertyType;
pub use store::Record;
pub use summary::Summary;
pub use versions::{Change, Version};
pub use wire::{Association, AssociationTarget, AssociationType};

use connection::{ConnectionControl, ControlledListener};
use state::Shared;

/// The initial state of a simulator.
#[derive(Clone)]
pub struct Settings {
    /// The private app's token.
    pub token: String,
    /// A text property with unique values to create at start.
    pub unique_property: Option<String>,
    /// The scopes of every token.
    pub scopes: BTreeSet<String>,
    /// The app that the OAuth endpoints accept.
    pub oauth: OauthApp,
    /// Seed of the random numbers.
    pub seed: u64,
    /// The initial switches.
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

/// A simulator that is bound to its socket. It does not respond before [`serve`](Self::serve) is called.
pub struct Simulator {
    listener: TcpListener,
    handle: Handle,
}

impl Simulator {
    /// Binds the socket; port 0 picks a free one.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub async fn bind(listen: SocketAddr, settings: Settings) -> io::Result<Self> {
        let listener = TcpListener::bind(listen).await?;
        let address = listener.local_addr()?;
        Ok(Self { listener, handle: Handle { shared: Arc::new(Shared::new(settings)), address } })
    }

    /// Restarts a simulator that has stopped, on the same address, to simulate an outage. Records, faults and
    /// journal are kept.
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

    /// Controls and inspects the simulator, also after it has stopped.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// Serves requests until `shutdown` completes or this future is dropped; then all connections are closed.
    ///
    /// # Errors
    /// When accepting connections fails.
    pub async fn serve(self, shutdown: impl Future<Output = ()>) -> io::Result<()> {
        let Self { listener, handle } = self;
        let stop = CancellationToken::new();
        let _close_all_connections = stop.clone().drop_guard();
        let router = Router::new()
            .route("/", get(page::show))
            .nest("/_simulator", control::routes())
            .with_state(handle.clone())
            .fallback(server::handle_request)
            .with_state(Arc::clone(&handle.shared));
        let service = router.into_make_service_with_connect_info::<ConnectionControl>();
        tokio::select! {
            served = async { axum::serve(ControlledListener { listener, stop }, service).await } => served,
            () = shutdown => Ok(()),
        }
    }
}
