//! The harness: the proxy as a process, a scripted service, a raw client.
//!
//! In: YAML, scripts, bytes. Out: what was seen on each side. It parses strictly and complains
//! itself: whatever the proxy sends must be HTTP that nobody could read two ways.

mod certificates;
mod client;
mod command;
mod dns_server;
pub(crate) mod grpc;
mod h2_client;
pub(crate) mod h2_frames;
mod h2_raw;
pub(crate) mod h2_script;
mod h2_seen;
mod h2_service;
mod h2_stream;
mod metrics;
mod peer;
mod proxy;
mod received;
mod script;
mod sockets;
mod tls_front;
mod upstream;
mod wait;
pub(crate) mod wire;
mod yaml;

pub(crate) use certificates::{Authority, Pair, PemFolder};
pub(crate) use client::Client;
pub(crate) use command::{binary, outrigger, run};
pub(crate) use dns_server::{DnsAnswer, DnsServer};
pub(crate) use h2_client::{H2Client, ask, ask_at};
pub(crate) use h2_raw::{Fate, RawH2, RawH2Service};
pub(crate) use h2_service::H2Service;
pub(crate) use h2_stream::send_within_windows;
pub(crate) use metrics::Metrics;
pub(crate) use peer::Peer;
pub(crate) use proxy::Outrigger;
pub(crate) use received::Received;
pub(crate) use script::{Reply, delay, held, then_close};
pub(crate) use sockets::{Echo, FullBacklog, Refused};
pub(crate) use tls_front::{Parrot, TlsFront};
pub(crate) use upstream::Upstream;
pub(crate) use wait::{BOUND, eventually, ms, within};
pub(crate) use wire::pattern;
pub(crate) use yaml::{Mesh, get, h2_shop, h2_shop_with, post, request, shop, shop_with};
