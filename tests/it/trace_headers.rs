//! Trace headers, in and out: W3C and B3, over HTTP/1, HTTP/2 and both bridges.

use std::collections::BTreeSet;

use crate::support::grpc::{grpc, message_then};
use crate::support::h2_script::{ok, status};
use crate::support::wire::values;
use crate::support::{H2Service, Outrigger, Reply, Upstream, ask, h2_shop, h2_shop_with, request, shop_with};

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const HALF: &str = "a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";
const PARENT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
const RETRY: &str = "retries: {maxRetries: 1, backoff: {base: 1ms, max: 2ms}}";

type Fields = Vec<(String, String)>;

/// Who speaks what: the application, then the service.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Road {
    Http1,
    Http2,
    OneToTwo,
    TwoToOne,
}

const ROADS: [Road; 4] = [Road::Http1, Road::Http2, Road::OneToTwo, Road::TwoToOne];

enum Service {
    Http1(Upstream),
    Http2(H2Service),
}

/// A proxy on one of the roads. The service fails its first attempt, and no other.
struct Way {
    road: Road,
    proxy: Outrigger,
    service: Service,
}

// === impl Way ===

impl Way {
    async fn start(road: Road, top: &str) -> Self {
        let (service, proxy) = match road {
            Road::Http1 | Road::TwoToOne => {
                let policy = format!("protocol: http1\n{RETRY}");
                let (upstream, proxy) = shop_with(top, &policy, [Reply::Status(503), Reply::Ok("x")]).await;
                (Service::Http1(upstream), proxy)
            }
            Road::Http2 | Road::OneToTwo => {
                let policy = format!("protocol: http2\n{RETRY}");
                let (service, proxy) = h2_shop_with(top, &policy, [status(503), ok("x")]).await;
                (Service::Http2(service), proxy)
            }
        };
        Self { road, proxy, service }
    }

    /// The fields of each attempt so far.
    fn seen(&self) -> Vec<Fields> {
        match &self.service {
            Service::Http1(upstream) => upstream.requests().into_iter().map(|one| one.fields).collect(),
            Service::Http2(service) => service.requests().into_iter().map(|one| one.fields).collect(),
        }
    }

    /// What the attempts of one call arrive with.
    async fn call(&self, lines: &[(&str, &str)]) -> Vec<Fields> {
        let before = self.seen().len();
        let reply = match self.road {
            Road::Http1 | Road::OneToTwo => {
                let lines: Vec<String> =
                    lines.iter().map(|(name, value)| format!("{name}: {value}")).collect();
                let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
                self.proxy.call(request("GET", "/", &lines)).await
            }
            Road::Http2 | Road::TwoToOne => self.proxy.h2().await.call(ask("GET", "/", lines), "").await,
        };
        assert_eq!((reply.status, reply.reason()), (200, ""), "{:?}: {lines:?}", self.road);
        self.seen().split_off(before)
    }

    /// What a call without a retry arrives with.
    async fn one(&self, lines: &[(&str, &str)]) -> Fields {
        self.call(lines).await.pop().expect("an attempt")
    }
}

/// The only value of a field, or an empty text without one.
fn only<'a>(fields: &'a Fields, name: &str) -> &'a str {
    let values = values(fields, name);
    assert!(values.len() < 2, "{name} twice: {values:?}");
    values.first().copied().unwrap_or_default()
}

/// The names of all trace headers, sorted.
fn names(fields: &Fields) -> Vec<String> {
    let is_trace = |name: &String| {
        name.starts_with("x-b3-") || matches!(name.as_str(), "b3" | "traceparent" | "tracestate")
    };
    let mut names: Vec<_> = fields.iter().map(|(name, _)| name.to_lowercase()).filter(is_trace).collect();
    names.sort();
    names
}

