//! The ClientHello of TLS, read without taking part in the handshake.
//!
//! In: the first bytes of a TLS client. Out: the server's name and the protocols it offers (RFC 8446
//! section 4.1.2, RFC 6066 section 3, RFC 7301 section 3.1). Every length is checked; what does not
//! add up has no name, and is TLS all the same: its bytes go on unchanged or are answered by an
//! alert, and neither needs a guess.

use std::net::Ipv4Addr;

use super::Opening;

/// The type of a TLS record with a handshake message.
pub const TLS_HANDSHAKE: u8 = 22;

/// The type of the first handshake message.
const CLIENT_HELLO: u8 = 1;

/// Length of the head of a record: type, version, length.
const RECORD_HEAD_BYTES: usize = 5;

/// Most bytes of a plain record (RFC 8446 section 5.1).
const RECORD_BYTES_MAX: usize = 1 << 14;

/// Most bytes that are read in search of a whole ClientHello, heads of records included. Real ones
/// stay under 2 KiB, also with post-quantum key shares; one cut into records of a byte has six times that.
const HELLO_BYTES_MAX: usize = 18 * 1024;

/// Longest server name (RFC 1035 section 2.3.4).
const NAME_BYTES_MAX: usize = 253;

/// The extension with the server's name.
const SERVER_NAME: u16 = 0;

/// The extension with the application's protocols.
const ALPN: u16 = 16;

/// What a ClientHello says about where it wants to go.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    /// The host name it asks for, in lower case; `None` without one, or when it is no host name.
    pub sni: Option<Box<str>>,
    /// The protocols it offers, in its order.
    pub alpn: Vec<Box<[u8]>>,
}

/// Tells what begins with a record of a handshake. Six bytes in the right places are TLS; a
/// ClientHello that is malformed, too long or never ends is one without a name.
pub(super) fn opening(bytes: &[u8], ended: bool) -> Opening {
    match bytes {
        [_, 3, 0..=4, high, low, CLIENT_HELLO, ..] if is_record_length(*high, *low) => {}
        [] | [_] | [_, 3] | [_, 3, 0..=4] | [_, 3, 0..=4, _] => return Opening::More,
        [_, 3, 0..=4, high, low] if is_record_length(*high, *low) => return Opening::More,
        [..] => return Opening::Opaque,
    }
    let window = &bytes[..bytes.len().min(HELLO_BYTES_MAX)];
    match message(window) {
        Ok(Some(hello)) => Opening::Tls(parse(&hello).unwrap_or_default()),
        Ok(None) if !ended && bytes.len() < HELLO_BYTES_MAX => Opening::More,
        Ok(None) | Err(Malformed) => Opening::Tls(ClientHello::default()),
    }
}

/// Lengths or types that do not add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Malformed;

/// An empty record of a handshake is not allowed (RFC 8446 section 5.1).
const fn is_record_length(high: u8, low: u8) -> bool {
    let length = u16::from_be_bytes([high, low]) as usize;
    length > 0 && length <= RECORD_BYTES_MAX
}

/// The body of the first handshake message, gathered from its records. `Ok(None)`: not whole yet.
fn message(mut bytes: &[u8]) -> Result<Option<Vec<u8>>, Malformed> {
    let mut gathered = Vec::new();
    loop {
        if let [_, high, middle, low, body @ ..] = gathered.as_slice() {
            let length = u32::from_be_bytes([0, *high, *middle, *low]) as usize;
            if length > HELLO_BYTES_MAX {
                return Err(Malformed);
            }
            if let Some(body) = body.get(..length) {
                return Ok(Some(body.to_vec()));
            }
        }
        match bytes {
            [TLS_HANDSHAKE, 3, 0..=4, high, low, rest @ ..] if is_record_length(*high, *low) => {
                let length = usize::from(u16::from_be_bytes([*high, *low]));
                let (piece, rest) = rest.split_at(rest.len().min(length));
                gathered.extend_from_slice(piece);
                bytes = if piece.len() == length { rest } else { &[] };
            }
            [..] if bytes.len() >= RECORD_HEAD_BYTES => return Err(Malformed),
            [..] => return Ok(None),
        }
    }
}

/// Reads the body of a ClientHello.
fn parse(hello: &[u8]) -> Option<ClientHello> {
    let mut rest = hello.get(2 + 32..)?; // legacy_version, random
    vector8(&mut rest)?; // legacy_session_id
    vector16(&mut rest)?; // cipher_suites
    vector8(&mut rest)?; // legacy_compression_methods
    let mut found = ClientHello::default();
    if rest.is_empty() {
        return Some(found); // No extensions: TLS 1.2 and older allow it.
    }
    let mut extensions = vector16(&mut rest)?;
    while !extensions.is_empty() {
        let kind = number16(&mut extensions)?;
        let body = vector16(&mut extensions)?;
        match kind {
            SERVER_NAME => found.sni = server_name(body)?,
            ALPN => found.alpn = protocols(body)?,
            _ => {}
        }
    }
    Some(found)
}

/// The first host name of the list; other types of names are not in use.
fn server_name(mut body: &[u8]) -> Option<Option<Box<str>>> {
    let mut names = vector16(&mut body)?;
    while let [kind, rest @ ..] = names {
        names = rest;
        let name = vector16(&mut names)?;
        if *kind == 0 {
            return Some(host_name(name));
        }
    }
    Some(None)
}

/// A host name; addresses are not allowed here (RFC 6066 section 3).
fn host_name(name: &[u8]) -> Option<Box<str>> {
    let allowed = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.iter().all(allowed) {
        return None;
    }
    let name = std::str::from_utf8(name).ok()?;
    name.parse::<Ipv4Addr>().is_err().then(|| name.to_ascii_lowercase().into())
}

fn protocols(mut body: &[u8]) -> Option<Vec<Box<[u8]>>> {
    let mut names = vector16(&mut body)?;
    let mut found = Vec::new();
    while !names.is_empty() {
        found.push(vector8(&mut names)?.into());
    }
    Some(found)
}

/// Takes a number of two bytes off the front.
fn number16(bytes: &mut &[u8]) -> Option<u16> {
    let (number, rest) = bytes.split_first_chunk::<2>()?;
    *bytes = rest;
    Some(u16::from_be_bytes(*number))
}

/// Takes a vector with a length of one byte off the front.
fn vector8<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let (length, rest) = bytes.split_first()?;
    let (vector, rest) = rest.split_at_checked(usize::from(*length))?;
    *bytes = rest;
    Some(vector)
}

/// Takes a vector with a length of two bytes off the front.
fn vector16<'a>(bytes: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = number16(bytes)?;
    let (vector, rest) = bytes.split_at_checked(usize::from(length))?;
    *bytes = rest;
    Some(vector)
}
