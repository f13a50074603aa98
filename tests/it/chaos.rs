//! Everything at once: load, services that die, and reloads. No call may be lost, doubled or left
//! without a word.
//!
//! In: 64 connections, three endpoints of which one is killed every second, a file that changes
//! every second. Out: each request has exactly one reply, each reply is of its own request, each
//! reply but the service's own says why, and the metrics know of exactly the calls the clients made.
//! `OUTRIGGER_CHAOS_SECONDS` makes it longer than its 6 s.

use std::collections::{BTreeMap, HashSet};
use std::net::{SocketAddr, TcpListener as StdListener};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::Duration;

use socket2::SockRef;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{JoinHandle, JoinSet};
use tokio::time::{Instant, sleep, sleep_until};

use crate::support::wire::{Framing, Wire, fields, framing, pattern, values};
use crate::support::{Client, Mesh, Outrigger, Received, eventually, ms, within};

const CLIENTS: usize = 64;

/// How long a killed endpoint stays away.
const DEAD_FOR: Duration = ms(400);

/// Every so many requests ask for an answer that is too large to leave in one piece.
const LARGE_EVERY: usize = 16;
const LARGE_BYTES: usize = 512 * 1024;

/// An endpoint that can be killed: its connections are reset and its port is closed.
struct Victim {
    address: SocketAddr,
    task: Option<JoinHandle<()>>,
    posted: Posted,
}

/// The ids of every POST that reached an endpoint, and those that came twice.
type Posted = Arc<Mutex<(HashSet<String>, Vec<String>)>>;

/// What the clients saw: requests sent, and replies by reason. `ok` is the service's own answer,
/// `cut` the same without its end.
#[derive(Debug, Default)]
struct Tally {
    sent: usize,
    replies: BTreeMap<String, usize>,
}

#[tokio::test]
async fn no_call_is_lost_while_services_die_and_the_file_changes() {
    let seconds = std::env::var("OUTRIGGER_CHAOS_SECONDS").ok().and_then(|text| text.parse().ok());
    let end = Instant::now() + Duration::from_secs(seconds.unwrap_or(6));
    let posted = Posted::default();
    let mut victims: Vec<_> = (0..3).map(|_| Victim::start(&posted)).collect();
    let addresses: Vec<_> = victims.iter().map(|victim| victim.address).collect();
    let proxy = config(&addresses, 0).start().await;

    let mut clients = JoinSet::new();
    for client in 0..CLIENTS {
        clients.spawn(calls(proxy.outbound(), client, end));
    }
    let (reloads, kills) = tokio::join!(reload_until(end, &proxy, &addresses), kill_until(end, &mut victims));
    let mut tally = Tally::default();
    while let Some(one) = within("the last replies", clients.join_next()).await {
        tally.add(&one.expect("a client has a complaint"));
    }

    eprintln!("{kills} kills, {reloads} reloads, {tally:?}");
    assert_eq!(tally.replies.values().sum::<usize>(), tally.sent, "exactly one reply to each request");
    let twice = posted.lock().unwrap_or_else(PoisonError::into_inner).1.clone();
    assert!(twice.is_empty(), "sent twice though it may not be repeated: {twice:?}");
    assert!(tally.replies.get("ok").is_some_and(|ok| *ok > tally.sent / 2), "{tally:?}");
    the_metrics_agree(&proxy, &tally, reloads).await;
}

