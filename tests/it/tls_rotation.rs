//! Certificates that change while calls go on.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::support::{Authority, Outrigger, Pair, PemFolder, Reply, TlsFront, Upstream, eventually, get};

const MUTUAL: &str = "tls: {ca: PEM/ca.pem, cert: PEM/tls.crt, key: PEM/tls.key}";

/// Calls that go on, one after the other, until the test stops them; how many there were.
struct Trickle {
    stop: Arc<AtomicBool>,
    calls: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

// === impl Trickle ===

impl Trickle {
    /// Every call must succeed.
    fn start(proxy: &Outrigger) -> Self {
        let (stop, calls) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, address) = (Arc::clone(&stop), Arc::clone(&calls), proxy.outbound());
        let task = tokio::spawn(async move {
            while !stopped.load(Ordering::Relaxed) {
                let reply = crate::support::Client::connect(address).await.call(get("/")).await;
                assert_eq!(reply.outcome(), (200, ""), "{}", reply.text());
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, calls, task }
    }

    /// Waits for this many more.
    async fn more(&self, count: usize) {
        let wanted = self.calls.load(Ordering::Relaxed) + count;
        eventually("calls go on", async || {
            self.calls.load(Ordering::Relaxed) >= wanted || self.task.is_finished()
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every call succeeded");
    }
}

/// Puts a pair where a mounted Secret has it: behind a link that is swapped.
fn mount(folder: &PemFolder, number: usize, pair: &Pair) {
    let hidden = folder.path(&format!("..{number}"));
    fs::create_dir(&hidden).expect("a folder");
    fs::write(hidden.join("tls.crt"), &pair.cert).expect("writing a file");
    fs::write(hidden.join("tls.key"), &pair.key).expect("writing a file");
    let new = folder.path("..data_tmp");
    symlink(&hidden, &new).expect("a link");
    fs::rename(new, folder.path("..data")).expect("swapping the link");
}

#[tokio::test]
async fn certificates_rotate_under_load_and_no_call_fails() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let pairs: Vec<Pair> = (0..4).map(|_| clients.issue("order-service")).collect();
    let folder = PemFolder::new(&[("ca.pem", &authority.pem())]);
    mount(&folder, 0, &pairs[0]);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path(name)).expect("a link");
    }
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let server = authority.issue("shop").server_for_clients_of(&clients);
    let front = TlsFront::start(server, upstream.addr()).await;
    let proxy = folder.shop(&[front.addr()], MUTUAL).start().await;
    let trickle = Trickle::start(&proxy);
    for (number, pair) in pairs.iter().enumerate() {
        if number > 0 {
            proxy.reloaded("applied", || mount(&folder, number, pair)).await;
        }
        trickle.more(20).await;
        let last = front.handshakes().pop().expect("a handshake");
        assert_eq!(last.client.as_deref(), Some(&pair.der()[..]), "pair {number}");
    }
    trickle.stop().await;
    let handshakes = front.handshakes();
    assert!(handshakes.iter().all(|handshake| !handshake.resumed), "no session outlives its certificate");
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_refused_and_the_old_one_stays() {
    let (authority, clients) = (Authority::new(), Authority::new());
    let (first, second) = (clients.issue("order-service"), clients.issue("order-service"));
    let folder =
        PemFolder::new(&[("ca.pem", &authority.pem()), ("tls.crt", &first.cert), ("tls.key", &first.key)]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let server = authority.issue("shop").server_for_clients_of(&clients);
    let front = TlsFront::start(server, upstream.addr()).await;
    let lines = format!("{MUTUAL}\npool: {{maxIdle: 0}}");
    let proxy = folder.shop(&[front.addr()], &lines).start().await;
    let shown = || front.handshakes().pop().and_then(|handshake| handshake.client);

    proxy.reloaded("rejected", || folder.write("tls.crt", &second.cert)).await;
    eventually("the log says why", async || proxy.said("the key of another certificate")).await;
    assert_eq!(proxy.get("/").await.text(), "paid");
    assert_eq!(shown().as_deref(), Some(&first.der()[..]));

    proxy.reloaded("applied", || folder.write("tls.key", &second.key)).await;
    assert_eq!(proxy.get("/").await.text(), "paid");
    assert_eq!(shown().as_deref(), Some(&second.der()[..]));

    proxy.reloaded("rejected", || folder.write("ca.pem", "nothing")).await;
    assert_eq!(proxy.get("/").await.text(), "paid");
    proxy.reloaded("applied", || folder.write("ca.pem", &(authority.pem() + &clients.pem()))).await;
}

#[tokio::test]
async fn what_is_trusted_changes_with_its_file_and_idle_connections_end() {
    let (before, after) = (Authority::new(), Authority::new());
    let folder = PemFolder::new(&[("ca.pem", &before.pem())]);
    let upstream = Upstream::script([Reply::Ok("paid")]);
    let front = TlsFront::start(before.issue("shop").server(), upstream.addr()).await;
    let proxy = folder.shop(&[front.addr()], "tls: {ca: PEM/ca.pem}\nretries: off").start().await;
    assert_eq!(proxy.get("/").await.text(), "paid");
    assert_eq!(upstream.open(), 1);
    proxy.reloaded("applied", || folder.write("ca.pem", &after.pem())).await;
    upstream.drained().await;
    assert_eq!(proxy.get("/").await.outcome(), (503, "tls_failed"), "no longer trusted");
    front.now(after.issue("shop").server());
    assert_eq!(proxy.get("/").await.text(), "paid");
}

#[tokio::test]
async fn a_certificate_that_runs_out_is_warned_of_and_measured() {
    let authority = Authority::new();
    let soon = authority.issue_expired("order-service");
    let folder =
        PemFolder::new(&[("ca.pem", &authority.pem()), ("tls.crt", &soon.cert), ("tls.key", &soon.key)]);
    let upstream = Upstream::script([]);
    let proxy = folder.shop(&[upstream.addr()], MUTUAL).start().await;
    let warning = "service shop: a certificate of tls.cert has expired";
    eventually("the log warns of it", async || proxy.said(warning)).await;
    let expiry = |of| vec![("service", "shop"), ("certificate", of)];
    let name = "outrigger_certificate_expiry_timestamp_seconds";
    proxy.counted(name, &expiry("client"), 1_577_836_800.0).await;
    assert!(proxy.metrics().await.sum(name, &expiry("ca")) > 1e10, "rcgen's default is the year 4096");
}
