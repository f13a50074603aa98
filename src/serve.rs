//! The side that faces the application: bytes in, calls out.
//!
//! In: an accepted connection and the door it came through. Out: its calls, one after the other, and
//! then its end. What a connection speaks is told here; how a call fares is `call`'s.

mod admit;
mod admit_http2;
mod captured;
mod churn;
mod detect;
mod http1;
mod http2;
mod runners;
mod tls;
mod wait;
mod whose;

use std::pin::pin;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;

use crate::call::{Begin, Client, Request, Tunnelled, tunnel};
use crate::mesh::{Captured, Local, Plan};
use crate::stream::Stream;
use crate::telemetry::{add_one, take_one};
use crate::wire::{Opening, asks_a_proxy};

use admit::opaque_upload;
use detect::{Told, told};
use wait::Closed;
use whose::{Asked, whose};

/// The way a connection came in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Door {
    /// The port for every call: each one says where it wants to go.
    Outbound,
    /// A service's own port, or a tunnel to it: every call is for that service.
    Service(Arc<str>),
    /// A tunnel to a destination that no service claims, as CONNECT named it: every call goes there.
    Unknown(Arc<[u8]>),
    /// The kernel sent it here: the address that was dialled decides whose each call is.
    Captured(Arc<Captured>),
}

/// What was found inside a tunnel, and where it goes.
#[derive(Debug)]
struct Inside {
    door: Door,
    found: Opening,
}

/// Serves one connection to its end.
pub async fn serve(local: Rc<Local>, stream: Stream, mut door: Door) {
    let mut client = Client::new(stream, Rc::clone(&local.closing));
    let notified = pin!(local.closed.notified());
    let mut closed = Closed::new(notified);
    if let Door::Captured(captured) = &door
        && !captured::opens(&local, &mut client, captured).await
    {
        return;
    }
    let mut told = told(&local, &mut client, &door, &mut closed).await;
    if let Door::Captured(captured) = &door
        && captured::is_loop(&local, captured)
    {
        return captured::refuse_loop(&local, &mut client, captured, &told).await;
    }
    loop {
        let inside = match told {
            Told::Over => return,
            Told::Http1 { head_due } => http1::serve(&local, &mut client, &door, head_due, &mut closed).await,
            Told::Http2 => return Box::pin(http2::serve(&local, client.stream, &door)).await,
            Told::Tls(hello) if matches!(door, Door::Outbound | Door::Captured(_)) => {
                return tls::pass(&local, &mut client, &door, &hello).await;
            }
            Told::Tls(_) => opaque(&local, &mut client, &door, Begin { tls: true, ..BYTES }).await,
            Told::Opaque { detect } => opaque(&local, &mut client, &door, Begin { detect, ..BYTES }).await,
        };
        let Some(inside) = inside else { return };
        door = inside.door;
        told = match inside.found {
            Opening::Http2 => Told::Http2,
            Opening::Http1 if is_for_another_proxy(&door, &client) => Told::Opaque { detect: false },
            Opening::Http1 | Opening::Tls(_) | Opening::Opaque | Opening::More => {
                Told::Http1 { head_due: None }
            }
        };
    }
}

/// Bytes that nobody has asked to have carried.
const BYTES: Begin = Begin { asked: false, detect: false, tls: false };

/// A connection whose destination is known and whose bytes are not: layer-4 policies.
async fn opaque(local: &Local, client: &mut Client, door: &Door, begin: Begin) -> Option<Inside> {
    let now = tokio::time::Instant::now();
    let plan = match whose(local, door, &Asked::NOTHING, |_| None, now) {
        Ok(plan) => plan,
        Err((fault, what)) => {
            local.record_refusal(fault, &what, b"", None, now);
            client.stream.reset_on_close();
            return None;
        }
    };
    match carry(local, client, plan, BytesMut::new(), begin).await {
        Tunnelled::Http(found) => Some(Inside { door: door.clone(), found }),
        Tunnelled::Over | Tunnelled::Refused(_) => None,
    }
}

/// Whether an application asks a proxy of its own for something: that one is to understand it, not we.
fn is_for_another_proxy(door: &Door, client: &Client) -> bool {
    matches!(door, Door::Captured(_)) && asks_a_proxy(&client.stream.input)
}

/// A tunnel for a connection that has no request; `line` stands for it in the access log.
async fn carry(local: &Local, client: &mut Client, plan: Plan, line: BytesMut, begin: Begin) -> Tunnelled {
    let (head, upload) = opaque_upload(local, &plan, line);
    let request = Request { plan, head, upload, started: tokio::time::Instant::now() };
    add_one(&local.stats.in_flight);
    // In a box of its own: every idle connection would otherwise have room for it.
    let tunnelled = Box::pin(tunnel(local, client, request, begin)).await;
    take_one(&local.stats.in_flight);
    tunnelled
}

// === impl Door ===

impl Door {
    /// The door of a service.
    pub fn service(name: &str) -> Self {
        Self::Service(Arc::from(name))
    }
}
