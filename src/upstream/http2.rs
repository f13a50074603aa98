//! HTTP/2 connections of one worker to one service: many calls share few of them.
//!
//! In: a connected stream. Out: a [`Lease`] on a connection that has room for one more stream. A
//! task per connection moves its frames, keeps it alive while calls are on it, and ends with it.

use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use h2::client::{Builder, Connection as Driver, ResponseFuture, SendRequest};
use h2::{Ping, PingPong, SendStream};
use http::Request;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout_at};

use crate::config::Pool as Settings;
use crate::error::Fault;
use crate::stream::{Alarm, Gathered, Stream};
use crate::telemetry::Gauge;

use super::pool::retire_at;

/// Bytes of one message that may wait for a side that reads slowly.
pub const STREAM_WINDOW_BYTES: u32 = 128 * 1024;

/// The same for a whole connection: what a thousand streams may hold, so that slow readers of some
/// never stop the others. How many streams there are is bounded by the bulkhead.
pub const CONNECTION_WINDOW_BYTES: u32 = 1024 * STREAM_WINDOW_BYTES;

/// Bytes of one message that wait to be written, past what the peer's window allows.
pub const SEND_BUFFER_BYTES: usize = 64 * 1024;

/// Most bytes of the fields of a head: that of HTTP/1.
pub const HEADER_LIST_BYTES_MAX: u32 = 64 * 1024;

/// What small DATA frames that wait may cost in framing before their sender is told to calm down.
/// A whole stream window of gRPC messages of one byte must fit: each frame counts 256 bytes.
pub const SMALL_FRAMES_BYTES: usize = 16 * 1024 * 1024;

/// A connection that carries calls is asked for a sign of life this often.
const PING_EVERY: Duration = Duration::from_secs(10);

/// Without a sign of life for this long after a ping, its calls are failed.
const PONG_WAIT_MAX: Duration = Duration::from_secs(5);

/// A connection, shared by the calls on it.
#[derive(Debug)]
struct Http2Connection {
    send: RefCell<SendRequest<Bytes>>,
    /// Its endpoint.
    address: SocketAddr,
    /// Calls on it now.
    calls: Cell<usize>,
    /// It has carried a call before.
    used: Cell<bool>,
    idle_since: Cell<Instant>,
    /// No call is started on it after this.
    retire_at: Instant,
    /// Its task has ended.
    ended: Cell<bool>,
    /// Wakes its task when a call comes to a connection without one, to be watched over.
    waker: RefCell<Option<Waker>>,
    idle: RefCell<Option<Gauge>>,
    open: Gauge,
}

/// Room for one call on a connection, until it is dropped.
#[derive(Debug)]
pub struct Lease {
    connection: Rc<Http2Connection>,
    /// It had carried a call before this one.
    pub reused: bool,
}

/// The connections, by endpoint.
#[derive(Debug, Default)]
pub struct Http2Pool {
    open: RefCell<HashMap<SocketAddr, Vec<Rc<Http2Connection>>, foldhash::fast::RandomState>>,
    dialling: RefCell<HashMap<SocketAddr, Rc<Dialling>, foldhash::fast::RandomState>>,
}

/// A connection that one call is opening, and others wait for.
#[derive(Debug)]
pub struct Dialling {
    done: Notify,
}

/// The right to open a connection to an address; others wait until it is dropped.
#[derive(Debug)]
pub struct Dial<'a> {
    pool: &'a Http2Pool,
    address: SocketAddr,
}

/// A connection whose peer has sent its settings.
pub struct Opened {
    send: SendRequest<Bytes>,
    frames: Frames,
}

/// The frames of a connection, in and out.
struct Frames {
    driver: Driver<Gathered, Bytes>,
    io: Gathered,
}

/// Begins HTTP/2 on a connected stream. Ready when the peer's settings have come: until then it
/// might be anything, and nothing was sent that it could act on.
///
/// # Errors
/// `ConnectTimeout` when they do not come until `give_up`, `ProtocolError` for a peer that speaks
/// something else.
pub async fn handshake(stream: Stream, give_up: Instant) -> Result<Opened, Fault> {
    let opening = async {
        let io = Gathered::new(stream);
        let (send, driver) = builder().handshake(io.clone()).await.map_err(|_| Fault::ProtocolError)?;
        let mut opened = Opened { send, frames: Frames { driver, io } };
        std::future::poll_fn(|cx| match opened.frames.poll(cx) {
            Poll::Ready(()) => Poll::Ready(Err(Fault::ProtocolError)),
            // 0 is what `builder` says of a peer that has said nothing.
            Poll::Pending if opened.send.current_max_send_streams() == 0 => Poll::Pending,
            Poll::Pending => Poll::Ready(Ok(())),
        })
        .await?;
        Ok(opened)
    };
    timeout_at(give_up, opening).await.unwrap_or(Err(Fault::ConnectTimeout))
}

