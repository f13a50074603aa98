//! A scripted HTTP/2 service: the `h2` library's server on port 0, which records every request.
//!
//! In: a script, a list of steps per stream; the last list repeats. Out: what was seen and what was
//! taken from it. Whatever the library calls a violation of HTTP/2, and any panic in here, fails the
//! test when the service is dropped.

use std::collections::VecDeque;
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use h2::RecvStream;
use h2::server::Builder;
use http::Request;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::{JoinError, JoinHandle, JoinSet};

use super::eventually;
use super::h2_client::{Fields, SMALL_FRAMES_BYTES_MAX};
use super::h2_script::{Step, play};
use super::h2_seen::H2Seen;
use super::h2_stream::Cut;

/// The server; its connections end when it is dropped.
#[derive(Debug)]
pub(crate) struct H2Service {
    address: SocketAddr,
    shared: Arc<Shared>,
    task: JoinHandle<()>,
}

/// What the server's tasks share with the test.
#[derive(Debug)]
pub(crate) struct Shared {
    state: Mutex<State>,
    release: watch::Sender<bool>,
    dropped: watch::Sender<usize>,
}

#[derive(Debug, Default)]
struct State {
    script: VecDeque<Vec<Step>>,
    requests: Vec<H2Seen>,
    connections: usize,
    open: usize,
    in_flight: usize,
    peak: usize,
    written_bytes: usize,
    complaints: Vec<String>,
}

// === impl H2Service ===

impl H2Service {
    /// Serves `script` on a free port of 127.0.0.1.
    pub(crate) fn script(script: impl IntoIterator<Item = Vec<Step>>) -> Self {
        Self::script_with(script, |builder| builder)
    }

    /// The same with other settings.
    pub(crate) fn script_with(
        script: impl IntoIterator<Item = Vec<Step>>,
        settings: impl FnOnce(&mut Builder) -> &mut Builder,
    ) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        listener.set_nonblocking(true).expect("a socket");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        let address = listener.local_addr().expect("a bound address");
        let mut builder = Builder::new();
        builder.data_frame_budget(SMALL_FRAMES_BYTES_MAX);
        settings(&mut builder);
        let state = State { script: script.into_iter().collect(), ..State::default() };
        let (release, dropped) = (watch::Sender::new(false), watch::Sender::new(0));
        let shared = Arc::new(Shared { state: Mutex::new(state), release, dropped });
        let task = tokio::spawn(accept(listener, builder, Arc::clone(&shared)));
        Self { address, shared, task }
    }

    pub(crate) const fn addr(&self) -> SocketAddr {
        self.address
    }

    /// Replaces what is left of the script.
    pub(crate) fn now(&self, script: impl IntoIterator<Item = Vec<Step>>) {
        self.shared.state().script = script.into_iter().collect();
    }

    /// Lets every held stream go on, also those to come.
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

    /// Most streams that were being answered at the same time.
    pub(crate) fn peak(&self) -> usize {
        self.shared.state().peak
    }

    /// Bytes of bodies for which the peer has opened a window.
    pub(crate) fn written_bytes(&self) -> usize {
        self.shared.state().written_bytes
    }

    /// The requests so far.
    pub(crate) fn requests(&self) -> Vec<H2Seen> {
        self.shared.state().requests.clone()
    }

    /// The last request; panics if there was none.
    pub(crate) fn last(&self) -> H2Seen {
        self.requests().pop().expect("the service saw a request")
    }

    /// Waits until `count` requests have arrived.
    pub(crate) async fn saw(&self, count: usize) {
        eventually(&format!("{count} requests at the service"), async || self.attempts() >= count).await;
    }

    /// Waits until the last request was cut with this code.
    pub(crate) async fn saw_reset(&self, code: u32) {
        eventually(&format!("RST_STREAM {code} at the service"), async || {
            self.last().cut == Some(Some(code))
        })
        .await;
    }

    /// Waits until no connection is open.
    pub(crate) async fn drained(&self) {
        eventually("no connection to the service is open", async || self.shared.state().open == 0).await;
    }

    /// Waits until no stream is open.
    pub(crate) async fn quiet(&self) {
        eventually("no stream at the service is open", async || self.shared.state().in_flight == 0).await;
    }

    fn check(&self) {
        let complaints = std::mem::take(&mut self.shared.state().complaints);
        assert!(complaints.is_empty(), "the scripted service complains: {complaints:#?}");
    }
}

