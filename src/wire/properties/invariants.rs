//! What must hold for any bytes whatever; shared by the property tests and the fuzz target.
//!
//! In: bytes, and a number that says where to cut them. Out: nothing, or a panic. The expectations
//! are worked out from the text with plain code, not with the classification under test.

use bytes::{Buf, BytesMut};

use crate::head::{Framing, Method, Version};
use crate::wire::{
    BodyDecoder, BodyEncoder, BodyError, ClientSide, Field, HEAD_BYTES_MAX, HEAD_FIELDS_MAX, Moved, Parsed,
    ResponseHead, TraceField, TraceParent, client_response, head_end, parse_request, parse_response,
    parse_traceparent, transcode, upstream_request,
};

/// A field in the form the comparisons use: lower-case name, value without folds.
type Pair = (String, Vec<u8>);

/// What is put in where the caller leaves it to us.
const OURS: (u128, u64) = (0xabc, 0xdef);

/// The span of an attempt.
const ATTEMPT: u64 = 0x1122_3344_5566_7788;

/// Fields that never leave this hop, whatever `Connection` says (RFC 9110 section 7.6.1).
const HOP: [&str; 6] =
    ["close", "connection", "keep-alive", "proxy-connection", "proxy-authorization", "http2-settings"];

/// Fields that are compared on their own, or that `Connection` cannot disown.
const APART: [&str; 10] = [
    "host",
    "te",
    "upgrade",
    "traceparent",
    "b3",
    "x-b3-traceid",
    "x-b3-spanid",
    "x-b3-parentspanid",
    "x-b3-sampled",
    "x-b3-flags",
];
const FRAMING: [&str; 3] = ["content-length", "transfer-encoding", "expect"];

/// A request head: parsed, forwarded, and parsed again. The rest is taken for its body.
pub(crate) fn request(bytes: &[u8], cut: usize) {
    let mut fields = Vec::new();
    let whole = parse_request(bytes, &mut fields);
    request_prefix(bytes, cut, whole.as_ref().ok().and_then(Option::as_ref));
    let Ok(Some(parsed)) = whole else { return };
    same_as_plain_httparse(bytes, &parsed, &fields);
    if parsed.method_kind == Method::Connect {
        assert!(matches!(parsed.framing, Framing::None | Framing::Length(0)), "a tunnel has no body");
        return;
    }
    let out = forward(&parsed, bytes, &fields, &trace_of(&parsed));
    if fields.len() + 7 <= HEAD_FIELDS_MAX && out.len() <= HEAD_BYTES_MAX {
        request_again(bytes, &parsed, &fields, &out);
    }
    body(parsed.framing, &bytes[parsed.length..], cut);
}

/// However much of a head has come in, what is read of it in the end is the same.
fn request_prefix(bytes: &[u8], cut: usize, whole: Option<&Parsed>) {
    let front = &bytes[..cut % (bytes.len() + 1)];
    let early = parse_request(front, &mut Vec::new());
    match (early, whole) {
        (Ok(Some(early)), whole) => {
            let whole = whole.expect("more bytes do not spoil a whole head");
            assert_eq!(format!("{early:?}"), format!("{whole:?}"));
        }
        (Err(no), Some(_)) => panic!("a prefix of a good head was refused: {}", no.what),
        (Ok(None), Some(whole)) => {
            assert!(front.len() < whole.length, "the whole head was there");
            assert!(head_end(&bytes[..whole.length], front.len()).is_some(), "its end is found");
        }
        (Ok(None) | Err(_), None) => {}
    }
}

fn same_as_plain_httparse(bytes: &[u8], parsed: &Parsed, fields: &[Field]) {
    let mut slots = [httparse::EMPTY_HEADER; HEAD_FIELDS_MAX];
    let mut plain = httparse::Request::new(&mut slots);
    assert_eq!(plain.parse(bytes), Ok(httparse::Status::Complete(parsed.length)));
    assert_eq!(plain.method.map(str::as_bytes), Some(parsed.method.of_bytes(bytes)));
    let target = plain.path.expect("complete");
    let path = parsed.target.path.of_bytes(bytes);
    assert!(target.as_bytes().ends_with(path), "{target}");
    if !parsed.target.absolute {
        assert_eq!(target.as_bytes(), path);
    }
    assert_eq!(plain.headers.len(), fields.len());
    for (theirs, ours) in plain.headers.iter().zip(fields) {
        assert_eq!(theirs.name.as_bytes(), ours.name.of_bytes(bytes));
        assert_eq!(theirs.value, ours.value.of_bytes(bytes));
    }
}

