//! Any bytes, read as a request, a response, and a chunked body.
//!
//! In: what libFuzzer makes up. Out: nothing, or a panic where an invariant of the codec breaks.
//! The invariants are the ones the property tests hold; here they meet inputs that nobody thought of.

#![no_main]

use libfuzzer_sys::fuzz_target;
use outrigger::head::{Framing, Method, Version};
use outrigger::wire::ClientSide;
use outrigger::{head, wire};

#[path = "../../src/wire/properties/invariants.rs"]
mod invariants;

fuzz_target!(|data: &[u8]| {
    // Where to cut is part of the input, so that a finding can be repeated.
    let cut = data.iter().fold(data.len(), |sum, byte| sum.wrapping_mul(31).wrapping_add(usize::from(*byte)));
    invariants::request(data, cut);
    let method = [Method::Get, Method::Head, Method::Connect, Method::Other][cut % 4];
    let version = if cut & 4 == 0 { Version::Http11 } else { Version::Http10 };
    invariants::response(data, method, ClientSide { version, keep_alive: cut & 8 == 0 }, cut);
    invariants::body(Framing::Chunked, data, cut);
    invariants::small_parts(data, cut);
});