async fn the_metrics_agree(proxy: &Outrigger, tally: &Tally, reloads: usize) {
    proxy.counted("outrigger_calls_in_flight", &[], 0.0).await;
    proxy.bulkhead(0, 0).await;
    let metrics = proxy.metrics().await;
    let calls = |labels: &[(&str, &str)]| metrics.sum("outrigger_calls_total", labels) as usize;
    assert_eq!(calls(&[]), tally.sent, "{}", metrics.matching("outrigger_calls_total"));
    for (reason, count) in &tally.replies {
        let counted = match reason.as_str() {
            "ok" => calls(&[("outcome", "success"), ("reason", "")]),
            "cut" => calls(&[("reason", "reset_mid_response")]),
            reason => calls(&[("reason", reason)]),
        };
        assert_eq!(counted, *count, "{reason}: {}", metrics.matching("outrigger_calls_total"));
    }
    let applied = metrics.sum("outrigger_config_reloads_total", &[("result", "applied")]);
    assert_eq!(applied as usize, reloads);
    eventually("no connection of an application is left", async || {
        proxy.metrics().await.sum("outrigger_connections", &[]) == 0.0
    })
    .await;
    let upstream = |state| [("service", "shop"), ("state", state)];
    let metrics = proxy.metrics().await;
    let active = metrics.sum("outrigger_upstream_connections", &upstream("active"));
    assert_eq!(active, 0.0, "{}", metrics.matching("outrigger_upstream_connections"));
}

/// Tight enough that calls queue, and that some are refused.
fn config(addresses: &[SocketAddr], number: usize) -> Mesh {
    let timeout = 4 + number % 2;
    let policy = format!("timeout: {timeout}s\nbulkhead: {{maxConcurrent: 32, maxWait: 100ms}}");
    Mesh::new().service("shop", addresses, &policy)
}

/// Changes the file every second; the number of changes, each of which was put in force.
async fn reload_until(end: Instant, proxy: &Outrigger, addresses: &[SocketAddr]) -> usize {
    let (mut number, mut next) = (0, Instant::now() + ms(500));
    while next < end {
        sleep_until(next).await;
        number += 1;
        proxy.reloaded("applied", || proxy.rewrite_config(&config(addresses, number).yaml())).await;
        next += ms(1000);
    }
    number
}

/// Kills one endpoint after the other, one a second; the number of kills.
async fn kill_until(end: Instant, victims: &mut [Victim]) -> usize {
    let (mut number, mut next) = (0, Instant::now() + ms(250));
    while next < end {
        sleep_until(next).await;
        let count = victims.len();
        let victim = &mut victims[number % count];
        victim.kill().await;
        sleep(DEAD_FOR).await;
        victim.rise().await;
        number += 1;
        next += ms(1000);
    }
    number
}

/// One application: requests back to back until `end`, each with its one reply.
async fn calls(outbound: SocketAddr, client: usize, end: Instant) -> Tally {
    let mut tally = Tally::default();
    let mut connection = Client::connect(outbound).await;
    while Instant::now() < end {
        let id = format!("{client}-{}", tally.sent);
        connection.send(request(&id, tally.sent)).await;
        tally.sent += 1;
        let reply = connection.try_read_reply().await;
        let reply = reply.unwrap_or_else(|| panic!("request {id}: the connection ended without a reply"));
        let reason = judge(&reply, &id, tally.sent - 1);
        if reason == "cut" || reply.header("connection") == "close" {
            connection = Client::connect(outbound).await;
        }
        *tally.replies.entry(reason).or_default() += 1;
    }
    tally
}

/// One POST in four; its body is larger than one read every other time.
fn request(id: &str, number: usize) -> Vec<u8> {
    let size = if number.is_multiple_of(LARGE_EVERY) { LARGE_BYTES } else { 100 };
    let head = |method: &str| format!("{method} /{size} HTTP/1.1\r\nHost: shop\r\nx-id: {id}\r\n");
    if number % 4 != 3 {
        return format!("{}\r\n", head("GET")).into_bytes();
    }
    let body = content(if number % 8 == 3 { 100 } else { 40_000 });
    let mut request = format!("{}Content-Length: {}\r\n\r\n", head("POST"), body.len()).into_bytes();
    request.extend_from_slice(body);
    request
}

/// The first `size` bytes of a pattern that is made once.
fn content(size: usize) -> &'static [u8] {
    static CONTENT: LazyLock<Vec<u8>> = LazyLock::new(|| pattern(LARGE_BYTES));
    &CONTENT[..size]
}