/// The caller's trace, or one of ours.
fn trace_of(parsed: &Parsed) -> TraceParent {
    let (trace_id, span_id) = parsed.trace.ids.unwrap_or(OURS);
    let flags = parsed.trace.sampled.unwrap_or(true).into();
    TraceParent { trace_id, span_id, flags, form: parsed.trace.form }
}

fn forward(parsed: &Parsed, head: &[u8], fields: &[Field], trace: &TraceParent) -> BytesMut {
    let mut out = BytesMut::new();
    let places = upstream_request(parsed, head, fields, "own-host", trace, &mut out);
    let length = out.len();
    TraceParent::patch_span(&mut out, places, ATTEMPT);
    assert_eq!(out.len(), length);
    only_whole_line_ends(&out);
    out
}

/// The service reads the trace of the caller, the span of the attempt, and a decision.
fn same_trace(trace: &TraceParent, again: &Parsed) {
    let short = trace.form.b3().is_some_and(|b3| b3.short) && !trace.form.uses(TraceField::Parent);
    let trace_id = if short { u128::from(trace.trace_id as u64) } else { trace.trace_id };
    assert_eq!(again.trace.ids, Some((trace_id, ATTEMPT)));
    assert_eq!(again.trace.sampled, Some(trace.is_sampled()));
    for field in [TraceField::B3, TraceField::B3TraceId] {
        assert_eq!(again.trace.form.uses(field), trace.form.uses(field), "answered in kind");
    }
}

/// What was forwarded is read as what was parsed.
fn request_again(bytes: &[u8], parsed: &Parsed, fields: &[Field], out: &[u8]) {
    let mut again_fields = Vec::new();
    let again = parse_request(out, &mut again_fields).expect("it is accepted again").expect("it is whole");
    assert_eq!(again.length, out.len());
    assert_eq!(again.method.of_bytes(out), parsed.method.of_bytes(bytes));
    let path = match (parsed.target.path.of_bytes(bytes), parsed.method.of_bytes(bytes)) {
        (b"", b"OPTIONS") => b"*".to_vec(),
        (path @ ([] | [b'?', ..]), _) => [b"/", path].concat(),
        (path, _) => path.to_vec(),
    };
    assert_eq!(again.target.path.of_bytes(out), path);
    let authority = match parsed.target.authority.of_bytes(bytes) {
        b"" => b"own-host",
        authority => authority,
    };
    assert_eq!(again.target.authority.of_bytes(out), authority);
    assert_eq!((again.version, again.framing), (Version::Http11, parsed.framing));
    assert_eq!(again.upgrade, parsed.upgrade);
    let trace = trace_of(parsed);
    same_trace(&trace, &again);
    let (before, after) = (pairs(bytes, fields), pairs(out, &again_fields));
    let expected: Vec<_> = end_to_end(&before)
        .filter(|(name, _)| name != "tracestate" || trace.form.uses(TraceField::State))
        .map(plain_value)
        .collect();
    assert_eq!(end_to_end(&after).cloned().collect::<Vec<_>>(), expected);
    nothing_of_the_hop(&after, parsed.upgrade);
    assert_eq!(count(&after, "host"), 1);
    let b3_alone = trace.form.b3().is_some() && !trace.form.uses(TraceField::Parent);
    assert_eq!(count(&after, "traceparent"), usize::from(!b3_alone));
    assert_eq!(count(&after, "b3"), usize::from(trace.form.uses(TraceField::B3)));
    assert_eq!(forward(&again, out, &again_fields, &trace), out, "forwarding twice changes nothing more");
}

/// A response head: parsed, forwarded, and parsed again. The rest is taken for its body.
pub(crate) fn response(bytes: &[u8], method: Method, client: ClientSide, cut: usize) {
    let mut fields = Vec::new();
    let whole = parse_response(bytes, method, &mut fields);
    let front = &bytes[..cut % (bytes.len() + 1)];
    match (parse_response(front, method, &mut Vec::new()), &whole) {
        (Ok(Some(early)), Ok(Some(whole))) => assert_eq!(format!("{early:?}"), format!("{whole:?}")),
        (Ok(Some(_)), Ok(None) | Err(_)) => panic!("more bytes spoiled a whole head"),
        (Err(no), Ok(Some(_))) => panic!("a prefix of a good head was refused: {no}"),
        (Ok(None), Ok(Some(whole))) => assert!(front.len() < whole.length, "the whole head was there"),
        (Ok(None) | Err(_), Ok(None) | Err(_)) => {}
    }
    let Ok(Some(parsed)) = whole else { return };
    let mut out = BytesMut::new();
    let encoder = client_response(&parsed, bytes, &fields, client, &mut out);
    only_whole_line_ends(&out);
    if fields.len() + 2 <= HEAD_FIELDS_MAX && out.len() <= HEAD_BYTES_MAX {
        response_again(bytes, &parsed, &fields, (method, client, encoder), &out);
    }
    body(parsed.framing, &bytes[parsed.length..], cut);
}

