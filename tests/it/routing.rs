//! Which service a call is for, and which of its endpoints takes it.

use crate::support::{
    Client, Echo, Mesh, Outrigger, Refused, Reply, Upstream, eventually, get, post, shop, shop_with,
};

const DENY: &str = "outbound: {listen: 127.0.0.1:0, unknown: deny}";

fn to(host: &str) -> String {
    format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

/// Two services, `a` and `b`, that answer with their names.
async fn two() -> (Upstream, Upstream, Outrigger) {
    let (a, b) = (Upstream::script([Reply::Ok("a")]), Upstream::script([Reply::Ok("b")]));
    let mesh = Mesh::new().top(DENY).service("a", &[a.addr()], "").service("b", &[b.addr()], "");
    let proxy = mesh.start().await;
    (a, b, proxy)
}

#[tokio::test]
async fn host_names_the_service() {
    let (_a, _b, proxy) = two().await;
    let mut client = proxy.client().await;
    for name in ["a", "b", "a"] {
        assert_eq!(client.call(to(name)).await.text(), name, "also on one connection");
    }
}

#[tokio::test]
async fn absolute_form_names_the_service_and_wins_over_host() {
    let (a, _b, proxy) = two().await;
    let reply = proxy.call("GET http://a/path?q HTTP/1.1\r\nHost: b\r\n\r\n").await;
    assert_eq!(reply.text(), "a");
    let seen = a.last();
    assert_eq!((seen.line.as_str(), seen.header("host")), ("GET /path?q HTTP/1.1", "a"));
}

#[tokio::test]
async fn absolute_form_without_a_path_is_the_root() {
    let (a, _b, proxy) = two().await;
    assert_eq!(proxy.call("GET http://a HTTP/1.1\r\nHost: a\r\n\r\n").await.text(), "a");
    assert_eq!(a.last().line, "GET / HTTP/1.1");
}

#[tokio::test]
async fn case_and_a_trailing_dot_do_not_matter() {
    let (_a, _b, proxy) = two().await;
    for name in ["A", "a.", "A.:80"] {
        assert_eq!(proxy.call(to(name)).await.text(), "a", "for {name}");
    }
    assert_eq!(proxy.call("GET HTTP://A/ HTTP/1.1\r\nHost: b\r\n\r\n").await.text(), "a");
}

#[tokio::test]
async fn a_host_without_a_port_means_the_usual_ports() {
    let (a, _b, proxy) = two().await;
    let own = a.addr().port();
    for name in ["a".to_owned(), "a:80".to_owned(), format!("a:{own}")] {
        assert_eq!(proxy.call(to(&name)).await.text(), "a", "for {name}");
    }
    let other = if own == 81 { 82 } else { 81 };
    assert_eq!(proxy.call(to(&format!("a:{other}"))).await.outcome(), (403, "denied"));
}

#[tokio::test]
async fn a_host_may_name_one_port_or_all() {
    let policy = "hosts: [\"any:*\", \"one:8080\", plain]";
    let (_upstream, proxy) = shop_with(DENY, policy, [Reply::Ok("x")]).await;
    for name in ["any", "any:1234", "one:8080", "plain"] {
        assert_eq!(proxy.call(to(name)).await.text(), "x", "for {name}");
    }
    for name in ["one", "one:8081", "shop", "nobody"] {
        assert_eq!(proxy.call(to(name)).await.outcome(), (403, "denied"), "for {name}");
    }
}

#[tokio::test]
async fn a_listener_of_its_own_ignores_host() {
    let (upstream, proxy) = shop_with(DENY, "listen: 127.0.0.1:0", [Reply::Ok("x")]).await;
    let mut client = Client::connect(proxy.service("shop")).await;
    assert_eq!(client.call(to("whatever.example:99")).await.text(), "x");
    assert_eq!(upstream.last().header("host"), "whatever.example:99", "it is the application's word");
    proxy.calls("success", "", 1).await;
}

#[tokio::test]
async fn an_unknown_destination_is_denied_when_the_yaml_says_so() {
    let stranger = Upstream::script([Reply::Ok("must not be reached")]);
    let (_upstream, proxy) = shop_with(DENY, "", [Reply::Ok("x")]).await;
    let absolute = format!("GET http://{0}/ HTTP/1.1\r\nHost: {0}\r\n\r\n", stranger.addr());
    for request in [to("nobody"), absolute, to(&stranger.addr().to_string())] {
        assert_eq!(proxy.call(request).await.outcome(), (403, "denied"));
    }
    let connect = format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", stranger.addr());
    assert_eq!(proxy.call(connect).await.outcome(), (403, "denied"));
    assert_eq!(stranger.connections(), 0);
}

#[tokio::test]
async fn an_unknown_destination_passes_by_default() {
    let stranger = Upstream::script([Reply::Status(503), Reply::Ok("hello")]);
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let request = format!("GET http://{0}/a HTTP/1.1\r\nHost: {0}\r\n\r\n", stranger.addr());
    assert_eq!(proxy.call(&request).await.outcome(), (503, ""), "no retries for strangers");
    assert_eq!(proxy.call(&request).await.text(), "hello");
    assert_eq!(stranger.last().line, "GET /a HTTP/1.1");
    proxy.counted("outrigger_calls_total", &[("service", "unknown")], 2.0).await;
}

#[tokio::test]
async fn a_call_to_ourselves_is_a_loop() {
    let (_upstream, proxy) = shop("listen: 127.0.0.1:0", [Reply::Ok("x")]).await;
    for own in [proxy.outbound(), proxy.admin(), proxy.service("shop")] {
        let reply = proxy.call(format!("GET http://{own}/ HTTP/1.1\r\nHost: {own}\r\n\r\n")).await;
        assert_eq!(reply.outcome(), (508, "loop_detected"), "for {own}");
    }
}

#[tokio::test]
async fn connect_to_a_service_carries_calls() {
    let (upstream, proxy) = shop("", [Reply::Ok("inside")]).await;
    let mut client = proxy.client().await;
    let port = upstream.addr().port();
    client.send(format!("CONNECT shop:{port} HTTP/1.1\r\nHost: shop:{port}\r\n\r\n")).await;
    assert_eq!(client.read_head().await.0, 200);
    assert_eq!(client.call(get("/")).await.text(), "inside");
    assert_eq!(client.call(get("/")).await.text(), "inside");
}

#[tokio::test]
async fn connect_to_a_stranger_is_a_tunnel() {
    let echo = Echo::start().await;
    let (_upstream, proxy) = shop("", [Reply::Ok("x")]).await;
    let mut client = proxy.client().await;
    client.send(format!("CONNECT {0} HTTP/1.1\r\nHost: {0}\r\n\r\n", echo.addr())).await;
    assert_eq!(client.read_head().await.0, 200);
    client.send("\0\u{1}any bytes\n").await;
    assert_eq!(client.read_exactly(12).await, b"\0\x01any bytes\n");
    client.half_close().await;
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true), "a half-close goes through");
}