fn builder() -> Builder {
    let mut builder = h2::client::Builder::new();
    builder
        .initial_window_size(STREAM_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(SEND_BUFFER_BYTES)
        .data_frame_budget(SMALL_FRAMES_BYTES)
        .initial_max_send_streams(0)
        .enable_push(false);
    builder
}

// === impl Frames ===

impl Frames {
    /// Moves them. Ready when the connection has ended.
    fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let ended = std::pin::Pin::new(&mut self.driver).poll(cx).map(drop);
        self.io.end_turn(cx);
        ended
    }
}

// === impl Http2Connection ===

impl Http2Connection {
    /// Whether one more call may start on it.
    fn has_room(&self, now: Instant) -> bool {
        let mut cx = Context::from_waker(Waker::noop());
        let mut send = self.send.borrow_mut();
        !self.ended.get()
            && now < self.retire_at
            && self.calls.get() < send.current_max_send_streams()
            && matches!(send.poll_ready(&mut cx), Poll::Ready(Ok(())))
    }

    fn is_worth_keeping(&self, now: Instant, idle: Duration) -> bool {
        let busy = self.calls.get() > 0;
        !self.ended.get() && now < self.retire_at && (busy || now < self.idle_since.get() + idle)
    }
}

// === impl Lease ===

impl Lease {
    fn new(connection: &Rc<Http2Connection>) -> Self {
        let calls = connection.calls.get();
        connection.calls.set(calls + 1);
        if calls == 0 {
            connection.idle.borrow_mut().take();
            if let Some(waker) = connection.waker.borrow_mut().take() {
                waker.wake();
            }
        }
        Self { reused: connection.used.replace(true), connection: Rc::clone(connection) }
    }

    /// Starts the call's stream; `ends` says that its head is all of it.
    ///
    /// # Errors
    /// When the connection takes no more streams, or the head can't be written.
    pub fn start(
        &self,
        head: Request<()>,
        ends: bool,
    ) -> Result<(ResponseFuture, SendStream<Bytes>), h2::Error> {
        self.connection.send.borrow_mut().send_request(head, ends)
    }

    /// The endpoint.
    pub fn address(&self) -> SocketAddr {
        self.connection.address
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let connection = &self.connection;
        let calls = connection.calls.get() - 1;
        connection.calls.set(calls);
        if calls == 0 {
            connection.idle_since.set(Instant::now());
            *connection.idle.borrow_mut() = Some(connection.open.sibling(|stats| &stats.idle));
        }
    }
}

// === impl Http2Pool ===

impl Http2Pool {
    /// Room on an open connection to `address`. With `avoid`, on one of several; never on the only one.
    pub fn take(&self, address: SocketAddr, avoid: bool, now: Instant) -> Option<Lease> {
        let open = self.open.borrow();
        let connections = open.get(&address)?;
        if avoid && connections.len() < 2 {
            return None;
        }
        // The first that has room: calls gather on few connections, and the others fall idle.
        let from = if avoid { fastrand::usize(..connections.len()) } else { 0 };
        let turned = connections[from..].iter().chain(&connections[..from]);
        turned.into_iter().find(|connection| connection.has_room(now)).map(Lease::new)
    }

    /// The right to open a connection, or the wait for whoever is at it.
    pub fn dial(&self, address: SocketAddr) -> Result<Dial<'_>, Rc<Dialling>> {
        let mut dialling = self.dialling.borrow_mut();
        if let Some(other) = dialling.get(&address) {
            return Err(Rc::clone(other));
        }
        dialling.insert(address, Rc::new(Dialling { done: Notify::new() }));
        Ok(Dial { pool: self, address })
    }

    /// Closes what has idled long enough or has ended, and lets go of what leads to an address that
    /// is no longer one of the service's; calls under way stay on theirs.
    pub fn sweep(&self, idle: Duration, now: Instant, is_current: impl Fn(SocketAddr) -> bool) {
        self.open.borrow_mut().retain(|address, connections| {
            let current = is_current(*address);
            connections.retain(|connection| current && connection.is_worth_keeping(now, idle));
            !connections.is_empty()
        });
    }
}