/// What was forwarded is read as what was parsed, with a framing the client knows.
fn response_again(
    bytes: &[u8],
    parsed: &ResponseHead,
    fields: &[Field],
    (method, client, encoder): (Method, ClientSide, BodyEncoder),
    out: &[u8],
) {
    let mut again_fields = Vec::new();
    let again = parse_response(out, method, &mut again_fields).expect("accepted again").expect("whole");
    assert_eq!((again.length, again.status), (out.len(), parsed.status));
    let framing = match (parsed.framing, client.version) {
        (Framing::Chunked | Framing::UntilClose, Version::Http11 | Version::Http2) => Framing::Chunked,
        (Framing::Chunked | Framing::UntilClose, Version::Http10) => Framing::UntilClose,
        (framing @ (Framing::None | Framing::Length(_)), _) => framing,
    };
    assert_eq!(again.framing, framing);
    assert_eq!(encoder == BodyEncoder::Chunked, framing == Framing::Chunked);
    if framing == Framing::UntilClose || (parsed.status >= 200 && !client.keep_alive) {
        let closes = out.windows(19).any(|window| window == b"Connection: close\r\n");
        assert!(closes || parsed.status == 101, "the client is told of the end");
    }
    let (before, after) = (pairs(bytes, fields), pairs(out, &again_fields));
    let bodyless = matches!(parsed.status, 100..200 | 204);
    let body_field = |name: &str| matches!(name, "content-length" | "transfer-encoding");
    let kept = |pairs: &[Pair]| -> Vec<Pair> {
        end_to_end(pairs).filter(|(name, _)| !body_field(name)).map(renamed).collect()
    };
    assert_eq!(kept(&after), kept(&before));
    assert!(!bodyless || !after.iter().any(|(name, _)| body_field(name)), "{} has no body", parsed.status);
    assert!(client.version == Version::Http11 || count(&after, "transfer-encoding") == 0);
    assert!(count(&after, "content-length") + count(&after, "transfer-encoding") <= 1);
    let mut twice = BytesMut::new();
    client_response(&again, out, &again_fields, client, &mut twice);
    assert_eq!(twice, out, "forwarding twice changes nothing more");
}

/// A body comes out the same however it is cut, and can be read again once it is written.
pub(crate) fn body(framing: Framing, bytes: &[u8], cut: usize) {
    let (plain, plain_end, rest) = moved(framing, BodyEncoder::Plain, bytes, None);
    assert_eq!(
        moved(framing, BodyEncoder::Plain, bytes, Some(cut)),
        (plain.clone(), plain_end, rest.clone())
    );
    if !matches!(framing, Framing::Chunked | Framing::UntilClose) {
        return;
    }
    let (coded, end, left) = moved(framing, BodyEncoder::Chunked, bytes, None);
    assert_eq!((end, &left), (plain_end, &rest), "framing out does not change framing in");
    let (cut_coded, cut_end, cut_left) = moved(framing, BodyEncoder::Chunked, bytes, Some(cut));
    assert_eq!((cut_end, &cut_left), (end, &left));
    for coded in [coded, cut_coded] {
        let (content, again_end, again_left) = moved(Framing::Chunked, BodyEncoder::Plain, &coded, Some(cut));
        assert_eq!(content, plain);
        assert!(again_left.is_empty());
        assert_eq!(again_end == Ok(Moved::End), end == Ok(Moved::End), "a cut body is not made whole");
    }
}