/// Under which reason a reply goes; panics on one that is not the reply to this request.
fn judge(reply: &Received, id: &str, number: usize) -> String {
    if reply.status != 200 {
        assert!(!reply.reason().is_empty(), "{} without a reason: {reply:?}", reply.status);
        assert!(!reply.cut(), "half a reply of our own: {reply:?}");
        return reply.reason().to_owned();
    }
    assert_eq!(reply.header("x-id"), id, "the reply to another request");
    let whole = content(if number.is_multiple_of(LARGE_EVERY) { LARGE_BYTES } else { 100 });
    if reply.cut() {
        assert!(whole.starts_with(&reply.body.bytes), "request {id}: other bytes before the cut");
        return "cut".to_owned();
    }
    assert!(reply.body.bytes == whole, "request {id}: other bytes");
    "ok".to_owned()
}

// === impl Tally ===

impl Tally {
    fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        for (reason, count) in &other.replies {
            *self.replies.entry(reason.clone()).or_default() += count;
        }
    }
}

// === impl Victim ===

impl Victim {
    fn start(posted: &Posted) -> Self {
        let listener = StdListener::bind("127.0.0.1:0").expect("a free port");
        let address = listener.local_addr().expect("a bound address");
        let mut victim = Self { address, task: None, posted: Arc::clone(posted) };
        victim.serve(listener);
        victim
    }

    fn serve(&mut self, listener: StdListener) {
        listener.set_nonblocking(true).expect("a listener without waits");
        let listener = TcpListener::from_std(listener).expect("a runtime");
        self.task = Some(tokio::spawn(accept(listener, Arc::clone(&self.posted))));
    }

    /// Resets its connections and closes its port.
    async fn kill(&mut self) {
        let task = self.task.take().expect("it lives");
        task.abort();
        assert!(task.await.is_err_and(|error| error.is_cancelled()), "an endpoint has a complaint");
    }

    /// Listens on the same port again.
    async fn rise(&mut self) {
        let mut listener = None;
        eventually("the port can be bound again", async || {
            listener = StdListener::bind(self.address).ok();
            listener.is_some()
        })
        .await;
        self.serve(listener.expect("it was bound"));
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

/// Serves until it is aborted, which drops every connection: each ends by RST.
async fn accept(listener: TcpListener, posted: Posted) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! { // both arms are cancel safe: accept and join_next lose nothing
            accepted = listener.accept() => {
                let (stream, _) = accepted.expect("accepting a connection");
                SockRef::from(&stream).set_linger(Some(ms(0))).expect("SO_LINGER");
                connections.spawn(serve(stream, Arc::clone(&posted)));
            }
            Some(ended) = connections.join_next() => ended.expect("a request that can be read one way"),
        }
    }
}

/// Answers each request with its own id; every fourth a moment later, so that a kill meets it.
async fn serve(stream: TcpStream, posted: Posted) {
    let mut wire = Wire::new(stream);
    let mut served = 0;
    while let Some(head) = wire.head().await {
        let (line, fields) = (String::from_utf8_lossy(&head).into_owned(), fields(&head));
        let id = values(&fields, "x-id").first().copied().expect("an id").to_owned();
        if line.starts_with("POST ") {
            let mut posted = posted.lock().unwrap_or_else(PoisonError::into_inner);
            if !posted.0.insert(id.clone()) {
                posted.1.push(id.clone());
            }
        }
        if !wire.body(framing(&fields, Framing::Empty)).await.complete {
            return;
        }
        served += 1;
        if served % 4 == 0 {
            sleep(ms(5)).await;
        }
        let size = line.split([' ', '/']).nth(2).and_then(|size| size.parse().ok()).expect("a size");
        let mut reply =
            format!("HTTP/1.1 200 OK\r\nx-id: {id}\r\nContent-Length: {size}\r\n\r\n").into_bytes();
        reply.extend_from_slice(content(size));
        // In two pieces, so that a kill may fall between them.
        let (front, back) = reply.split_at(reply.len().min(LARGE_BYTES / 2));
        if wire.write(front).await.is_err() {
            return;
        }
        if !back.is_empty() {
            sleep(ms(5)).await;
        }
        if wire.write(back).await.is_err() {
            return;
        }
    }
}
