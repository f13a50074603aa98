//! A resolver and a small name server on loopback that answers as the test says.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};
use tokio::task::JoinHandle;
use tokio::time::timeout;

use super::hosts::Hosts;
use super::*;

pub(super) const A: u16 = 1;
pub(super) const AAAA: u16 = 28;

/// What the server says to one question.
#[derive(Clone)]
pub(super) enum Say {
    Addresses(u32, Vec<IpAddr>),
    Nothing,
    Code(u8),
}

const NX_DOMAIN: Say = Say::Code(3);
const SERVER_FAILURE: Say = Say::Code(2);

#[derive(Default)]
struct Script {
    answers: HashMap<(String, u16), Say>,
    asked: Vec<(String, u16)>,
}

pub(super) struct Server {
    address: SocketAddr,
    script: Arc<Mutex<Script>>,
    tasks: [JoinHandle<()>; 2],
}

impl Server {
    pub(super) async fn start() -> Self {
        let (socket, stream) = same_port().await;
        let address = socket.local_addr().unwrap();
        let script = Arc::new(Mutex::new(Script::default()));
        let udp = tokio::spawn(answer_all(socket, Arc::clone(&script)));
        let tcp = tokio::spawn(answer_over_tcp(stream, Arc::clone(&script)));
        Self { address, script, tasks: [udp, tcp] }
    }

    /// From now on, `name` has these addresses of its family for so many seconds.
    pub(super) fn has(&self, name: &str, ttl: u32, ips: &[&str]) {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        let family = if ips[0].is_ipv4() { A } else { AAAA };
        self.says(name, family, Say::Addresses(ttl, ips));
    }

    /// From now on; whatever was never said is NXDOMAIN.
    pub(super) fn says(&self, name: &str, family: u16, say: Say) {
        let mut script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.answers.insert((name.to_owned(), family), say);
    }

    pub(super) fn asked(&self, name: &str) -> usize {
        let script = self.script.lock().unwrap_or_else(PoisonError::into_inner);
        script.asked.iter().filter(|(asked, family)| asked == name && *family == A).count()
    }

    /// A resolver that asks this server and nobody else.
    pub(super) fn lookup(&self) -> Lookup {
        self.lookup_within(Duration::from_secs(2))
    }

    /// The same, soon tired of waiting.
    pub(super) fn hasty(&self) -> Lookup {
        self.lookup_within(Duration::from_millis(100))
    }

    pub(super) fn lookup_within(&self, per_try: Duration) -> Lookup {
        let timing = Timing { per_try, tries: 2, other_family: Duration::from_millis(50) };
        let mut lookup = Lookup::new(&[self.address], timing).unwrap();
        (lookup.search, lookup.ndots, lookup.hosts) = (Vec::new(), 1, Hosts::new("/nonexistent"));
        lookup
    }
}

/// Where requests to a running resolver are sent.
fn serve(lookup: Lookup) -> mpsc::Sender<Arc<EndpointSet>> {
    let (requests, receiver) = mpsc::channel(1024);
    tokio::spawn(Names::over(lookup).serve(receiver));
    requests
}

impl Drop for Server {
    fn drop(&mut self) {
        self.tasks.iter().for_each(JoinHandle::abort);
    }
}

/// A free UDP port says nothing of the TCP port of the same number, so that pairs are tried.
async fn same_port() -> (UdpSocket, TcpListener) {
    for _ in 0..200 {
        let stream = TcpListener::bind("127.0.0.1:0").await.unwrap();
        if let Ok(socket) = UdpSocket::bind(stream.local_addr().unwrap()).await {
            return (socket, stream);
        }
    }
    panic!("no port is free for both UDP and TCP");
}

/// Larger answers say that they are cut, and nothing else.
const UDP_BYTES_MAX: usize = 1232;

async fn answer_all(socket: UdpSocket, script: Arc<Mutex<Script>>) {
    let mut buffer = [0; 1500];
    loop {
        let (length, client) = socket.recv_from(&mut buffer).await.unwrap();
        let query = &buffer[..length];
        if let Some(mut answer) = answer_one(query, &script) {
            if answer.len() > UDP_BYTES_MAX {
                answer.truncate(question(query).2);
                answer[2] |= 0x02;
                answer[7] = 0;
            }
            socket.send_to(&answer, client).await.unwrap();
        }
    }
}

