//! Requests that are no reviews, and clients that are no API servers.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::reviews::started;
use super::server::recorded;
use crate::support::within;

const JSON: &str = "application/json";

#[tokio::test]
async fn what_is_no_review_is_told_in_plain_text() {
    let (webhook, asker, _folder) = started(&[]).await;
    let (bare, old) = (recorded("bare"), recorded("v1beta1"));
    let request = |text: &str| {
        format!("{{\"apiVersion\": \"admission.k8s.io/v1\", \"kind\": \"AdmissionReview\"{text}}}")
    };
    let cases = [
        ("POST", "/mutate", JSON, bare.clone(), 404, "reviews are answered at /inject"),
        ("GET", "/inject", JSON, String::new(), 405, "/inject takes POST"),
        ("POST", "/inject", "text/plain", bare.clone(), 415, "the body must be application/json"),
        (
            "POST",
            "/inject",
            JSON,
            String::new(),
            400,
            "the body is no JSON: EOF while parsing a value at line 1",
        ),
        ("POST", "/inject", JSON, bare[..900].to_owned(), 400, "the body is no JSON: EOF while parsing"),
        ("POST", "/inject", JSON, "[1,".repeat(5000), 400, "the body is no JSON: recursion limit"),
        ("POST", "/inject", JSON, "\"AdmissionReview\"".to_owned(), 400, "found apiVersion none, kind none"),
        (
            "POST",
            "/inject",
            JSON,
            old,
            400,
            "found apiVersion \"admission.k8s.io/v1beta1\", kind \"AdmissionR",
        ),
        ("POST", "/inject", JSON, request(""), 400, "the AdmissionReview has no request"),
        ("POST", "/inject", JSON, request(", \"request\": {}"), 400, "the request has no uid"),
    ];
    let count = cases.len();
    for (method, path, of, body, status, told) in cases {
        let reply = asker.connect().await.send(method, path, of, &body).await;
        assert_eq!(reply.status, status, "{told}: {reply:?}");
        assert!(reply.text.starts_with(told) && reply.text.ends_with('\n'), "{told}: {reply:?}");
        assert!(reply.headers["content-type"].starts_with("text/plain"), "{reply:?}");
    }
    let charset = "application/json; charset=utf-8";
    assert_eq!(asker.connect().await.send("POST", "/inject", charset, &bare).await.status, 200);
    assert!((webhook.count("reviews_total", "refused").await - count as f64).abs() < 0.1);
}

#[tokio::test]
async fn a_review_of_three_mebibytes_is_answered_and_a_larger_one_refused() {
    let (_webhook, asker, _folder) = started(&[]).await;
    let large = |bytes: usize| {
        let note = format!("\"annotations\": {{\"note\": \"{}\",", "x".repeat(bytes));
        recorded("bare").replacen("\"annotations\": {", &note, 1)
    };
    let response = asker.review(&large(3 << 20)).await;
    assert_eq!(response["patchType"], "JSONPatch");
    let reply = asker.connect().await.send("POST", "/inject", JSON, &large(5 << 20)).await;
    assert_eq!((reply.status, reply.text.as_str()), (413, "the body is larger than 4 MiB\n"));
}

/// What the Deployment allows a replica: `k8s/webhook/base/deployment.yaml`.
const LIMIT_BYTES: usize = 256 << 20;

#[tokio::test]
async fn no_review_needs_more_memory_than_the_deployment_allows() {
    let (webhook, asker, _folder) = started(&[]).await;
    let filled = |value: &str, bytes: usize| {
        let list = vec![value; bytes / (value.len() + 1)].join(",");
        recorded("bare").replacen("\"spec\": {", &format!("\"spec\": {{\"x\": [{list}],"), 1)
    };
    for value in
        ["0", "{}", r#""""#, "[]", "[0]", r#"{"":0}"#, r#"{"name":"a"}"#, r#"{"name":"","value":""}"#]
    {
        for bytes in [1 << 20, 3 << 20] {
            let reply = asker.connect().await.send("POST", "/inject", JSON, &filled(value, bytes)).await;
            let refused = reply.status == 400 && reply.text.starts_with("found more than 262144 values");
            assert!(reply.status == 200 || refused, "{value}: {reply:?}");
        }
        let peak = webhook.peak_bytes();
        assert!(peak < LIMIT_BYTES / 2, "{value}: {} MiB", peak >> 20);
    }
}

#[tokio::test]
async fn many_large_reviews_at_once_wait_for_one_another() {
    let (_webhook, asker, _folder) = started(&[]).await;
    let note = format!("\"annotations\": {{\"note\": \"{}\",", "x".repeat(1 << 20));
    let review = recorded("bare").replacen("\"annotations\": {", &note, 1);
    let asked: Vec<_> = (0..8)
        .map(|_| {
            let (asker, review) = (asker.clone(), review.clone());
            tokio::spawn(async move { asker.review(&review).await["patchType"].clone() })
        })
        .collect();
    for one in asked {
        assert_eq!(one.await.expect("an answer"), "JSONPatch");
    }
}

#[tokio::test]
async fn who_says_nothing_loses_its_connection() {
    let (webhook, asker, _folder) = started(&[]).await;
    let mut silent = TcpStream::connect(webhook.address()).await.expect("a connection");
    let mut plain = TcpStream::connect(webhook.address()).await.expect("a connection");
    plain.write_all(b"GET /inject HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("sending");
    let (mut idle, mut kept) = (asker.slow_connect().await, asker.connect().await);
    kept.review(&recorded("bare")).await;
    let mut rest = Vec::new();
    within("plain text is refused", plain.read_to_end(&mut rest)).await.ok();
    assert!(!rest.starts_with(b"HTTP/"), "no reply without TLS");
    within("a connection without a handshake ends", silent.read_to_end(&mut rest)).await.ok();
    assert!(webhook.count("handshakes_total", "failed").await > 1.5);
    // Longer than it takes the handshake to be given up, and shorter than an API server's connection lasts.
    within("a connection without a review ends", idle.read_to_end(&mut rest)).await.ok();
    kept.review(&recorded("bare")).await;
    asker.review(&recorded("bare")).await;
}