fn is_span(text: &str) -> bool {
    text.len() == 16 && text != SPAN && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A `traceparent` with a trace that the caller did not name.
fn starts_anew(fields: &Fields, what: &str) {
    assert_eq!(names(fields), ["traceparent"], "{what}");
    let value = only(fields, "traceparent");
    assert!(value.len() == 55 && !value.contains(TRACE) && !value.contains(HALF), "{what}: {value}");
}

#[tokio::test]
async fn retries_carry_spans_of_their_own_in_every_form() {
    for road in ROADS {
        for (name, value, kept) in
            [("traceparent", PARENT.to_owned(), TRACE), ("b3", format!("{HALF}-{SPAN}-1"), HALF)]
        {
            let way = Way::start(road, "").await;
            let attempts = way.call(&[(name, &value)]).await;
            assert_eq!(attempts.len(), 2, "{road:?}");
            let spans: BTreeSet<&str> = attempts
                .iter()
                .map(|fields| {
                    assert_eq!(names(fields), [name], "{road:?}");
                    let (trace, rest) =
                        only(fields, name).trim_start_matches("00-").split_once('-').expect("two");
                    assert_eq!(trace, kept, "{road:?}");
                    &rest[..16]
                })
                .collect();
            assert!(spans.len() == 2 && spans.iter().all(|span| is_span(span)), "{road:?}: {spans:?}");
        }
    }
}

#[tokio::test]
async fn b3_in_one_header_is_answered_in_kind() {
    for road in ROADS {
        let way = Way::start(road, "tracing: {sample: 100%}").await;
        for (came, trace, end) in [
            (format!("{TRACE}-{SPAN}-1"), TRACE, format!("-1-{SPAN}")),
            (format!("{TRACE}-{SPAN}-0-05e3ac9a4f6e3b90"), TRACE, format!("-0-{SPAN}")),
            (format!("{HALF}-{SPAN}-d"), HALF, format!("-d-{SPAN}")),
            (format!("{HALF}-{SPAN}"), HALF, format!("-1-{SPAN}")),
        ] {
            let fields = way.one(&[("b3", &came)]).await;
            assert_eq!(names(&fields), ["b3"], "{road:?} {came}");
            let sent = only(&fields, "b3");
            let span = sent.strip_prefix(trace).and_then(|rest| rest.strip_suffix(end.as_str()));
            assert!(span.is_some_and(|span| is_span(&span[1..])), "{road:?} {came}: {sent}");
        }
        let fields = way.one(&[("b3", "0")]).await;
        assert_eq!(names(&fields), ["b3"]);
        let sent = only(&fields, "b3");
        assert!(sent.len() == 51 && sent.ends_with("-0"), "a no stays one: {sent}");
    }
}

#[tokio::test]
async fn b3_in_several_headers_is_answered_in_kind() {
    for road in ROADS {
        let way = Way::start(road, "").await;
        let ids = [("X-B3-TraceId", HALF), ("X-B3-SpanId", SPAN), ("X-B3-ParentSpanId", "05e3ac9a4f6e3b90")];
        for (came, decision) in [
            (vec![("X-B3-Sampled", "1")], ("x-b3-sampled", "1")),
            (vec![("X-B3-Sampled", "0")], ("x-b3-sampled", "0")),
            (vec![("X-B3-Sampled", "1"), ("X-B3-Flags", "1")], ("x-b3-flags", "1")),
        ] {
            let came: Vec<(String, &str)> =
                ids.iter().chain(&came).map(|(name, value)| (name.to_lowercase(), *value)).collect();
            let came: Vec<(&str, &str)> = came.iter().map(|(name, value)| (name.as_str(), *value)).collect();
            let fields = way.one(&came).await;
            let mut expected = vec![decision.0, "x-b3-parentspanid", "x-b3-spanid", "x-b3-traceid"];
            expected.sort_unstable();
            assert_eq!(names(&fields), expected, "{road:?} {came:?}");
            assert_eq!((only(&fields, "x-b3-traceid"), only(&fields, "x-b3-parentspanid")), (HALF, SPAN));
            assert_eq!(only(&fields, decision.0), decision.1);
            assert!(is_span(only(&fields, "x-b3-spanid")));
        }
    }
}

#[tokio::test]
async fn traceparent_decides_and_b3_is_written_anew_beside_it() {
    for road in ROADS {
        let way = Way::start(road, "").await;
        let other = format!("{}-{}-0", "1".repeat(32), "2".repeat(16));
        let fields = way.one(&[("traceparent", PARENT), ("b3", &other), ("x-b3-sampled", "nonsense")]).await;
        assert_eq!(names(&fields), ["b3", "traceparent"], "{road:?}");
        let span = &only(&fields, "traceparent")[36..52];
        assert_eq!(only(&fields, "b3"), format!("{TRACE}-{span}-1-{SPAN}"), "{road:?}");
        let fields = way.one(&[("traceparent", "broken"), ("tracestate", "a=b"), ("b3", &other)]).await;
        assert_eq!(names(&fields), ["b3"], "{road:?}");
        assert!(only(&fields, "b3").starts_with(&"1".repeat(32)), "{road:?}");
    }
}

#[tokio::test]
async fn state_and_baggage_pass_byte_for_byte() {
    let baggage = ["a=1;p=%20x , b = 2", "c=\"3\",,  d"];
    let states = ["rojo=00f067aa0ba902b7,congo=t61rcWkgMzE", "x@y=1 , z=2"];
    for road in ROADS {
        let way = Way::start(road, "").await;
        let all = [
            ("baggage", baggage[0]),
            ("tracestate", states[0]),
            ("traceparent", PARENT),
            ("tracestate", states[1]),
            ("baggage", baggage[1]),
        ];
        for fields in way.call(&all).await {
            assert_eq!(values(&fields, "tracestate"), states, "{road:?}");
            assert_eq!(values(&fields, "baggage"), baggage, "{road:?}");
        }
        let fields = way.one(&[("baggage", baggage[0]), ("tracestate", states[0])]).await;
        starts_anew(&fields, "a state without its parent");
        assert_eq!(values(&fields, "baggage"), [baggage[0]], "{road:?}");
    }
}

#[tokio::test]
async fn the_share_decides_only_where_the_caller_has_not() {
    for (share, ours) in [("100%", "1"), ("0%", "0")] {
        for road in [Road::Http1, Road::Http2] {
            let way = Way::start(road, &format!("tracing: {{sample: {share}}}")).await;
            let deferred = way.one(&[("b3", &format!("{HALF}-{SPAN}"))]).await;
            assert_eq!(only(&deferred, "b3").split('-').nth(2), Some(ours), "{road:?} {share}");
            assert!(only(&way.one(&[]).await, "traceparent").ends_with(&format!("-0{ours}")));
            for theirs in ["0", "1"] {
                let decided = way.one(&[("b3", &format!("{HALF}-{SPAN}-{theirs}"))]).await;
                assert_eq!(only(&decided, "b3").split('-').nth(2), Some(theirs), "{road:?} {share}");
                let parent = format!("{}{theirs}", &PARENT[..54]);
                let decided = way.one(&[("traceparent", &parent)]).await;
                assert!(only(&decided, "traceparent").ends_with(&format!("-0{theirs}")), "{road:?} {share}");
            }
        }
    }
}

#[tokio::test]
async fn hostile_headers_start_a_new_trace_and_stop_here() {
    let long = "4bf92f3577b34da6".repeat(1000);
    let oversized = format!("{PARENT}{long}");
    let upper = PARENT.to_uppercase();
    let (zero_trace, zero_span) =
        (format!("00-{}-{SPAN}-01", "0".repeat(32)), format!("00-{TRACE}-{}-01", "0".repeat(16)));
    let (b3, b3_upper) = (format!("{TRACE}-{SPAN}-1"), format!("{}-{SPAN}-1", TRACE.to_uppercase()));
    let (b3_zero, b3_more) =
        (format!("{}-{SPAN}-1", "0".repeat(32)), format!("{TRACE}-{SPAN}-1-{SPAN}-{SPAN}"));
    let cases: Vec<Vec<(&str, &str)>> = vec![
        vec![("traceparent", "")],
        vec![("traceparent", &oversized), ("tracestate", "a=b")],
        vec![("traceparent", &upper)],
        vec![("traceparent", &zero_trace)],
        vec![("traceparent", &zero_span)],
        vec![("traceparent", PARENT), ("traceparent", PARENT), ("tracestate", "a=b")],
        vec![("traceparent", "00-\u{e4}"), ("tracestate", "")],
        vec![("b3", "")],
        vec![("b3", &long)],
        vec![("b3", &b3_upper)],
        vec![("b3", &b3_zero)],
        vec![("b3", &b3_more)],
        vec![("b3", &b3), ("b3", &b3)],
        vec![("x-b3-traceid", TRACE)],
        vec![("x-b3-spanid", SPAN), ("x-b3-sampled", "1")],
        vec![("x-b3-traceid", &long), ("x-b3-spanid", SPAN)],
        vec![("x-b3-traceid", TRACE), ("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN)],
        vec![("x-b3-traceid", TRACE), ("x-b3-spanid", "0000000000000000")],
        vec![("x-b3-traceid", TRACE), ("x-b3-spanid", SPAN), ("x-b3-flags", "many")],
        vec![("x-b3-parentspanid", SPAN)],
    ];
    for road in ROADS {
        let way = Way::start(road, "").await;
        for case in &cases {
            let shown: Vec<(&str, &str)> =
                case.iter().map(|(name, value)| (*name, value.get(..60).unwrap_or(value))).collect();
            for fields in way.call(case).await {
                starts_anew(&fields, &format!("{road:?} {shown:?}"));
            }
        }
    }
}

#[tokio::test]
async fn grpc_is_no_exception() {
    let (service, proxy) = h2_shop("", [message_then(&[("grpc-status", "0")])]).await;
    let client = proxy.h2().await;
    let sent = format!("{HALF}-{SPAN}-d");
    client.call(grpc("/shop.Cart/Get", &[("b3", &sent), ("grpc-trace-bin", "AAA=")]), "").await;
    let seen = service.last();
    assert_eq!(names(&seen.fields), ["b3"]);
    assert!(
        seen.header("b3").starts_with(HALF) && seen.header("b3").contains("-d-"),
        "{}",
        seen.header("b3")
    );
    assert_eq!(seen.header("grpc-trace-bin"), "AAA=", "not ours to read");
    client.call(grpc("/shop.Cart/Get", &[("b3", "x"), ("tracestate", "a=b")]), "").await;
    starts_anew(&service.last().fields, "broken");
}