/// One connection after the other; each message has its length before it.
async fn answer_over_tcp(listener: TcpListener, script: Arc<Mutex<Script>>) {
    loop {
        let (mut stream, _) = listener.accept().await.unwrap();
        while let Ok(length) = stream.read_u16().await {
            let mut query = vec![0; usize::from(length)];
            stream.read_exact(&mut query).await.unwrap();
            let answer = answer_one(&query, &script).unwrap();
            stream.write_u16(answer.len() as u16).await.unwrap();
            stream.write_all(&answer).await.unwrap();
        }
    }
}

fn answer_one(query: &[u8], script: &Mutex<Script>) -> Option<Vec<u8>> {
    let (name, family, end) = question(query);
    let mut script = script.lock().unwrap_or_else(PoisonError::into_inner);
    script.asked.push((name.clone(), family));
    let say = script.answers.get(&(name, family)).cloned().unwrap_or(NX_DOMAIN);
    answer(query, end, say)
}

/// The name in lower case, the type, and where the question ends.
fn question(query: &[u8]) -> (String, u16, usize) {
    let (mut at, mut labels) = (12, Vec::new());
    while query[at] > 0 {
        let label = &query[at + 1..=at + usize::from(query[at])];
        labels.push(String::from_utf8(label.to_ascii_lowercase()).unwrap());
        at += 1 + label.len();
    }
    (labels.join("."), u16::from_be_bytes([query[at + 1], query[at + 2]]), at + 5)
}

fn answer(query: &[u8], end: usize, say: Say) -> Option<Vec<u8>> {
    let (code, ttl, ips) = match say {
        Say::Nothing => return None,
        Say::Code(code) => (code, 0, Vec::new()),
        Say::Addresses(ttl, ips) => (0, ttl, ips),
    };
    let mut answer = [&query[..2], &[0x81, 0x80 | code, 0, 1, 0, ips.len() as u8, 0, 0, 0, 0]].concat();
    answer.extend_from_slice(&query[12..end]);
    for ip in ips {
        let (family, data) = match ip {
            IpAddr::V4(ip) => (A, ip.octets().to_vec()),
            IpAddr::V6(ip) => (AAAA, ip.octets().to_vec()),
        };
        // The name is that of the question, at offset 12.
        answer.extend_from_slice(&[0xc0, 12, 0, family as u8, 0, 1]);
        answer.extend_from_slice(&ttl.to_be_bytes());
        answer.extend_from_slice(&[0, data.len() as u8]);
        answer.extend(data);
    }
    Some(answer)
}

fn set(name: &str, requests: &mpsc::Sender<Arc<EndpointSet>>) -> Arc<EndpointSet> {
    let source = Source::Dns { name: name.to_owned(), port: 80 };
    Arc::new(EndpointSet::new(source, Some(requests.clone()), Instant::now()))
}

fn known(set: &EndpointSet) -> Vec<String> {
    let list = set.peek();
    list.iter().flat_map(|list| &list.endpoints).map(|endpoint| endpoint.address.to_string()).collect()
}

/// Waits for `holds`, at most five seconds.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    let wait = async {
        while !holds() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    timeout(Duration::from_secs(5), wait).await.unwrap_or_else(|_| panic!("not in time: {what}"));
}

fn texts(answer: &lookup::Answer) -> Vec<String> {
    answer.addresses.iter().map(ToString::to_string).collect()
}

#[tokio::test]
async fn every_address_of_both_families_comes_in_one_order() {
    let server = Server::start().await;
    server.has("cart.shop", 30, &["10.0.0.9", "10.0.0.2", "10.0.0.9"]);
    server.has("cart.shop", 20, &["fd00::2", "fd00::1"]);
    let answer = server.lookup().addresses("Cart.Shop", 8080).await.unwrap();
    assert_eq!(texts(&answer), ["10.0.0.2:8080", "10.0.0.9:8080", "[fd00::1]:8080", "[fd00::2]:8080"]);
    assert_eq!(answer.ttl, Duration::from_secs(20));
}

