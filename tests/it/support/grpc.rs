//! gRPC in the tests' words: heads, messages, statuses.
//!
//! In: messages and metadata. Out: requests and what a reply says. No protobuf: a message is any bytes
//! behind its five-byte prefix.

use http::Request;

use super::h2_script::{Lines, Step};
use super::wire::values;
use super::{Received, ask};

/// The head of an answer.
pub(crate) const HEAD: Lines = &[("content-type", "application/grpc")];

/// The fields of a trailers-only answer, by status.
const ONLY: [Lines; 17] = [
    &[HEAD[0], ("grpc-status", "0")],
    &[HEAD[0], ("grpc-status", "1")],
    &[HEAD[0], ("grpc-status", "2")],
    &[HEAD[0], ("grpc-status", "3")],
    &[HEAD[0], ("grpc-status", "4")],
    &[HEAD[0], ("grpc-status", "5")],
    &[HEAD[0], ("grpc-status", "6")],
    &[HEAD[0], ("grpc-status", "7")],
    &[HEAD[0], ("grpc-status", "8")],
    &[HEAD[0], ("grpc-status", "9")],
    &[HEAD[0], ("grpc-status", "10")],
    &[HEAD[0], ("grpc-status", "11")],
    &[HEAD[0], ("grpc-status", "12")],
    &[HEAD[0], ("grpc-status", "13")],
    &[HEAD[0], ("grpc-status", "14")],
    &[HEAD[0], ("grpc-status", "15")],
    &[HEAD[0], ("grpc-status", "16")],
];

/// A whole message of one byte: not compressed, length 1.
pub(crate) const ONE_BYTE: &str = "\0\0\0\0\u{1}m";

/// A head of a call to `shop`, as clients send it.
pub(crate) fn grpc(path: &str, metadata: &[(&str, &str)]) -> Request<()> {
    let fields = [("content-type", "application/grpc"), ("te", "trailers")];
    ask("POST", path, &[&fields, metadata].concat())
}

/// A trailers-only answer with this status.
pub(crate) fn only(status: u32) -> Vec<Step> {
    vec![Step::Read, Step::Only(200, ONLY[status as usize])]
}

/// A message, then these trailers.
pub(crate) fn message_then(trailers: Lines) -> Vec<Step> {
    vec![Step::Read, Step::Head(200, HEAD), Step::Data(ONE_BYTE), Step::Trailers(trailers)]
}

/// The status of a gRPC reply, wherever it is; panics if there is none.
pub(crate) fn grpc_status(reply: &Received) -> u32 {
    let found = values(&reply.fields, "grpc-status").into_iter().next();
    let found = found.or_else(|| values(&reply.body.trailers, "grpc-status").into_iter().next());
    found.and_then(|digits| digits.parse().ok()).unwrap_or_else(|| panic!("no grpc-status in {reply:?}"))
}

/// Asserts that the proxy itself answered with this status and reason, trailers-only.
pub(crate) fn assert_own(reply: &Received, status: u32, reason: &str) {
    assert_eq!(
        (reply.outcome(), grpc_status(reply), reply.header("content-type")),
        ((200, reason), status, "application/grpc"),
        "{reply:?}"
    );
    assert!(reply.body.bytes.is_empty() && reply.body.trailers.is_empty(), "trailers-only: {reply:?}");
    assert!(!reply.header("grpc-message").is_empty(), "it says what happened: {reply:?}");
}

/// A `grpc-timeout` as milliseconds.
pub(crate) fn timeout_ms(value: &str) -> u64 {
    let (digits, unit) = value.split_at(value.len().saturating_sub(1));
    assert!((1..=8).contains(&digits.len()), "1 to 8 digits: {value:?}");
    let number: u64 = digits.parse().unwrap_or_else(|_| panic!("not a grpc-timeout: {value:?}"));
    match unit {
        "H" => number * 3_600_000,
        "M" => number * 60_000,
        "S" => number * 1000,
        "m" => number,
        "u" => number / 1000,
        "n" => number / 1_000_000,
        _ => panic!("not a unit of grpc-timeout: {value:?}"),
    }
}