impl Drop for H2Service {
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

    /// Returns once the test has let held streams go.
    pub(crate) async fn released(&self) {
        let mut release = self.release.subscribe();
        release.wait_for(|released| *released).await.expect("the sender lives as long as we do");
    }

    /// Ends every connection that is open now.
    pub(crate) fn drop_connections(&self) {
        self.dropped.send_modify(|count| *count += 1);
    }

    /// Counts bytes of bodies that went out.
    pub(crate) fn wrote(&self, bytes: usize) {
        self.state().written_bytes += bytes;
    }

    /// Takes note of a part of a request's body.
    pub(crate) fn read(&self, index: usize, bytes: &[u8]) {
        self.state().requests[index].body.bytes.extend_from_slice(bytes);
    }

    /// Takes note of the end of a request.
    pub(crate) fn read_all(&self, index: usize, trailers: Fields) {
        let body = &mut self.state().requests[index].body;
        body.trailers = trailers;
        body.complete = true;
    }

    /// Takes note of how a stream was cut.
    pub(crate) fn cut(&self, index: usize, how: Cut) {
        self.state().requests[index].cut = Some(how);
    }

    /// Takes note of a request; its place and the steps for it.
    fn arrive(&self, request: &Request<RecvStream>, connection: usize) -> (usize, Vec<Step>) {
        let seen = H2Seen::parse(request, connection);
        let mut state = self.state();
        let steps = match state.script.len() {
            0 => panic!("a request without a script: {seen:?}"),
            1 => state.script[0].clone(),
            _ => state.script.pop_front().expect("more than one is left"),
        };
        state.requests.push(seen);
        state.in_flight += 1;
        state.peak = state.peak.max(state.in_flight);
        (state.requests.len() - 1, steps)
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

/// Counts an open connection or a stream in flight down, whatever ends it.
struct Count<'a>(&'a Shared, fn(&mut State) -> &mut usize);

impl Drop for Count<'_> {
    fn drop(&mut self) {
        *(self.1)(&mut self.0.state()) -= 1;
    }
}

async fn accept(listener: TcpListener, builder: Builder, shared: Arc<Shared>) {
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
                connections.spawn(serve(stream, number, builder.clone(), Arc::clone(&shared)));
            }
            Some(ended) = connections.join_next() => shared.ended(ended),
        }
    }
}

async fn serve(stream: TcpStream, number: usize, builder: Builder, shared: Arc<Shared>) {
    let _open = Count(&shared, |state| &mut state.open);
    stream.set_nodelay(true).expect("TCP_NODELAY on a fresh socket");
    let mut dropped = shared.dropped.subscribe();
    dropped.mark_unchanged();
    let Ok(mut connection) = builder.handshake(stream).await else { return };
    let mut streams = JoinSet::new();
    loop {
        tokio::select! { // all arms are cancel safe: accept, join_next and changed lose nothing
            accepted = connection.accept() => match accepted {
                Some(Ok((request, respond))) => {
                    let (index, steps) = shared.arrive(&request, number);
                    let shared = Arc::clone(&shared);
                    streams.spawn(async move {
                        let _in_flight = Count(&shared, |state| &mut state.in_flight);
                        play(steps, index, request.into_body(), respond, &shared).await;
                    });
                }
                Some(Err(error)) => {
                    assert!(!error.is_library(), "the proxy broke HTTP/2: {error}");
                    return;
                }
                None => return,
            },
            Some(ended) = streams.join_next() => shared.ended(ended),
            _ = dropped.changed() => return,
        }
    }
}
