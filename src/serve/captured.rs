//! What only captured connections need before they are served.
//!
//! In: a connection that the kernel sent here. Out: it may be served; or it was a test of the rules,
//! or one of our own that came back, and is answered.

use std::time::Duration;

use tokio::time::Instant;

use crate::call::{Client, refuse_raw};
use crate::error::Fault;
use crate::mesh::{Captured, Local};

use super::detect::Told;

/// Longest wait for the other end to take an answer.
const ANSWER_WAIT_MAX: Duration = Duration::from_secs(5);

/// Prepares for its calls. `false`: it was a test of the capture rules, and is answered.
pub(super) async fn opens(local: &Local, client: &mut Client, captured: &Captured) -> bool {
    if captured.is_test() {
        let line = format!("outrigger captured {}\n", captured.destination);
        client.out.extend_from_slice(line.as_bytes());
        let _ = client.flush_within(Some(ANSWER_WAIT_MAX)).await;
        return false;
    }
    local.settle(captured).await;
    true
}

/// Whether it is a connection of ours: the rules do not spare this process.
///
/// Asked once the connection has told what it speaks: whoever dialled it notes that before it says anything. One
/// that goes without a word (an opaque service) may be asked about too soon; it is dialled once more then, and
/// the next round asks again.
pub(super) fn is_loop(local: &Local, captured: &Captured) -> bool {
    local.mesh.dials.is_ours(captured.from, captured.destination, Instant::now())
}

/// Refuses it: with a reason if it is HTTP/1, which the call it came from passes on, else by a reset.
pub(super) async fn refuse_loop(local: &Local, client: &mut Client, captured: &Captured, told: &Told) {
    let what = format!(
        "a connection of this proxy to {} was captured: the capture rules must spare its user",
        captured.authority
    );
    local.record_refusal(Fault::LoopDetected, &what, b"", None, Instant::now());
    if !matches!(told, Told::Http1 { .. }) {
        return client.stream.reset_on_close();
    }
    client.out.extend_from_slice(&refuse_raw(Fault::LoopDetected, &what));
    if client.flush_within(Some(ANSWER_WAIT_MAX)).await.is_ok() {
        client.linger().await;
    }
}
