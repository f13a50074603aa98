//! The kernel's part: rules that send an application's connections to the proxy.
//!
//! In: a port, a user, and what is left out. Out: a rule set that stands, or falls, as a whole.

pub mod laptop;
