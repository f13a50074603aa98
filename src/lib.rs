//! Outrigger: a sidecar proxy for outbound calls.

pub mod config;
pub mod error;
