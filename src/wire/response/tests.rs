//! What is accepted, what is refused, and what is written on.

use super::*;

const NEW: ClientSide = ClientSide { version: Version::Http11, keep_alive: true };
const OLD: ClientSide = ClientSide { version: Version::Http10, keep_alive: false };

fn parse(head: &str) -> Result<Option<ResponseHead>, &'static str> {
    parse_response(head.as_bytes(), Method::Get, &mut Vec::new())
}

fn forwarded(head: &str, client: ClientSide) -> (String, BodyEncoder) {
    let mut fields = Vec::new();
    let parsed = parse_response(head.as_bytes(), Method::Get, &mut fields).expect("valid").expect("whole");
    let mut out = BytesMut::new();
    let encoder = client_response(&parsed, head.as_bytes(), &fields, client, &mut out);
    (String::from_utf8(out.to_vec()).expect("text"), encoder)
}

#[test]
fn a_plain_answer_leaves_as_it_came() {
    let head = "HTTP/1.1 200 Fine\r\nServer: x\r\nContent-Length: 5\r\nX-a: 1\r\n\r\n";
    assert_eq!(forwarded(head, NEW), (head.to_owned(), BodyEncoder::Plain));
}

#[test]
fn fields_of_this_hop_stay_here() {
    let head = "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Hop\r\nKeep-Alive: timeout=5\r\nX-Hop: 1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forwarded(head, NEW).0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(parse(head).expect("valid").expect("whole").idle_hint, Some(Duration::from_secs(5)));
}

#[test]
fn obsolete_folds_become_one_space() {
    let head = "HTTP/1.1 200 OK\r\nX-Long: one\r\n   two\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forwarded(head, NEW).0, "HTTP/1.1 200 OK\r\nX-Long: one two\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn equal_lengths_merge_and_different_ones_are_refused() {
    let twice = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n";
    assert_eq!(forwarded(twice, NEW).0, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    assert_eq!(
        forwarded("HTTP/1.1 200 OK\r\nContent-Length: 5, 5\r\n\r\n", NEW).0,
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"
    );
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n").is_err());
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n").is_err());
    assert!(parse("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n").is_err());
    assert!(parse("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n").is_err());
    assert!(parse("SSH-2.0-OpenSSH_9.2\r\n\r\n").is_err());
}

#[test]
fn a_body_until_close_reaches_a_new_client_chunked_and_an_old_one_as_it_is() {
    let head = "HTTP/1.1 200 OK\r\nA: b\r\n\r\n";
    let (text, encoder) = forwarded(head, NEW);
    assert_eq!(
        (text.as_str(), encoder),
        ("HTTP/1.1 200 OK\r\nA: b\r\nTransfer-Encoding: chunked\r\n\r\n", BodyEncoder::Chunked)
    );
    let (text, encoder) = forwarded(head, OLD);
    assert_eq!(
        (text.as_str(), encoder),
        ("HTTP/1.1 200 OK\r\nA: b\r\nConnection: close\r\n\r\n", BodyEncoder::Plain)
    );
}

#[test]
fn an_old_client_gets_no_chunks() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (text, encoder) = forwarded(head, OLD);
    assert_eq!(
        (text.as_str(), encoder),
        ("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n", BodyEncoder::Plain)
    );
}

#[test]
fn no_body_follows_head_204_and_304_though_they_announce_a_length() {
    for (head, method) in [
        ("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", Method::Head),
        ("HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n", Method::Get),
        ("HTTP/1.1 204 No Content\r\n\r\n", Method::Get),
    ] {
        let mut fields = Vec::new();
        let parsed = parse_response(head.as_bytes(), method, &mut fields).expect("valid").expect("whole");
        assert_eq!(parsed.framing, Framing::None);
        assert!(parsed.keep_alive);
        let mut out = BytesMut::new();
        client_response(&parsed, head.as_bytes(), &fields, NEW, &mut out);
        assert_eq!(out, head, "what it announces stays");
    }
}

#[test]
fn another_sidecars_reason_gets_another_name() {
    let head = "HTTP/1.1 503 x\r\noutrigger-reason: breaker_open\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        forwarded(head, NEW).0,
        "HTTP/1.1 503 x\r\noutrigger-upstream-reason: breaker_open\r\nContent-Length: 0\r\n\r\n"
    );
}