#[tokio::test]
async fn calls_are_spread_over_static_endpoints() {
    let (a, b) = (Upstream::script([Reply::Ok("x")]), Upstream::script([Reply::Ok("x")]));
    let mesh = Mesh::new().top("workers: 1").service("shop", &[a.addr(), b.addr()], "balance: roundRobin");
    let proxy = mesh.start().await;
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.status, 200);
    }
    assert_eq!((a.attempts(), b.attempts()), (5, 5));
}

#[tokio::test]
async fn the_less_busy_endpoint_is_preferred() {
    let (busy, idle) = (Upstream::script([Reply::Hang]), Upstream::script([Reply::Ok("x")]));
    let proxy = Mesh::new().top("workers: 1").service("shop", &[busy.addr(), idle.addr()], "").start().await;
    let mut held = Vec::new();
    while busy.attempts() == 0 {
        held.push(proxy.get_later("/"));
        eventually("one of them took the call", async || busy.attempts() + idle.attempts() == held.len())
            .await;
    }
    let before = idle.attempts();
    for _ in 0..10 {
        assert_eq!(proxy.get("/").await.text(), "x");
    }
    assert_eq!((busy.attempts(), idle.attempts() - before), (1, 10));
}

#[tokio::test]
async fn a_dead_endpoint_costs_no_call_and_is_chosen_last() {
    let (dead, live) = (Refused::bind(), Upstream::script([Reply::Ok("x")]));
    let proxy = Mesh::new().service("shop", &[dead.addr(), live.addr()], "balance: roundRobin").start().await;
    for _ in 0..10 {
        assert_eq!(proxy.call(post("/", &[], "once")).await.text(), "x", "POST too: it was never sent");
    }
    assert_eq!(live.attempts(), 10);
    let dead = dead.addr().to_string();
    eventually("the dead one is listed as penalised", async || {
        assert_eq!(proxy.get("/").await.text(), "x");
        let shop = proxy.shop().await;
        let mut listed = shop["endpoints"].as_array().into_iter().flatten();
        listed.any(|one| {
            one["address"] == dead.as_str() && one["penalised"] != false && !one["penalised"].is_null()
        })
    })
    .await;
    assert_eq!(
        proxy.shop().await["breaker"]["state"],
        "closed",
        "another one was left: no failure of the service"
    );
}

#[tokio::test]
async fn an_opaque_service_is_bytes_both_ways() {
    let echo = Echo::start().await;
    let mesh = Mesh::new().service("bus", &[echo.addr()], "protocol: opaque\nlisten: 127.0.0.1:0");
    let proxy = mesh.start().await;
    let mut client = Client::connect(proxy.service("bus")).await;
    for word in ["\0\u{1}\u{2}", "GET / HTTP/1.1\r\nHost: x\r\n\r\n"] {
        client.send(word).await;
        assert_eq!(client.read_exactly(word.len()).await, word.as_bytes());
    }
    client.half_close().await;
    assert_eq!(client.read_to_clean_end().await, (Vec::new(), true));
}

#[tokio::test]
async fn the_first_route_that_matches_gives_its_policy_and_its_label() {
    let routes = "routes: [{name: exact, match: {method: POST, path: /a}}, {name: prefix, match: {pathPrefix: /b}}, \
        {name: pattern, match: {pathRegex: \"/c[0-9]+\"}}]";
    let (_upstream, proxy) = shop(routes, [Reply::Ok("x")]).await;
    proxy.call(post("/a?x=1", &[], "")).await;
    for path in ["/b", "/b/c", "/bb", "/c12", "/c12/x", "/a"] {
        proxy.get(path).await;
    }
    for (route, count) in [("exact", 1.0), ("prefix", 2.0), ("pattern", 1.0)] {
        proxy.counted("outrigger_calls_total", &[("service", "shop"), ("route", route)], count).await;
    }
    proxy.calls("success", "", 7).await;
}
