//! One worker: an OS thread, a runtime of its own, its sockets and its connections.
//!
//! In: listeners, and word of reloads and of the end. Out: served connections and reports. Workers
//! share nothing on the road of a call but atomics.

use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::runtime::{Builder, LocalOptions};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Instant, MissedTickBehavior, interval};
use tracing::error;

use crate::accept::{Acceptor, Handed, Peer};
use crate::mesh::{Local, Mesh};
use crate::serve::Door;
use crate::telemetry::{AccessLogSender, Ask, Outlet, WorkerStats};

/// How often idle connections are looked through.
const SWEEP_EVERY: Duration = Duration::from_secs(1);

/// What a worker is told.
#[derive(Debug)]
pub enum Order {
    /// Accept connections here.
    Listen {
        /// The socket, one of several on its address.
        listener: std::net::TcpListener,
        /// What it is for.
        door: Door,
    },
    /// Accept no more connections on this address.
    Unlisten(SocketAddr),
    /// Another configuration is in force. Answered when it is in use.
    Refresh(oneshot::Sender<()>),
    /// Accept nothing more, and end connections with the calls they carry.
    Close,
    /// End now, whatever is in flight.
    Stop,
}

/// The mailboxes of a worker, made before any worker starts so that each can know its peers.
#[derive(Debug)]
pub struct Mailbox {
    orders: mpsc::Receiver<Order>,
    questions: mpsc::Receiver<Ask>,
    handed: mpsc::Receiver<Handed>,
}

/// The ends that others hold.
#[derive(Debug)]
pub struct Address {
    /// Orders.
    pub orders: mpsc::Sender<Order>,
    /// Questions about what it has counted and kept.
    pub questions: mpsc::Sender<Ask>,
    /// What its peers know of it.
    pub peer: Peer,
}

/// Where a worker's calls are told of, beside its counts.
#[derive(Debug, Clone)]
pub struct Outputs {
    /// The access log, if there is one.
    pub access_log: Option<AccessLogSender>,
    /// The way to the exporter of spans, if there is one.
    pub outlet: Option<Outlet>,
}

/// Orders, or questions, that wait for a worker. Both are few.
const ORDERS_MAX: usize = 256;

/// Connections on their way from other workers. They may come in bursts; past it they stay where they are.
const HANDED_MAX: usize = 1024;

/// A worker's mailboxes and their addresses.
pub fn mailbox() -> (Address, Mailbox) {
    let (orders, orders_in) = mpsc::channel(ORDERS_MAX);
    let (questions, questions_in) = mpsc::channel(ORDERS_MAX);
    let (hand, handed_in) = mpsc::channel(HANDED_MAX);
    let peer = Peer { load: Arc::default(), hand };
    let mailbox = Mailbox { orders: orders_in, questions: questions_in, handed: handed_in };
    (Address { orders, questions, peer }, mailbox)
}

/// Starts worker number `index` on a thread of its own.
///
/// # Errors
/// When the thread can't be started.
pub fn start(
    mesh: Arc<Mesh>,
    index: usize,
    peers: Vec<Peer>,
    mailbox: Mailbox,
    outputs: Outputs,
) -> io::Result<JoinHandle<()>> {
    std::thread::Builder::new().name(format!("worker-{index}")).spawn(move || {
        let runtime = Builder::new_current_thread().enable_all().build_local(LocalOptions::default());
        match runtime {
            Ok(runtime) => runtime.block_on(run(mesh, index, peers, mailbox, outputs)),
            Err(error) => error!(%error, index, "a worker has no runtime"),
        }
    })
}

async fn run(mesh: Arc<Mesh>, index: usize, peers: Vec<Peer>, mut mailbox: Mailbox, outputs: Outputs) {
    let stats = Rc::new(WorkerStats::default());
    let access_log = outputs.access_log.map(|log| log.worker(Rc::clone(&stats)));
    let local = Rc::new(Local::new(mesh, index, stats, access_log, outputs.outlet));
    let acceptor = Rc::new(Acceptor::new(Rc::clone(&local), peers));
    let mut listeners = Listeners::default();
    let mut sweep = interval(SWEEP_EVERY);
    sweep.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! { // Every arm is cancel-safe: channels keep what was not taken, a tick comes again.
            order = mailbox.orders.recv() => match order {
                Some(Order::Listen { listener, door }) => listeners.open(&acceptor, listener, door),
                Some(Order::Unlisten(address)) => listeners.close(address),
                Some(Order::Refresh(done)) => {
                    local.refresh();
                    // Nobody waits any more: the reload gave up on us, and we are in step all the same.
                    let _ = done.send(());
                }
                Some(Order::Close) => {
                    listeners.stop.clear();
                    local.close();
                }
                Some(Order::Stop) | None => {
                    local.stories.flush(&local.stats);
                    return;
                }
            },
            Some(question) = mailbox.questions.recv() => answer(&local, question),
            Some(handed) = mailbox.handed.recv() => acceptor.take_over(handed),
            _ = sweep.tick() => {
                local.sweep(Instant::now());
                local.stories.flush(&local.stats);
            }
        }
    }
}

/// Answers a question; whoever asked may have stopped waiting.
fn answer(local: &Local, question: Ask) {
    match question {
        Ask::Report(sender) => drop(sender.send(local.report())),
        Ask::Stories(sender) => drop(sender.send(local.stories.kept())),
    }
}

/// The worker's accepting tasks; one ends when its sender is dropped.
#[derive(Default)]
struct Listeners {
    stop: HashMap<SocketAddr, oneshot::Sender<()>>,
}

// === impl Listeners ===

impl Listeners {
    fn open(&mut self, acceptor: &Rc<Acceptor>, listener: std::net::TcpListener, door: Door) {
        let listener = match TcpListener::from_std(listener) {
            Ok(listener) => listener,
            Err(error) => return error!(%error, ?door, "a worker cannot listen"),
        };
        let Ok(address) = listener.local_addr() else { return };
        let (stop, stopped) = oneshot::channel();
        // Where another door was on this address, this ends it.
        self.stop.insert(address, stop);
        tokio::task::spawn_local(Rc::clone(acceptor).run(listener, door, stopped));
    }

    fn close(&mut self, address: SocketAddr) {
        self.stop.remove(&address);
    }
}
