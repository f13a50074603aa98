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
fn an_answer_that_never_has_a_body_announces_none() {
    for status in ["103 x", "204 x"] {
        for announced in ["Content-Length: 5", "Transfer-Encoding: chunked"] {
            let head = format!("HTTP/1.1 {status}\r\n{announced}\r\nA: b\r\n\r\n");
            assert_eq!(forwarded(&head, NEW).0, format!("HTTP/1.1 {status}\r\nA: b\r\n\r\n"));
            let parsed = parse(&head).expect("valid").expect("whole");
            assert_eq!(
                (parsed.framing, parsed.keep_alive),
                (Framing::None, false),
                "the body may still come"
            );
        }
    }
    assert!(parse("HTTP/1.1 204 x\r\nContent-Length: 0\r\n\r\n").expect("valid").expect("whole").keep_alive);
}

#[test]
fn an_answer_to_head_keeps_its_coding_for_clients_that_know_it() {
    let head = "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut fields = Vec::new();
    let parsed = parse_response(head.as_bytes(), Method::Head, &mut fields).expect("valid").expect("whole");
    for (client, left) in [(NEW, head), (OLD, "HTTP/1.1 200 x\r\nConnection: close\r\n\r\n")] {
        let mut out = BytesMut::new();
        let encoder = client_response(&parsed, head.as_bytes(), &fields, client, &mut out);
        assert_eq!((std::str::from_utf8(&out), encoder), (Ok(left), BodyEncoder::Plain));
    }
}

#[test]
fn an_old_client_that_stays_is_told_of_a_body_without_length() {
    let stays = ClientSide { version: Version::Http10, keep_alive: true };
    let parsed =
        parse("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n").expect("valid").expect("whole");
    assert!(!parsed.ends_by_itself(Version::Http10) && parsed.ends_by_itself(Version::Http11));
    assert_eq!(
        forwarded("HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\n\r\n", stays).0,
        "HTTP/1.1 200 x\r\nConnection: close\r\n\r\n"
    );
    assert_eq!(
        forwarded("HTTP/1.1 200 x\r\nContent-Length: 1\r\n\r\n", stays).0,
        "HTTP/1.1 200 x\r\nContent-Length: 1\r\nConnection: keep-alive\r\n\r\n"
    );
}

#[test]
fn what_two_readers_could_read_differently_is_refused() {
    for bad in [
        "HTTP/1.1 099 x\r\n\r\n",
        "HTTP/1.1 000 x\r\n\r\n",
        "HTTP/1.1 2000 x\r\n\r\n",
        "HTTP/1.0 200 x\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked\r\nContent-Length: 1\r\n\r\n",
        "HTTP/1.1 200 x\r\nTransfer-Encoding: chunked,\r\n gzip\r\n\r\n",
        "HTTP/1.1 200 x\r\nContent-Length: 5,\r\n 6\r\n\r\n",
        "HTTP/1.1 200 x\r\nContent-Length: 5\r\n 6\r\n\r\n",
        "HTTP/1.1 200 x\r\nContent-Length: 5,\r\n\r\n",
        "HTTP/1.1 200 x\r\nContent-Length : 5\r\n\r\n",
        "HTTP/1.1 200 x\r\n Content-Length: 5\r\n\r\n",
        "HTTP/1.1 200 x\r\nA: b\rc\r\n\r\n",
    ] {
        assert!(parse(bad).is_err(), "{bad:?}");
    }
    let names = format!("HTTP/1.1 200 x\r\nConnection: {}\r\n\r\n", "a,".repeat(CONNECTION_BYTES_MAX));
    assert!(parse(&names).is_err());
}

#[test]
fn a_field_called_close_is_not_mistaken_for_one_of_ours() {
    let head = "HTTP/1.1 200 OK\r\nClose: 1\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forwarded(head, NEW).0, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n");
}

#[test]
fn an_answer_to_connect_opens_a_tunnel_and_has_no_body() {
    let head = b"HTTP/1.1 200 x\r\nContent-Length: 5\r\n\r\n";
    let parsed = parse_response(head, Method::Connect, &mut Vec::new()).expect("valid").expect("whole");
    assert_eq!(parsed.framing, Framing::None);
}

#[test]
fn a_folded_reason_leaves_on_one_line() {
    let head = "HTTP/1.1 503 x\r\noutrigger-reason: a\r\n b\r\nContent-Length: 0\r\n\r\n";
    let left = "HTTP/1.1 503 x\r\noutrigger-upstream-reason: a b\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(forwarded(head, NEW).0, left);
}

#[test]
fn another_sidecars_reason_gets_another_name() {
    let head = "HTTP/1.1 503 x\r\noutrigger-reason: breaker_open\r\nContent-Length: 0\r\n\r\n";
    assert_eq!(
        forwarded(head, NEW).0,
        "HTTP/1.1 503 x\r\noutrigger-upstream-reason: breaker_open\r\nContent-Length: 0\r\n\r\n"
    );
}
