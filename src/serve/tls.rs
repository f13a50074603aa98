//! TLS that only passes through: the name in its first message says where it goes.
//!
//! In: a connection on the outbound port and its ClientHello. Out: a tunnel under layer-4 policies,
//! or an alert, which is the only answer that a TLS client understands. Nothing is decrypted, and no
//! TLS of ours is put around it.

use std::time::Duration;

use bytes::BytesMut;
use tokio::time::Instant;

use crate::call::{Begin, Client};
use crate::error::Fault;
use crate::mesh::{Local, Plan};
use crate::route::{Asking, Choice, HTTPS_PORT};
use crate::wire::ClientHello;

use super::whose::{Asked, NoPlan, whose};
use super::{Door, carry};

/// Longest wait for an application to take an alert.
const ALERT_WAIT_MAX: Duration = Duration::from_secs(5);

/// The alert `access_denied` (RFC 8446 section 6.2).
const ACCESS_DENIED: u8 = 49;

/// The alert `unrecognized_name` (RFC 6066 section 3).
const UNRECOGNIZED_NAME: u8 = 112;

/// Passes the connection on to where its name says, or refuses it.
pub(super) async fn pass(local: &Local, client: &mut Client, door: &Door, hello: &ClientHello) {
    let name = hello.sni.as_deref().unwrap_or_default();
    let line = BytesMut::from(format!("TLS {name}").as_str());
    match plan(local, door, name) {
        Ok(plan) => {
            carry(local, client, plan, line, Begin { asked: false, detect: false, tls: true }).await;
        }
        Err((fault, what)) => {
            local.record_refusal(fault, &what, &line, None, Instant::now());
            let alert = if fault == Fault::Denied { ACCESS_DENIED } else { UNRECOGNIZED_NAME };
            // An alert of level fatal, in a record of its own (RFC 8446 sections 5.1 and 6).
            client.out.extend_from_slice(&[21, 3, 3, 0, 2, 2, alert]);
            if client.flush_within(Some(ALERT_WAIT_MAX)).await.is_ok() {
                client.linger().await;
            }
        }
    }
}

/// The plan for a server's name, or why there is none.
fn plan(local: &Local, door: &Door, name: &str) -> Result<Plan, NoPlan> {
    let now = Instant::now();
    if matches!(door, Door::Captured(_)) {
        let asked = Asked { authority: name.as_bytes(), ..Asked::NOTHING };
        return whose(local, door, &asked, |_| None, now);
    }
    let no_service = || "no service has this name".to_owned();
    match local.choose(name.as_bytes(), Asking::Https) {
        Choice::Service(index) => Ok(local.plan(index, b"", b"", |_| None, now)),
        Choice::Unknown => local
            .plan_unknown(format!("{name}:{HTTPS_PORT}").as_bytes(), HTTPS_PORT)
            .ok_or_else(|| (Fault::NoRoute, no_service())),
        Choice::Denied => Err((Fault::Denied, no_service())),
        Choice::Nowhere => Err((Fault::NoRoute, no_service())),
    }
}
