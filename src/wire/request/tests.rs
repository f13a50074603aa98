//! What is accepted, what is refused, and what is written on.

use super::*;

use crate::wire::TraceForm;

const TRACE: TraceParent = TraceParent { trace_id: 1, span_id: 2, flags: 1, form: TraceForm::Own };
const TRACE_LINE: &str = "traceparent: 00-00000000000000000000000000000001-0000000000000002-01\r\n";

fn parse(bytes: &[u8]) -> Result<Option<Parsed>, Malformed> {
    parse_request(bytes, &mut Vec::new())
}

fn forwarded(bytes: &str) -> String {
    let mut fields = Vec::new();
    let parsed = parse_request(bytes.as_bytes(), &mut fields).expect("valid").expect("whole");
    let mut out = BytesMut::new();
    let trace = TraceParent { form: parsed.trace.form, ..TRACE };
    upstream_request(&parsed, bytes.as_bytes(), &fields, "own-host", &trace, &mut out);
    String::from_utf8(out.to_vec()).expect("text").replace(TRACE_LINE, "")
}

#[test]
fn case_and_order_of_fields_survive() {
    let head = "GET /a?b HTTP/1.1\r\nhOsT: x\r\nX-b: 1\r\nx-A:2\r\nX-b: 3\r\n\r\n";
    assert_eq!(forwarded(head), "GET /a?b HTTP/1.1\r\nhOsT: x\r\nX-b: 1\r\nx-A: 2\r\nX-b: 3\r\n\r\n");
}

#[test]
fn bare_line_feeds_leave_as_crlf() {
    assert_eq!(forwarded("GET / HTTP/1.1\nHost: x\nA: b\n\n"), "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n\r\n");
}

#[test]
fn fields_of_this_hop_stay_here() {
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: close, X-Mine\r\nX-Mine: 1\r\nKeep-Alive: 5\r\n\
                Proxy-Authorization: secret\r\nTE: gzip, trailers\r\nX-Other: 2\r\n\r\n";
    assert_eq!(forwarded(head), "GET / HTTP/1.1\r\nHost: x\r\nTE: trailers\r\nX-Other: 2\r\n\r\n");
}

#[test]
fn naming_the_length_in_connection_does_not_remove_it() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: content-length\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(forwarded(head), "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n");
}

#[test]
fn an_absolute_target_wins_over_host_and_leaves_in_origin_form() {
    let head = "GET http://shop:81/a?b=/c HTTP/1.1\r\nHost: other\r\nA: b\r\n\r\n";
    assert_eq!(forwarded(head), "GET /a?b=/c HTTP/1.1\r\nHost: shop:81\r\nA: b\r\n\r\n");
    assert_eq!(forwarded("GET http://shop?x HTTP/1.0\r\n\r\n"), "GET /?x HTTP/1.1\r\nHost: shop\r\n\r\n");
}

#[test]
fn asking_the_server_itself_leaves_as_a_star() {
    let head = "OPTIONS http://shop HTTP/1.1\r\nHost: shop\r\n\r\n";
    assert_eq!(forwarded(head), "OPTIONS * HTTP/1.1\r\nHost: shop\r\n\r\n");
    assert!(parse(b"GET * HTTP/1.1\r\nHost: x\r\n\r\n").is_err(), "only OPTIONS asks the server itself");
}

#[test]
fn fields_that_frame_the_body_leave_in_their_plainest_form() {
    assert_eq!(
        forwarded("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0005\r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n"
    );
    assert_eq!(
        forwarded("POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding:\tcHunKed \r\n\r\n"),
        "POST / HTTP/1.1\r\nHost: x\r\ntransfer-encoding: chunked\r\n\r\n"
    );
}

#[test]
fn a_body_that_is_waited_for_cannot_be_disowned() {
    let head = "POST / HTTP/1.1\r\nHost: x\r\nConnection: expect, host\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    assert_eq!(
        forwarded(head),
        "POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"
    );
}

#[test]
fn a_tunnel_has_no_body_and_needs_no_host_field() {
    for body in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
        let head = format!("CONNECT shop:443 HTTP/1.1\r\nHost: shop:443\r\n{body}\r\n\r\n");
        assert!(parse(head.as_bytes()).is_err(), "{body} could be the tunnel's first bytes");
    }
    for head in
        ["CONNECT shop:443 HTTP/1.1\r\n\r\n", "CONNECT shop:443 HTTP/1.1\r\nContent-Length: 0\r\n\r\n"]
    {
        assert!(parse(head.as_bytes()).expect("valid").is_some());
    }
}

