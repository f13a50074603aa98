//! From a listening socket to served connections.
//!
//! In: a listener and the door it stands for. Out: one task per connection, on the worker with the
//! fewest of them. Never stops for an error: a process out of file descriptors says so, waits a
//! little, and goes on.

pub mod socket;

use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tracing::{error, warn};

use crate::call::refuse_raw;
use crate::error::Fault;
use crate::mesh::{Captured, Local};
use crate::serve::{Door, serve};
use crate::stream::Stream;
use crate::telemetry::{add_one, take_one};

/// Wait after a failed accept: the kernel keeps the connection, and a busy loop would make it worse.
const ACCEPT_ERROR_WAIT: Duration = Duration::from_millis(50);

/// What a connection too many is told.
const FULL: &str = "limits.connections is reached";

/// Complaints about failed accepts: one in this many is logged.
const ACCEPT_ERRORS_PER_LINE: u64 = 100;

/// A connection on its way to another worker.
#[derive(Debug)]
pub struct Handed {
    /// The socket.
    pub socket: std::net::TcpStream,
    /// Who dialled: asked later, a connection that was reset has nobody.
    pub from: SocketAddr,
    /// The door it came through.
    pub door: Door,
}

/// One worker as its peers see it.
#[derive(Debug, Clone)]
pub struct Peer {
    /// Application connections it has.
    pub load: Arc<AtomicUsize>,
    /// Where connections are handed to it.
    pub hand: mpsc::Sender<Handed>,
}

/// Accepts and serves connections on one worker.
#[derive(Debug)]
pub struct Acceptor {
    local: Rc<Local>,
    peers: Vec<Peer>,
}

/// What is counted for an open connection, until it ends.
struct Open {
    local: Rc<Local>,
    load: Arc<AtomicUsize>,
}

// === impl Acceptor ===

impl Acceptor {
    /// The acceptor of the worker that `local` belongs to.
    pub fn new(local: Rc<Local>, peers: Vec<Peer>) -> Self {
        Self { local, peers }
    }

    /// Accepts until `stop`; then takes what the kernel still holds, so that no connection that was
    /// made is lost, and closes the socket.
    pub async fn run(self: Rc<Self>, listener: TcpListener, door: Door, mut stop: oneshot::Receiver<()>) {
        let mut errors = 0u64;
        loop {
            let accepted = tokio::select! {
                biased; // A stop waits for nothing; accept is cancel-safe.
                _ = &mut stop => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((socket, from)) => self.place(socket, from, &door),
                Err(error) => self.complain(&error, &mut errors).await,
            }
        }
        if let Ok(listener) = listener.into_std() {
            while let Ok((socket, from)) = listener.accept() {
                self.adopt(Handed { socket, from, door: door.clone() });
            }
        }
    }

    /// A connection may be aborted before it is accepted; everything else is ours to mend.
    async fn complain(&self, error: &io::Error, errors: &mut u64) {
        if error.kind() == io::ErrorKind::ConnectionAborted {
            return;
        }
        add_one(&self.local.stats.accept_errors);
        if errors.is_multiple_of(ACCEPT_ERRORS_PER_LINE) {
            error!(%error, "cannot accept connections; trying again");
        }
        *errors += 1;
        tokio::time::sleep(ACCEPT_ERROR_WAIT).await;
    }

    /// Serves a connection here, or hands it to a worker that has fewer. The kernel spreads by a
    /// hash of addresses, which may put an application's few connections all on one worker.
    fn place(self: &Rc<Self>, socket: TcpStream, from: SocketAddr, door: &Door) {
        let own = self.own().load.load(Ordering::Relaxed);
        let idlest = self.peers.iter().min_by_key(|peer| peer.load.load(Ordering::Relaxed));
        let Some(peer) = idlest.filter(|peer| peer.load.load(Ordering::Relaxed) < own) else {
            return self.start(socket, from, door.clone());
        };
        let Ok(socket) = socket.into_std() else { return };
        // Counted at once: a burst would otherwise all go to the same peer.
        peer.load.fetch_add(1, Ordering::Relaxed);
        if let Err(back) = peer.hand.try_send(Handed { socket, from, door: door.clone() }) {
            peer.load.fetch_sub(1, Ordering::Relaxed);
            self.adopt(back.into_inner());
        }
    }

    /// Serves a connection that another worker has counted for us already.
    pub fn take_over(self: &Rc<Self>, handed: Handed) {
        self.own().load.fetch_sub(1, Ordering::Relaxed);
        self.adopt(handed);
    }

    fn adopt(self: &Rc<Self>, handed: Handed) {
        match handed.socket.set_nonblocking(true).and_then(|()| TcpStream::from_std(handed.socket)) {
            Ok(socket) => self.start(socket, handed.from, handed.door),
            Err(error) => warn!(%error, "a connection was lost on its way to its worker"),
        }
    }

    fn own(&self) -> &Peer {
        &self.peers[self.local.worker]
    }

    /// The door of a connection on the outbound port: that of explicit calls, or what the kernel has captured.
    fn outbound(&self, socket: &TcpStream, from: SocketAddr) -> Door {
        let Some(destination) = socket::original_destination(socket) else { return Door::Outbound };
        add_one(&self.local.stats.captured);
        self.local.mesh.dials.watch();
        Door::Captured(Arc::new(Captured::new(&self.local.mesh, destination, from)))
    }

    fn start(self: &Rc<Self>, socket: TcpStream, from: SocketAddr, door: Door) {
        add_one(&self.local.stats.accepted);
        let limit = self.local.limit_connections();
        let open = Open::new(&self.local, &self.own().load);
        let door = if door == Door::Outbound { self.outbound(&socket, from) } else { door };
        // What only tries the capture rules is gone at once, and must not take "full" for "no rules".
        let may_be_refused = !matches!(&door, Door::Captured(captured) if captured.is_test());
        if may_be_refused && self.local.mesh.connections.load(Ordering::Relaxed) > limit {
            add_one(&self.local.stats.refused);
            self.local.record_refusal(Fault::Overloaded, FULL, b"", None, tokio::time::Instant::now());
            if matches!(door, Door::Captured(_)) {
                // It may speak anything, and an answer of HTTP would be taken for the service's.
                let _ = SockRef::from(&socket).set_linger(Some(Duration::ZERO));
            } else {
                // One try, without a wait: a refusal must cost less than a call. Past the runtime, which
                // does not know yet that a socket this new can be written to.
                let reply = refuse_raw(Fault::Overloaded, FULL);
                let _ = SockRef::from(&socket).send(&reply);
            }
            return;
        }
        let _ = socket.set_nodelay(true);
        let local = Rc::clone(&self.local);
        tokio::task::spawn_local(async move {
            let _open = open;
            serve(local, Stream::new(socket), door).await;
        });
    }
}

// === impl Open ===

impl Open {
    fn new(local: &Rc<Local>, load: &Arc<AtomicUsize>) -> Self {
        add_one(&local.stats.open);
        load.fetch_add(1, Ordering::Relaxed);
        local.mesh.connections.fetch_add(1, Ordering::Relaxed);
        Self { local: Rc::clone(local), load: Arc::clone(load) }
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        take_one(&self.local.stats.open);
        self.load.fetch_sub(1, Ordering::Relaxed);
        self.local.mesh.connections.fetch_sub(1, Ordering::Relaxed);
    }
}
