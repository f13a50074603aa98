//! The side that faces the application: bytes in, calls out.
//!
//! In: an accepted connection and the door it came through. Out: its calls, one after the other, and
//! then its end. What a connection speaks is told here; how a call fares is `call`'s.

mod admit;
mod admit_http2;
mod http1;
mod http2;
mod runners;

use std::rc::Rc;
use std::sync::Arc;

use crate::call::{Client, Opening, Request, tunnel};
use crate::config::Protocol;
use crate::mesh::Local;
use crate::stream::Stream;
use crate::telemetry::{add_one, take_one};

use admit::opaque_upload;

/// The way a connection came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// The port for every call: each one says where it wants to go.
    Outbound,
    /// A service's own port: every call is for that service.
    Service(Arc<str>),
}

/// Serves one connection to its end.
pub async fn serve(local: Rc<Local>, stream: Stream, door: Door) {
    let mut client = Client::new(stream, Rc::clone(&local.closing));
    if let Door::Service(name) = &door
        && local.protocol_of(name) == Some(Protocol::Opaque)
    {
        return opaque(&local, &mut client, name).await;
    }
    if speaks_http2(&mut client.stream).await {
        return http2::serve(&local, client.stream, &door).await;
    }
    http1::serve(&local, &mut client, &door).await;
}

/// Whether a connection opens as HTTP/2 does (RFC 9113 section 3.4). Nothing is consumed.
async fn speaks_http2(stream: &mut Stream) -> bool {
    const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    loop {
        let known = stream.input.len().min(PREFACE.len());
        if stream.input[..known] != PREFACE[..known] {
            return false;
        }
        if known == PREFACE.len() {
            return true;
        }
        if !matches!(stream.fill().await, Ok(read) if read > 0) {
            return false;
        }
    }
}

/// A connection to a service that is declared opaque: bytes, and layer-4 policies.
async fn opaque(local: &Local, client: &mut Client, name: &Arc<str>) {
    let now = tokio::time::Instant::now();
    let Some(index) = local.index_of(name) else { return };
    let plan = local.plan(index, b"", b"", |_| None, now);
    let (head, upload) = opaque_upload(local, &plan);
    let request = Request { plan, head, upload, started: now };
    add_one(&local.stats.in_flight);
    tunnel(local, client, request, Opening::Silent).await;
    take_one(&local.stats.in_flight);
}