#[tokio::test]
async fn an_answer_too_large_for_udp_comes_over_tcp() {
    let server = Server::start().await;
    let many: Vec<String> = (0..200).map(|last| format!("10.0.0.{last}")).collect();
    server.has("cart.shop", 30, &many.iter().map(String::as_str).collect::<Vec<_>>());
    let answer = server.lookup().addresses("cart.shop", 80).await.unwrap();
    assert_eq!(answer.addresses.len(), 200);
}

#[tokio::test]
async fn nothing_between_us_and_the_server_remembers() {
    let server = Server::start().await;
    let lookup = server.lookup();
    server.has("cart.shop", 600, &["10.0.0.1"]);
    assert_eq!(lookup.addresses("cart.shop", 80).await.unwrap().ttl, Duration::from_secs(600));
    server.has("cart.shop", 5, &["10.0.0.2"]);
    let answer = lookup.addresses("cart.shop", 80).await.unwrap();
    assert_eq!((texts(&answer), answer.ttl), (vec!["10.0.0.2:80".to_owned()], Duration::from_secs(5)));
    server.says("cart.shop", A, NX_DOMAIN);
    assert_eq!(lookup.addresses("cart.shop", 80).await, Err(Failure::NoSuchName));
    server.has("cart.shop", 5, &["10.0.0.3"]);
    assert!(lookup.addresses("cart.shop", 80).await.is_ok());
}

#[tokio::test]
async fn a_first_lookup_is_waited_for_and_an_unknown_name_fails_it() {
    let server = Server::start().await;
    server.has("cart.shop", 30, &["10.0.0.1"]);
    let requests = serve(server.lookup());
    let (cart, none) = (set("cart.shop", &requests), set("none.shop", &requests));
    assert!(timeout(Duration::from_secs(5), cart.resolved()).await.unwrap());
    assert_eq!(known(&cart), ["10.0.0.1:80"]);
    assert!(!timeout(Duration::from_secs(5), none.resolved()).await.unwrap());
}

#[tokio::test]
async fn silence_keeps_the_last_good_answer_until_there_is_a_new_one() {
    let server = Server::start().await;
    server.has("cart.shop", 1, &["10.0.0.1"]);
    let requests = serve(server.hasty());
    let cart = set("cart.shop", &requests);
    assert!(cart.resolved().await);
    let expired = || Instant::now() + Duration::from_secs(2);

    server.says("cart.shop", A, Say::Nothing);
    server.says("cart.shop", AAAA, Say::Nothing);
    let before = cart.peek().unwrap().expires;
    assert!(cart.current(expired()).is_some());
    eventually("the failure is noted", || cart.peek().unwrap().expires != before).await;
    assert_eq!(known(&cart), ["10.0.0.1:80"]);
    assert!(server.asked("cart.shop") >= 3, "it was asked again");

    server.has("cart.shop", 1, &["10.0.0.2"]);
    server.says("cart.shop", AAAA, NX_DOMAIN);
    assert!(cart.current(expired()).is_some());
    eventually("the new answer is in place", || known(&cart) == ["10.0.0.2:80"]).await;
}

#[tokio::test]
async fn a_dead_name_holds_up_no_other() {
    let server = Server::start().await;
    server.says("dead.shop", A, Say::Nothing);
    server.says("dead.shop", AAAA, Say::Nothing);
    server.has("cart.shop", 30, &["10.0.0.1"]);
    let requests = serve(server.lookup());
    let (dead, cart) = (set("dead.shop", &requests), set("cart.shop", &requests));
    tokio::select! {
        biased;
        _ = dead.resolved() => panic!("the dead name was waited for"),
        found = cart.resolved() => assert!(found),
    }
}

#[tokio::test]
async fn a_server_that_never_answers_for_ipv6_costs_little() {
    let server = Server::start().await;
    server.has("cart.shop", 600, &["10.0.0.1"]);
    server.says("cart.shop", AAAA, Say::Nothing);
    let answer = timeout(Duration::from_secs(1), server.lookup().addresses("cart.shop", 80)).await;
    let answer = answer.expect("soon after the other family").unwrap();
    assert_eq!(texts(&answer), ["10.0.0.1:80"]);
    assert!(answer.ttl <= Duration::from_secs(5), "the other family is asked for again soon");
}