/// Runs a body through [`transcode`], in one piece or cut in many, with much or little room.
pub(crate) fn moved(
    framing: Framing,
    encoder: BodyEncoder,
    bytes: &[u8],
    cut: Option<usize>,
) -> (Vec<u8>, Result<Moved, BodyError>, Vec<u8>) {
    let (mut decoder, mut input) = (BodyDecoder::new(framing), BytesMut::new());
    let (mut out, mut done, mut rest) = (BytesMut::new(), Vec::new(), bytes);
    let mut steps = Steps(cut.unwrap_or_default() as u32);
    loop {
        let room = if cut.is_some() { steps.next(40) } else { usize::MAX };
        let came = transcode(&mut decoder, encoder, &mut input, &mut out, room);
        done.extend_from_slice(&out);
        out.clear();
        match came {
            Ok(Moved::Full) => {}
            Ok(Moved::NeedMore) if !rest.is_empty() => {
                let count = if cut.is_some() { steps.next(20).min(rest.len()) } else { rest.len() };
                input.extend_from_slice(&rest[..count]);
                rest.advance(count);
            }
            Ok(Moved::NeedMore | Moved::End) | Err(_) => {
                input.extend_from_slice(rest);
                return (done, came, input.to_vec());
            }
        }
    }
}

/// The parts that take any bytes at all.
pub(crate) fn small_parts(bytes: &[u8], cut: usize) {
    if let Some(parent) = parse_traceparent(bytes) {
        let canonical = TraceParent { flags: parent.flags & 1, ..parent };
        assert_eq!(parse_traceparent(&parent.text()), Some(canonical));
    }
    if let Some(end) = head_end(bytes, 0) {
        assert_eq!(head_end(bytes, cut % end), Some(end), "looking in two goes finds the same end");
    }
    let _ = head_end(bytes, cut);
}

/// A repeatable row of small numbers.
struct Steps(u32);

impl Steps {
    fn next(&mut self, max: u32) -> usize {
        self.0 = self.0.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (1 + (self.0 >> 16) % max) as usize
    }
}

fn only_whole_line_ends(out: &[u8]) {
    for (at, byte) in out.iter().enumerate() {
        match byte {
            b'\n' => assert!(at > 0 && out[at - 1] == b'\r', "a bare LF was written"),
            b'\r' => assert_eq!(out.get(at + 1), Some(&b'\n'), "a bare CR was written"),
            b' ' | b'\t' => assert!(at == 0 || out[at - 1] != b'\n', "a folded line was written"),
            _ => assert_ne!(*byte, 0, "a NUL was written"),
        }
    }
}

fn pairs(head: &[u8], fields: &[Field]) -> Vec<Pair> {
    let one = |field: &Field| {
        let name = String::from_utf8_lossy(field.name.of_bytes(head)).to_ascii_lowercase();
        let lines = field.value.of_bytes(head).split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
        (name, lines.filter(|line| !line.is_empty()).collect::<Vec<_>>().join(&b' '))
    };
    fields.iter().map(one).collect()
}

/// The fields that must reach the other side, in order.
fn end_to_end(pairs: &[Pair]) -> impl Iterator<Item = &Pair> {
    let connections = pairs.iter().filter(|(name, _)| name == "connection");
    let named: Vec<String> = connections
        .flat_map(|(_, value)| value.split(|byte| *byte == b','))
        .map(|name| String::from_utf8_lossy(name.trim_ascii()).to_ascii_lowercase())
        .collect();
    pairs.iter().filter(move |(name, _)| {
        let stays = HOP.contains(&name.as_str()) || APART.contains(&name.as_str());
        !stays && (FRAMING.contains(&name.as_str()) || !named.contains(name))
    })
}

/// A field that frames the body, as everyone spells it.
fn plain_value((name, value): &Pair) -> Pair {
    let value = match name.as_str() {
        "content-length" => {
            let digits = String::from_utf8_lossy(value);
            let number = digits.trim_start_matches('0');
            if number.is_empty() { b"0".to_vec() } else { number.as_bytes().to_vec() }
        }
        "transfer-encoding" => value.to_ascii_lowercase(),
        _ => value.clone(),
    };
    (name.clone(), value)
}

fn renamed((name, value): &Pair) -> Pair {
    let ours = name == "outrigger-reason";
    (if ours { "outrigger-upstream-reason".to_owned() } else { name.clone() }, value.clone())
}

fn nothing_of_the_hop(after: &[Pair], upgrade: bool) {
    for (name, value) in after {
        match name.as_str() {
            "connection" => assert!(upgrade && value == b"Upgrade", "Connection went on"),
            "upgrade" => assert!(upgrade && !value.is_empty(), "Upgrade went on"),
            "te" => assert_eq!(value, b"trailers"),
            other => assert!(!HOP.contains(&other), "{other} went on"),
        }
    }
    assert!(count(after, "content-length") + count(after, "transfer-encoding") <= 1);
    assert_eq!(count(after, "connection"), usize::from(upgrade));
}

fn count(pairs: &[Pair], wanted: &str) -> usize {
    pairs.iter().filter(|(name, _)| name == wanted).count()
}
