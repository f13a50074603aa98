//! Outrigger: a sidecar proxy for outbound calls.

pub mod config;
pub mod error;
pub mod head;
pub mod telemetry;
pub mod wire;