#[test]
fn a_state_without_its_trace_stays_here() {
    let state = "tracestate: a=b\r\n";
    let parent = "traceparent: 00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01\r\n";
    let with = format!("GET / HTTP/1.1\r\nHost: x\r\n{parent}{state}\r\n");
    assert_eq!(forwarded(&with), format!("GET / HTTP/1.1\r\nHost: x\r\n{state}\r\n"));
    let without = format!("GET / HTTP/1.1\r\nHost: x\r\n{state}\r\n");
    assert_eq!(forwarded(&without), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn repeated_upgrades_leave_as_one() {
    let head = "GET / HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: h2c\r\nUpgrade: websocket\r\nUpgrade: foo/2\r\n\r\n";
    assert_eq!(
        forwarded(head),
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket, foo/2\r\n\r\n"
    );
}

#[test]
fn a_connection_field_of_endless_names_is_refused() {
    let names = "a,".repeat(CONNECTION_BYTES_MAX);
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nConnection: {names}\r\n\r\n");
    assert_eq!(parse(head.as_bytes()).err().map(|no| no.fault), Some(Fault::HeaderTooLarge));
}

#[test]
fn a_request_without_host_gets_the_services_own() {
    assert_eq!(
        forwarded("GET / HTTP/1.0\r\nA: b\r\n\r\n"),
        "GET / HTTP/1.1\r\nA: b\r\nHost: own-host\r\n\r\n"
    );
}

#[test]
fn upgrades_pass_but_not_to_cleartext_http2() {
    let socket = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket, h2c\r\nConnection: Upgrade\r\n\r\n";
    assert!(parse(socket.as_bytes()).expect("valid").expect("whole").upgrade);
    assert_eq!(
        forwarded(socket),
        "GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
    );
    let h2c = "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: h2c\r\nHTTP2-Settings: AA\r\nConnection: Upgrade, HTTP2-Settings\r\n\r\n";
    assert_eq!(forwarded(h2c), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
}

#[test]
fn an_incoming_trace_is_read_and_replaced() {
    let parent = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    let head = format!("GET / HTTP/1.1\r\nHost: x\r\nTraceparent: {parent}\r\n\r\n");
    assert!(parse(head.as_bytes()).expect("valid").expect("whole").trace.ids.is_some());
    assert_eq!(forwarded(&head), "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
    let twice =
        format!("GET / HTTP/1.1\r\nHost: x\r\ntraceparent: {parent}\r\ntraceparent: {parent}\r\n\r\n");
    assert!(
        parse(twice.as_bytes()).expect("valid").expect("whole").trace.ids.is_none(),
        "two parents are none"
    );
}

#[test]
fn heads_that_can_be_read_two_ways_are_refused() {
    for bad in [
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5, 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: +5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999999999999\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "POST / HTTP/1.0\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: user@x\r\n\r\n",
        "GET http://user@x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n folded\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x\r\nA: \u{1}\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: x\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x/ HTTP/1.1\r\n\r\n",
        "GET http:///a HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://:80/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x#@y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x\\@y/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET http://x:80:81/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x:80:81\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x:y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]y\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x]:80\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: x, y\r\n\r\n",
        "CONNECT / HTTP/1.1\r\nHost: x\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked,\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding:\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: \u{b}chunked\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5 5\r\n\r\n",
        "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0x5\r\n\r\n",
        "GET ftp://x/ HTTP/1.1\r\nHost: x\r\n\r\n",
        "\u{16}\u{3}\u{1}\u{2}",
    ] {
        let refused = parse(bad.as_bytes());
        assert_eq!(refused.map(|_| ()).map_err(|no| no.fault), Err(Fault::RequestMalformed), "{bad:?}");
    }
}

#[test]
fn what_has_one_meaning_passes_as_it_came() {
    for good in [
        "get / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /<x> HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /ä HTTP/1.1\r\nHost: x\r\n\r\n",
        "\r\nGET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: [::1]:80\r\n\r\n",
    ] {
        assert!(parse(good.as_bytes()).expect("valid").is_some(), "{good:?}");
    }
}

#[test]
fn too_large_is_said_as_such() {
    let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "a: b\r\n".repeat(HEAD_FIELDS_MAX));
    assert_eq!(parse(many.as_bytes()).err().map(|no| no.fault), Some(Fault::HeaderTooLarge));
    let long = format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "b".repeat(HEAD_BYTES_MAX));
    assert_eq!(parse(long.as_bytes()).err().map(|no| no.fault), Some(Fault::HeaderTooLarge));
}

#[test]
fn every_cut_of_a_head_is_unfinished() {
    let head = b"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\n";
    for cut in 0..head.len() {
        assert!(parse(&head[..cut]).expect("no mistake yet").is_none(), "after {cut} bytes");
    }
}
