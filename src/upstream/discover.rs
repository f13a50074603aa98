//! Where addresses come from.
//!
//! In: endpoint sets that want addresses. Out: answers put into them. Runs on the control thread, so
//! that no call waits for it but the first.

pub mod dns;
