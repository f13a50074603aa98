//! The dashboard's files and its history, asked of the real proxy as a browser asks, and as others do.

use serde_json::Value;

use crate::support::{Client, Outrigger, Received, Reply, eventually, shop};

/// One request to the admin API with these header lines.
async fn ask(proxy: &Outrigger, line: &str, headers: &[&str]) -> Received {
    let address = proxy.admin();
    let mut request =
        format!("{line} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 0\r\nConnection: close\r\n");
    for header in headers {
        request.push_str(header);
        request.push_str("\r\n");
    }
    request.push_str("\r\n");
    Client::connect(address).await.call(request).await
}

/// What a browser says it wants when somebody types an address.
const BROWSER: &str = "Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";

#[tokio::test]
async fn a_browser_gets_the_page_and_others_the_list() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let page = ask(&proxy, "GET /", &[BROWSER]).await;
    assert_eq!((page.status, page.header("content-type")), (200, "text/html; charset=utf-8"));
    assert!(page.text().starts_with("<!doctype html>"), "{}", page.text());
    for headers in [&[][..], &["Accept: */*"]] {
        let list = ask(&proxy, "GET /", headers).await;
        assert_eq!((list.status, list.header("vary")), (200, "accept"));
        assert!(list.header("content-type").starts_with("text/plain"), "{}", list.header("content-type"));
        assert!(list.text().contains("/metrics"), "{}", list.text());
    }
}

#[tokio::test]
async fn the_page_may_load_nothing_from_elsewhere_and_be_in_no_frame() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let page = ask(&proxy, "GET /", &[BROWSER]).await;
    let policy = page.header("content-security-policy");
    for wanted in ["default-src 'none'", "script-src 'self'", "connect-src 'self'", "frame-ancestors 'none'"]
    {
        assert!(policy.contains(wanted), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!(page.header("x-content-type-options"), "nosniff");
    assert_eq!(page.header("cache-control"), "no-cache");
}

#[tokio::test]
async fn each_part_has_its_type_and_is_sent_once() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    for (name, kind) in [
        ("dashboard.js", "text/javascript; charset=utf-8"),
        ("dashboard.css", "text/css; charset=utf-8"),
        ("icon.svg", "image/svg+xml"),
        ("uPlot.js", "text/javascript; charset=utf-8"),
        ("uPlot.LICENSE", "text/plain; charset=utf-8"),
    ] {
        let line = format!("GET /page/{name}");
        let part = ask(&proxy, &line, &[]).await;
        assert_eq!((part.status, part.header("content-type")), (200, kind), "{name}");
        assert_eq!(part.header("x-content-type-options"), "nosniff", "{name}");
        let known = format!("If-None-Match: {}", part.header("etag"));
        let again = ask(&proxy, &line, &[&known]).await;
        assert_eq!((again.status, again.text().as_str()), (304, ""), "{name}");
        assert_eq!(again.header("etag"), part.header("etag"), "{name}");
    }
    assert_eq!(ask(&proxy, "GET /page/none.js", &[]).await.status, 404);
    assert_eq!(ask(&proxy, "GET /page/..%2F..%2Fadmin.rs", &[]).await.status, 404);
    assert_eq!(ask(&proxy, "POST /page/dashboard.js", &[]).await.status, 405);
}

#[tokio::test]
async fn the_page_and_its_history_are_kept_from_other_sites() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    for path in ["/", "/page/dashboard.js", "/history"] {
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: evil.example\r\n{BROWSER}\r\nConnection: close\r\n\r\n");
        let refused = Client::connect(proxy.admin()).await.call(request).await;
        assert_eq!(refused.status, 403, "{path}");
    }
    let forced =
        ask(&proxy, "POST /services/shop/breaker?state=open", &["Origin: http://evil.example"]).await;
    assert_eq!(forced.status, 403);
    assert_eq!(proxy.shop().await["breaker"]["forced"], Value::Null);
}

#[tokio::test]
async fn what_happened_before_the_page_was_opened_is_in_its_history() {
    let policy = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";
    let (_upstream, proxy) = shop(policy, [Reply::Status(503), Reply::Ok("x"), Reply::Status(500)]).await;
    assert_eq!(proxy.get("/").await.text(), "x");
    assert_eq!(proxy.get("/").await.status, 500);
    let mut points = Vec::new();
    eventually("two calls in the history", async || {
        let page = proxy.get_admin("/history?service=shop").await.json();
        assert_eq!(page["everyS"], 5);
        points = page["points"].as_array().expect("points").clone();
        sum(&points, "success") + sum(&points, "failure") == 2
    })
    .await;
    let counted = ["success", "failure", "refused", "cancelled", "retries"].map(|name| sum(&points, name));
    assert_eq!(counted, [1, 1, 0, 0, 1]);
    let busy = points.iter().find(|point| point["success"] == 1).expect("the interval of the call");
    assert!(busy["p50"].as_f64() > Some(0.0) && busy["p999"].as_f64() >= busy["p50"].as_f64(), "{busy}");
    assert!(busy["at"].as_u64() > Some(1_600_000_000), "{busy}");
    assert_eq!(proxy.get_admin("/history?service=nobody").await.json()["points"], Value::Array(Vec::new()));
    assert!(proxy.get_admin("/history").await.json()["services"].is_array());
}

fn sum(points: &[Value], name: &str) -> u64 {
    points.iter().filter_map(|point| point[name].as_u64()).sum()
}

#[tokio::test]
async fn the_head_of_the_page_has_its_facts() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let page = proxy.get_admin("/config").await.json();
    assert_eq!(
        (&page["readiness"], &page["outrigger"]),
        (&"ready".into(), &env!("CARGO_PKG_VERSION").into())
    );
    assert!(page["startedAt"].as_f64() <= page["loadedAt"].as_f64(), "{page}");
}
