//! Certificates in files: renewed, broken, expired, not there yet.

use std::fs;
use std::os::unix::fs::symlink;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use tokio::io::AsyncWriteExt;

use super::server::{Asker, NAME, Webhook, recorded};
use crate::support::{Authority, Pair, PemFolder, eventually};

/// Reviews that go on, one after the other, until the test stops them: each must be answered.
struct Trickle {
    stop: Arc<AtomicBool>,
    answered: Arc<AtomicUsize>,
    task: tokio::task::JoinHandle<()>,
}

// === impl Trickle ===

impl Trickle {
    /// With `kept` all of them go over one connection, which must last; otherwise each has its own.
    fn start(asker: &Asker, kept: bool) -> Self {
        let (stop, answered) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let (stopped, counted, asker) = (Arc::clone(&stop), Arc::clone(&answered), asker.clone());
        let task = tokio::spawn(async move {
            let mut line = asker.connect().await;
            while !stopped.load(Ordering::Relaxed) {
                if !kept {
                    line = asker.connect().await;
                }
                line.review(&recorded("bare")).await;
                counted.fetch_add(1, Ordering::Relaxed);
            }
        });
        Self { stop, answered, task }
    }

    /// Waits for this many more.
    async fn more(&self, count: usize) {
        let wanted = self.answered.load(Ordering::Relaxed) + count;
        eventually("reviews go on", async || {
            self.answered.load(Ordering::Relaxed) >= wanted || self.task.is_finished()
        })
        .await;
    }

    async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.expect("every review was answered");
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

async fn start(folder: &PemFolder) -> Webhook {
    let (cert, key) = (folder.fill("--cert=PEM/tls.crt"), folder.fill("--key=PEM/tls.key"));
    Webhook::start(&[&cert, &key], &[]).await
}

#[tokio::test]
async fn certificates_rotate_under_load_and_no_review_fails() {
    let authority = Authority::new();
    let pairs: Vec<Pair> = (0..4).map(|_| authority.issue(NAME)).collect();
    let folder = PemFolder::new(&[]);
    mount(&folder, 0, &pairs[0]);
    for name in ["tls.crt", "tls.key"] {
        symlink(format!("..data/{name}"), folder.path(name)).expect("a link");
    }
    let webhook = start(&folder).await;
    webhook.until_ready().await;
    let asker = webhook.asker(&authority.pem());
    let (kept, each) = (Trickle::start(&asker, true), Trickle::start(&asker, false));
    for (number, pair) in pairs.iter().enumerate() {
        if number > 0 {
            mount(&folder, number, pair);
        }
        eventually("the new one is shown", async || asker.connect().await.shown == pair.der().to_vec()).await;
        kept.more(10).await;
        each.more(10).await;
    }
    kept.stop().await;
    each.stop().await;
    assert!((webhook.count("certificate_loads_total", "applied").await - 4.0).abs() < 0.1);
}

#[tokio::test]
async fn a_pair_that_does_not_fit_is_refused_and_the_old_one_stays() {
    let authority = Authority::new();
    let (first, second) = (authority.issue(NAME), authority.issue(NAME));
    let folder = PemFolder::new(&[("tls.crt", &first.cert), ("tls.key", &first.key)]);
    let webhook = start(&folder).await;
    webhook.until_ready().await;
    let asker = webhook.asker(&authority.pem());
    folder.write("tls.crt", &second.cert);
    eventually("the log says why", async || webhook.said("the key of another certificate than")).await;
    assert_eq!(asker.connect().await.shown, first.der().to_vec());
    assert_eq!(webhook.ready().await.0, 200);
    assert!(webhook.count("certificate_loads_total", "rejected").await > 0.5);
    folder.write("tls.key", &second.key);
    eventually("both fit", async || asker.connect().await.shown == second.der().to_vec()).await;
    folder.write("tls.crt", "nothing");
    eventually("the log says why", async || webhook.said("tls.crt: a file without a certificate; the old"))
        .await;
    assert_eq!(asker.connect().await.shown, second.der().to_vec());
}

#[tokio::test]
async fn files_that_are_not_there_yet_are_waited_for() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let folder = PemFolder::new(&[]);
    let webhook = start(&folder).await;
    eventually("the reason is told", async || webhook.ready().await.1.contains("tls.crt: no such file"))
        .await;
    assert_eq!(webhook.ready().await.0, 503);
    assert_eq!(webhook.live().await, 200);
    let asker = webhook.asker(&authority.pem());
    assert!(asker.try_connect().await.is_err(), "nothing to show");
    folder.write("tls.key", &pair.key);
    folder.write("tls.crt", &pair.cert);
    webhook.until_ready().await;
    asker.review(&recorded("bare")).await;
}

#[tokio::test]
async fn an_expired_certificate_is_said_and_measured_and_nobody_is_sent_there() {
    let authority = Authority::new();
    let pair = authority.issue_expired(NAME);
    let folder = PemFolder::new(&[("tls.crt", &pair.cert), ("tls.key", &pair.key)]);
    let webhook = start(&folder).await;
    eventually("the log says so", async || webhook.said("the certificate has expired")).await;
    assert_eq!(webhook.ready().await, (503, "the certificate has expired\n".to_owned()));
    let expiry = webhook.gauge("certificate_expiry_timestamp_seconds").await;
    assert!((expiry - 1_577_836_800.0).abs() < 0.1, "{expiry}");
    let asker = webhook.asker(&authority.pem());
    assert!(asker.try_connect().await.is_err());
    eventually("the refusal is said", async || webhook.said("an API server refused our certificate")).await;
}

#[tokio::test]
async fn both_versions_of_tls_are_spoken() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let folder = PemFolder::new(&[("tls.crt", &pair.cert), ("tls.key", &pair.key)]);
    let webhook = start(&folder).await;
    webhook.until_ready().await;
    for version in [&rustls::version::TLS12, &rustls::version::TLS13] {
        let asker = Asker::with(webhook.address(), &authority.pem(), &[version]);
        asker.review(&recorded("bare")).await;
    }
}

#[tokio::test]
async fn the_end_waits_for_reviews_under_way() {
    let authority = Authority::new();
    let pair = authority.issue(NAME);
    let folder = PemFolder::new(&[("tls.crt", &pair.cert), ("tls.key", &pair.key)]);
    let mut webhook = start(&folder).await;
    webhook.until_ready().await;
    let asker = webhook.asker(&authority.pem());
    let (mut slow, mut later) = (asker.slow_connect().await, asker.connect().await);
    let review = recorded("bare");
    let (first, second) = review.split_at(1000);
    let head = format!(
        "POST /inject HTTP/1.1\r\nHost: {NAME}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
        review.len()
    );
    slow.write_all((head + first).as_bytes()).await.expect("sending");
    webhook.signal("TERM");
    eventually("/ready fails at once", async || webhook.ready().await == (503, "ending\n".to_owned())).await;
    // Who has not heard of it yet is answered, and told to go elsewhere.
    let reply = later.send("POST", "/inject", "application/json", &review).await;
    assert_eq!((reply.status, reply.headers["connection"].as_str()), (200, "close"));
    eventually("no more connections", async || asker.try_connect().await.is_err()).await;
    slow.write_all(second.as_bytes()).await.expect("sending");
    let answer = super::server::read_all(&mut slow).await;
    assert!(answer.starts_with("HTTP/1.1 200 ") && answer.contains("JSONPatch"), "{answer}");
    assert_eq!(webhook.ended().await, Some(0));
}
