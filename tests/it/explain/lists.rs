//! The list of the latest faults, and how a call is found.

use crate::support::{Refused, Reply, eventually, outrigger, request, shop};

use super::{TRACE, TRACED, explain, explained};

const OTHER: &str = "traceparent: 00-0af76519ffffffffffffffffffffffff-b7ad6b7169203331-00";

#[tokio::test]
async fn the_latest_faults_are_listed_the_newest_first() {
    let (_upstream, proxy) =
        shop("retries: off", [Reply::Ok("x"), Reply::Status(503), Reply::CloseUnanswered]).await;
    for path in ["/fine", "/first", "/second"] {
        proxy.call(request("GET", path, &[TRACED])).await;
    }
    eventually("both are told", async || explained(&proxy, &[]).await.lines().count() == 3).await;
    let list = explained(&proxy, &[]).await;
    let lines: Vec<&str> = list.lines().collect();
    for (line, words) in lines.iter().zip([
        ["TIME", "REASON"],
        ["GET /second", "reset_before_response"],
        ["GET /first", "status_5xx"],
    ]) {
        assert!(words.iter().all(|word| line.contains(word)), "want {words:?} in {line}");
    }
    assert!(
        lines[1].contains(TRACE) && lines[1].contains("shop") && lines[1].contains("502"),
        "{}",
        lines[1]
    );
    let all = proxy.get_admin("/explain?all=1").await.json();
    assert_eq!(all["stories"].as_array().expect("a list").len(), 3, "the success too");
    let one = proxy.get_admin("/explain?limit=1").await.json();
    assert_eq!(one["stories"][0]["path"], "/second");
    assert_eq!(
        proxy.get_admin("/explain?service=other").await.json()["stories"].as_array().map(Vec::len),
        Some(0)
    );
}

#[tokio::test]
async fn a_call_is_found_by_its_trace_its_beginning_or_its_request_id() {
    let (_upstream, proxy) = shop("retries: off", [Reply::Status(503)]).await;
    proxy.call(request("GET", "/one", &[TRACED, "X-Request-Id: req-7"])).await;
    proxy.call(request("GET", "/two", &[TRACED])).await;
    eventually("both are told", async || {
        proxy.get_admin("/explain").await.json()["stories"].as_array().is_some_and(|list| list.len() == 2)
    })
    .await;
    for id in [TRACE, &TRACE[..8], &TRACE[..31]] {
        let told = explained(&proxy, &[id]).await;
        let (one, two) =
            (told.find("GET /one").expect("the first"), told.find("GET /two").expect("the second"));
        assert!(one < two, "in the order in which they happened:\n{told}");
    }
    let told = explained(&proxy, &["req-7"]).await;
    assert!(
        told.contains("GET /one") && told.contains("request id req-7") && !told.contains("/two"),
        "{told}"
    );
    let json: serde_json::Value =
        serde_json::from_str(&explained(&proxy, &["--json", TRACE]).await).expect("JSON");
    let story = &json["stories"][0];
    assert_eq!(
        (&story["path"], &story["reason"], &story["status"]),
        (&"/two".into(), &"status_5xx".into(), &503.into())
    );
    assert_eq!(story["cause"]["key"], "retries");
    assert_eq!(story["attempts"][0]["verdict"], "failure");
    assert_eq!(story["parentSpanId"], "b7ad6b7169203331");

    proxy.call(request("GET", "/three", &[OTHER])).await;
    eventually("the digits are of two traces", async || {
        proxy.get_admin(&format!("/explain?id={}", &TRACE[..8])).await.status == 400
    })
    .await;
    assert!(explained(&proxy, &[TRACE]).await.contains("/one"));
}

#[tokio::test]
async fn what_is_not_there_is_told() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    assert!(explained(&proxy, &[]).await.contains("no call has failed"));
    for id in ["ffffffffffffffffffffffffffffffff", "nobody", "0af7"] {
        let unknown = explain(&proxy, &[id]).await;
        assert_eq!(unknown.status.code(), Some(1));
        assert!(String::from_utf8_lossy(&unknown.stderr).contains("no_such_call"), "{unknown:?}");
    }
    for query in ["limit=0", "limit=501", "limit=x", "all=2", "id=", "what=1"] {
        let reply = proxy.get_admin(&format!("/explain?{query}")).await;
        assert_eq!((reply.status, &reply.json()["error"]), (400, &"bad_parameter".into()), "{query}");
    }
    let nobody = Refused::bind();
    let failed = outrigger(&["explain", "--admin", &nobody.addr().to_string()]).await;
    assert_eq!(failed.status.code(), Some(1));
    let wrong = outrigger(&["explain", "id", "--dry", "GET", "http://shop/"]).await;
    assert_eq!(wrong.status.code(), Some(2));
}

#[tokio::test]
async fn a_foreign_page_is_told_nothing() {
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = crate::support::Client::connect(proxy.admin()).await;
    let reply = client.call("GET /explain HTTP/1.1\r\nHost: evil.example\r\nConnection: close\r\n\r\n").await;
    assert_eq!((reply.status, &reply.json()["error"]), (403, &"foreign_host".into()));
}