#[tokio::test]
async fn the_search_list_is_walked_in_its_order() {
    let server = Server::start().await;
    let mut lookup = server.lookup();
    lookup.search = ["shop.local.", "broken.", "wide."].iter().map(|name| name.parse().unwrap()).collect();
    lookup.ndots = 2;
    assert_eq!(lookup.search(), ["shop.local", "broken", "wide"]);
    server.has("cart.shop.local", 30, &["10.0.0.1"]);
    server.has("cart.wide", 30, &["10.0.0.9"]);
    server.has("other.wide", 30, &["10.0.0.2"]);
    server.has("a.b.c", 30, &["10.0.0.3"]);
    server.says("other.broken", A, SERVER_FAILURE);
    for (name, address) in [("cart", "10.0.0.1:80"), ("other", "10.0.0.2:80"), ("a.b.c", "10.0.0.3:80")] {
        assert_eq!(texts(&lookup.addresses(name, 80).await.unwrap()), [address], "{name}");
    }
    assert_eq!(server.asked("a.b.c.shop.local"), 0, "dots enough to be tried as it is first");
    assert!(lookup.addresses("cart.", 80).await.is_err(), "a trailing dot means no search");
}

#[tokio::test]
async fn silence_about_one_full_name_does_not_lead_to_another() {
    let server = Server::start().await;
    let mut lookup = server.hasty();
    lookup.search = vec!["shop.local.".parse().unwrap(), "wide.".parse().unwrap()];
    server.says("cart.shop.local", A, Say::Nothing);
    server.has("cart.wide", 30, &["10.0.0.9"]);
    assert!(matches!(lookup.addresses("cart", 80).await, Err(Failure::NoAnswer(_))));
    assert_eq!(server.asked("cart.wide"), 0);
}

#[tokio::test]
async fn hosts_and_localhost_are_not_asked_for() {
    let server = Server::start().await;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hosts");
    std::fs::write(&path, "10.9.9.9 cart.shop cart\n").unwrap();
    let mut lookup = server.lookup();
    lookup.hosts = Hosts::new(path);
    assert_eq!(texts(&lookup.addresses("cart.shop", 80).await.unwrap()), ["10.9.9.9:80"]);
    assert_eq!(texts(&lookup.addresses("localhost", 80).await.unwrap()), ["127.0.0.1:80", "[::1]:80"]);
    let script = server.script.lock().unwrap();
    assert!(script.asked.is_empty(), "{:?}", script.asked);
}

#[tokio::test]
async fn many_names_at_once_are_all_answered() {
    let server = Server::start().await;
    let requests = serve(server.lookup());
    let sets: Vec<_> = (0..400).map(|n| set(&format!("s{n}.shop"), &requests)).collect();
    for n in 0..400 {
        server.has(&format!("s{n}.shop"), 30, &["10.0.0.1"]);
    }
    for set in &sets {
        assert!(set.current(Instant::now()).is_none());
    }
    eventually("every name has its address", || sets.iter().all(|set| set.peek().is_some())).await;
}

#[tokio::test]
async fn what_is_no_name_has_no_address() {
    let server = Server::start().await;
    let long = "x".repeat(64);
    for name in ["", "..", long.as_str(), "a..b"] {
        assert_eq!(server.lookup().addresses(name, 80).await, Err(Failure::NoSuchName), "{name}");
    }
}

/// The mesh needs the search list, and is made before the control thread has its runtime.
#[test]
fn a_resolver_is_made_on_one_thread_and_used_on_another() {
    let names = Names::new(&["127.0.0.1:1".parse().unwrap()]).unwrap();
    let _ = names.search();
    let used = std::thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let (requests, receiver) = mpsc::channel(1);
        let localhost = set("localhost", &requests);
        runtime.block_on(async {
            tokio::spawn(names.serve(receiver));
            assert!(localhost.resolved().await);
        });
    });
    used.join().unwrap();
}
