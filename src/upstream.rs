//! The side that faces services: their addresses, and connections to them.
//!
//! In: a service's endpoints and a request to send. Out: a connection that was just opened or
//! waited in its pool. Knows nothing of policies beyond what it is told for one attempt.

mod connect;
mod dials;
pub mod discover;
mod endpoints;
pub mod http2;
mod pool;
mod tls;

pub use connect::{NoConnection, connect, is_exhaustion};
pub use dials::Dials;
pub use endpoints::{
    Endpoint, EndpointList, EndpointSet, FAILED_LOOKUP_WAIT, InFlight, Source, TTL_MAX, TTL_MIN,
};
pub use pool::{Connection, FRESH_IDLE_MAX, Pools};
pub use tls::{Offer, TlsClient, TlsFault, system_roots};
