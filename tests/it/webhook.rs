//! The webhook as a process: recorded reviews over real TLS, certificates that change, an API server
//! that is scripted.
//!
//! Patches are applied by a library that is not ours, and compared with the plan that every form of
//! injection shares and with what `outrigger inject` writes.

mod certificates;
mod cluster;
mod hostile;
mod reviews;
mod server;
mod trust;
