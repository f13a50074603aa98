//! Tells what a connection speaks, before anything of it is used.
//!
//! In: a connection and its door. Out: what it is to be served as. First bytes tell; where the
//! destination is known and none come, it is dialled, since it may be the service that speaks first.

use tokio::time::Instant;

use crate::call::{Client, OPENING_WAIT_MAX};
use crate::config::Protocol;
use crate::mesh::{At, Local};
use crate::wire::{ClientHello, HTTP2_PREFACE, Opening, TLS_HANDSHAKE, opening};

use super::wait::{Closed, Wake, wait};
use super::{Door, is_for_another_proxy};

/// What a connection is served as.
#[derive(Debug)]
pub(super) enum Told {
    /// HTTP/1; its first head is due at `head_due` if it has begun.
    Http1 { head_due: Option<Instant> },
    /// HTTP/2 with prior knowledge.
    Http2,
    /// TLS, which is passed through.
    Tls(ClientHello),
    /// Bytes for a destination that is known. With `detect` nobody has spoken yet.
    Opaque { detect: bool },
    /// It has ended before it began.
    Over,
}

/// Waits until the connection's first bytes, or their absence, tell.
pub(super) async fn told(
    local: &Local,
    client: &mut Client,
    door: &Door,
    closed: &mut Closed<'_, '_>,
) -> Told {
    let silent_until = match door {
        Door::Outbound => None,
        Door::Service(name) => {
            // Each of its calls is told that the service is gone.
            let Some(index) = local.index_of(name) else { return Told::Http1 { head_due: None } };
            if local.protocol_of(name) == Some(Protocol::Opaque) {
                return Told::Opaque { detect: false };
            }
            if local.speaks_first(index) {
                return Told::Opaque { detect: true };
            }
            Some(Instant::now() + local.detect_timeout())
        }
        Door::Unknown(_) => Some(Instant::now() + local.detect_timeout()),
        Door::Captured(captured) => {
            let now = Instant::now();
            let (opaque, speaks_first) = match local.at(captured, now) {
                At::One(index) => (local.protocol_at(index) == Protocol::Opaque, local.speaks_first(index)),
                At::Nobody | At::Several => {
                    (false, local.unknown_speaks_first(captured.authority.as_bytes()))
                }
            };
            if opaque || speaks_first {
                return Told::Opaque { detect: !opaque };
            }
            Some(now + local.detect_timeout())
        }
    };
    let known = silent_until.is_some();
    let mut due = None;
    loop {
        let silent = client.stream.input.is_empty();
        let last = match wait(client, due.or(silent_until), silent, closed).await {
            Wake::Read => false,
            Wake::Ended if client.stream.ended() && (known || !silent) => true,
            Wake::Ended => return Told::Over,
            Wake::Slow if silent => return Told::Opaque { detect: true },
            Wake::Slow => true,
        };
        match opening(&client.stream.input, last) {
            Opening::More if known || may_not_be_http1(&client.stream.input) => {
                due.get_or_insert_with(|| Instant::now() + OPENING_WAIT_MAX);
            }
            Opening::Opaque if known => return Told::Opaque { detect: false },
            Opening::Http1 if is_for_another_proxy(door, client) => return Told::Opaque { detect: false },
            // Without a destination it can only be HTTP/1, or a mistake that gets HTTP/1's 400.
            Opening::Http1 | Opening::More | Opening::Opaque => return Told::Http1 { head_due: due },
            Opening::Http2 => return Told::Http2,
            Opening::Tls(hello) => return Told::Tls(hello),
        }
    }
}

/// Whether these first bytes may still become something else than HTTP/1.
fn may_not_be_http1(bytes: &[u8]) -> bool {
    bytes.first() == Some(&TLS_HANDSHAKE) || HTTP2_PREFACE.starts_with(bytes)
}