// === impl Dialling ===

impl Dialling {
    /// Waits until the one who dials is done. Cancel-safe.
    pub async fn done(&self) {
        self.done.notified().await;
    }
}

impl Http2Pool {
    /// Takes over a connection that is ready; `random` in 0..1 spreads the ages at which they retire.
    pub fn add(
        &self,
        address: SocketAddr,
        Opened { send, frames }: Opened,
        settings: &Settings,
        now: Instant,
        random: f64,
        open: Gauge,
    ) -> Lease {
        let connection = Rc::new(Http2Connection {
            send: RefCell::new(send),
            address,
            calls: Cell::new(0),
            used: Cell::new(false),
            idle_since: Cell::new(now),
            retire_at: retire_at(settings, now, random),
            ended: Cell::new(false),
            waker: RefCell::new(None),
            idle: RefCell::new(None),
            open,
        });
        let weak = Rc::downgrade(&connection);
        tokio::task::spawn_local(async move {
            let mut task = Task { frames, connection: weak, watch: Watch::default() };
            task.run().await;
        });
        self.open.borrow_mut().entry(address).or_default().push(Rc::clone(&connection));
        Lease::new(&connection)
    }
}

impl Drop for Dial<'_> {
    fn drop(&mut self) {
        if let Some(dialling) = self.pool.dialling.borrow_mut().remove(&self.address) {
            dialling.done.notify_waiters();
        }
    }
}

/// Moves the frames of one connection.
struct Task {
    frames: Frames,
    /// Weak: the connection ends when neither a pool nor a call has it.
    connection: std::rc::Weak<Http2Connection>,
    watch: Watch,
}

/// Watches over a connection that carries calls.
#[derive(Default)]
struct Watch {
    pings: Option<PingPong>,
    alarm: Alarm,
    /// When the next ping is due.
    due: Option<Instant>,
    /// A ping was sent, and its answer must come by then.
    pong_by: Option<Instant>,
}

impl Task {
    /// Runs until the connection has ended. A peer that gives no sign of life has ended too.
    async fn run(&mut self) {
        self.watch.pings = self.frames.driver.ping_pong();
        std::future::poll_fn(|cx| {
            if self.frames.poll(cx).is_ready() {
                return Poll::Ready(());
            }
            let busy = self.connection.upgrade().is_some_and(|connection| connection.poll_busy(cx));
            self.watch.poll(cx, busy)
        })
        .await;
        if let Some(connection) = self.connection.upgrade() {
            connection.ended.set(true);
        }
    }
}

impl Http2Connection {
    /// Whether calls are on it; if not, wakes the task when one comes.
    fn poll_busy(&self, cx: &mut Context<'_>) -> bool {
        let busy = self.calls.get() > 0;
        if !busy {
            *self.waker.borrow_mut() = Some(cx.waker().clone());
        }
        busy
    }
}

impl Watch {
    /// Ready when the peer is taken for dead.
    fn poll(&mut self, cx: &mut Context<'_>, busy: bool) -> Poll<()> {
        let Some(pings) = &mut self.pings else { return Poll::Pending };
        if self.pong_by.is_some() && pings.poll_pong(cx).is_ready() {
            self.pong_by = None;
            self.due = None;
        }
        if !busy && self.pong_by.is_none() {
            self.due = None;
            return Poll::Pending;
        }
        loop {
            if let Some(pong_by) = self.pong_by {
                return self.alarm.poll(cx, Some(pong_by));
            }
            let due = *self.due.get_or_insert_with(|| Instant::now() + PING_EVERY);
            std::task::ready!(self.alarm.poll(cx, Some(due)));
            if pings.send_ping(Ping::opaque()).is_err() {
                return Poll::Pending;
            }
            self.pong_by = Some(Instant::now() + PONG_WAIT_MAX);
            if pings.poll_pong(cx).is_ready() {
                self.pong_by = None;
                self.due = None;
            }
        }
    }
}
