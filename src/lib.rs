//! Outrigger: a sidecar proxy for outbound calls.
//!
//! In: the connections of one application. Out: its calls, sent on under the policies of one YAML file,
//! each with one reply and one record. The modules are the road of a call:
//!
//! ```text
//! cli -> app -> worker -> accept -> serve -> call -> mesh -> route
//!                                              |--> policy    (pure)
//!                                              `--> upstream  (sockets out)
//! ```
//!
//! What may use what is in `ARCHITECTURE.md`, and held by a test. The library exists for the binary,
//! its tests and the demo; it promises no stable interface.

pub mod accept;
pub mod admin;
pub mod app;
pub mod call;
pub mod capture;
pub mod cli;
pub mod config;
pub mod drain;
pub mod error;
pub mod head;
pub mod kube;
pub mod listen;
pub mod mesh;
pub mod policy;
pub mod route;
pub mod serve;
pub mod stream;
pub mod telemetry;
pub mod upstream;
pub mod wire;
pub mod worker;
