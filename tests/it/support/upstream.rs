//! A scripted service: a TCP server on port 0 that records every request it saw.
//!
//! It reads requests strictly. A request that could be read two ways, or any panic in here, fails
//! the test: at `finish`, or at the latest when the server is dropped.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::eventually;
use super::script::{After, Reply};
use super::wire::{Body, Framing, Wire, fields, framing, values};

/// The server; its connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct Upstream {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// One request as it arrived.
#[derive(Debug, Clone)]
pub(crate) struct Seen {
    /// First line.
    pub(crate) line: String,
    /// Name (as written) and value, in order.
    pub(crate) fields: Vec<(String, String)>,
    /// Head, verbatim, with its empty line.
    pub(crate) head: String,
    pub(crate) body: Body,
    /// Number of the connection it came on, from 0.
    pub(crate) connection: usize,
}

/// What the server's tasks share with the test.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    release: watch::Sender<bool>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Reply>,
    requests: Vec<Seen>,
    connections: usize,
    open: usize,
    in_flight: usize,
    peak: usize,
    written_bytes: usize,
    complaints: Vec<String>,
}

// === impl Upstream ===

impl Upstream {
    /// Serves `script` on a free port of 127.0.0.1.
    pub(crate) fn script(script: impl IntoIterator<Item = Reply>) -> Self {
        Self::script_at("127.0.0.1:0".parse().expect("an address"), script).expect("a free port")
    }

    /// Serves `script` on `address`.
    pub(crate) fn script_at(
        address: SocketAddr,
        script: impl IntoIterator<Item = Reply>,
    ) -> std::io::Result<Self> {
        let listener = StdListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let listener = TcpListener::from_std(listener)?;
        let state = State { script: script.into_iter().collect(), ..State::default() };
        let shared = Arc::new(Shared { state: Mutex::new(state), release: watch::Sender::new(false) });
        let address = listener.local_addr()?;
        let task = tokio::spawn(accept(listener, Arc::clone(&shared)));
        Ok(Self { address, shared, task })
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Replaces what is left of the script.
    pub(crate) fn now(&self, script: impl IntoIterator<Item = Reply>) {
        self.shared.state().script = script.into_iter().collect();
    }

    /// Lets every held reply go, also those to come.
    pub(crate) fn release(&self) {
        self.shared.release.send_replace(true);
    }

    /// Requests whose head arrived.
    pub(crate) fn attempts(&self) -> usize {
        self.shared.state().requests.len()
    }

    /// Connections accepted so far.
    pub(crate) fn connections(&self) -> usize {
        self.shared.state().connections
    }

    /// Connections open now.
    pub(crate) fn open(&self) -> usize {
        self.shared.state().open
    }

    /// Most requests that were being answered at the same time.
    pub(crate) fn peak(&self) -> usize {
        self.shared.state().peak
    }

    /// Body bytes of [`Reply::Pattern`] that the socket has taken.
    pub(crate) fn written_bytes(&self) -> usize {
        self.shared.state().written_bytes
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<Seen> {
        self.shared.state().requests.clone()
    }

    /// The last request; panics if there was none.
    pub(crate) fn last(&self) -> Seen {
        self.requests().pop().expect("the service saw a request")
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn saw(&self, count: usize) {
        eventually(&format!("{count} requests at the service"), async || self.attempts() >= count).await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn drained(&self) {
        eventually("no connection to the service is open", async || self.open() == 0).await;
    }

    /// Ends the server and fails the test if the server had a complaint.
    pub(crate) async fn finish(mut self) -> Vec<Seen> {
        self.task.abort();
        let _aborted = (&mut self.task).await;
        self.check();
        self.requests()
    }

    fn check(&self) {
        let complaints = std::mem::take(&mut self.shared.state().complaints);
        assert!(complaints.is_empty(), "the scripted service complains: {complaints:#?}");
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.task.abort();
        if !std::thread::panicking() {
            self.check();
        }
    }
}

// === impl Shared ===

impl Shared {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns once the test has let held replies go.
    pub(crate) async fn released(&self) {
        let mut release = self.release.subscribe();
        release.wait_for(|released| *released).await.expect("the sender lives as long as we do");
    }

    /// Counts body bytes that the socket took.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.state().written_bytes += bytes;
    }

    /// Takes note of a request; its place and the action for it.
    fn arrive(&self, head: &[u8], connection: usize) -> (usize, Reply) {
        let seen = Seen::parse(head, connection);
        let mut state = self.state();
        state.requests.push(seen);
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        let action = match state.script.len() {
            0 => panic!("a request without a script: {}", String::from_utf8_lossy(head)),
            1 => state.script[0].clone(),
            _ => state.script.pop_front().expect("more than one is left"),
        };
        (state.requests.len() - 1, action)
    }

    fn ended(&self, ended: Result<(), JoinError>) {
        if let Err(error) = ended
            && let Ok(panic) = error.try_into_panic()
        {
            let text = panic.downcast_ref::<String>().map(String::as_str);
            let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
            self.state().complaints.push(text.unwrap_or("a panic").to_owned());
        }
    }
}

// === impl Seen ===

impl Seen {
    fn parse(head: &[u8], connection: usize) -> Self {
        let fields = fields(head);
        let head = String::from_utf8_lossy(head).into_owned();
        let line = head.lines().next().unwrap_or_default().to_owned();
        assert!(line.ends_with(" HTTP/1.1") && line.split(' ').count() == 3, "not a request line: {line:?}");
        assert_eq!(values(&fields, "host").len(), 1, "exactly one Host: {head}");
        Self { line, fields, head, body: Body::default(), connection }
    }

    /// The value of the first field called `name`, or an empty text.
    pub(crate) fn header(&self, name: &str) -> &str {
        values(&self.fields, name).first().copied().unwrap_or_default()
    }

    /// Whether a field called `name` came.
    pub(crate) fn has(&self, name: &str) -> bool {
        !values(&self.fields, name).is_empty()
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body.bytes).into_owned()
    }
}

/// Counts an open connection or a request in flight down, whatever ends it.
struct Count<'a>(&'a Shared, fn(&mut State) -> &mut usize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        *(self.1)(&mut self.0.state()) -= 1;
    }
}

async fn accept(listener: TcpListener, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! { // both arms are cancel safe: accept and join_next lose nothing
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("accepting a connection");
                let number = {
                    let mut state = shared.state();
                    state.open += 1;
                    state.connections += 1;
                    state.connections - 1
                };
                connections.spawn(serve(stream, number, Arc::clone(&shared)));
            }
            Some(ended) = connections.join_next() => shared.ended(ended),
        }
    }
}

async fn serve(stream: TcpStream, number: usize, shared: Arc<Shared>) {
    let _open = Count(&shared, |state| &mut state.open);
    let mut wire = Wire::new(stream);
    while let Some(head) = wire.head().await {
        let (index, action) = shared.arrive(&head, number);
        let _in_flight = Count(&shared, |state| &mut state.in_flight);
        if matches!(action, Reply::Continue100(_))
            && wire.write(b"HTTP/1.1 100 Continue\r\n\r\n").await.is_err()
        {
            return;
        }
        if action.reads_body() || matches!(action, Reply::Continue100(_)) {
            let body = wire.body(framing(&fields(&head), Framing::Empty)).await;
            let complete = body.complete;
            shared.state().requests[index].body = body;
            if !complete {
                return;
            }
        }
        let method = String::from_utf8_lossy(&head).split(' ').next().unwrap_or_default().to_owned();
        if action.play(&mut wire, &method, &shared).await == After::Close {
            return;
        }
    }
}
