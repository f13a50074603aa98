//! What gRPC writes into the fields of HTTP/2: timeouts, statuses, messages.
//!
//! In: values of fields. Out: durations and codes, and the other way round, as
//! grpc/doc/PROTOCOL-HTTP2.md has them. A value that can't be read is as good as absent.

use std::time::Duration;

use http::{HeaderMap, HeaderValue};

use crate::error::GRPC_FAILURES;

/// `UNKNOWN`: what a status that is missing or can't be read means.
pub const UNKNOWN: u32 = 2;

/// `UNAVAILABLE`: the service can't be had now.
pub const UNAVAILABLE: u32 = 14;

/// Digits of a timeout.
const TIMEOUT_DIGITS_MAX: usize = 8;

/// Whether a content type is one of gRPC: `application/grpc`, alone or with `+proto` and the like.
pub fn is_grpc(content_type: &[u8]) -> bool {
    const TYPE: &[u8] = b"application/grpc";
    content_type.get(..TYPE.len()).is_some_and(|front| front.eq_ignore_ascii_case(TYPE))
        && matches!(content_type.get(TYPE.len()), None | Some(b'+' | b';' | b' '))
}

/// Reads `grpc-timeout`: up to eight digits and a unit.
pub fn parse_timeout(value: &[u8]) -> Option<Duration> {
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > TIMEOUT_DIGITS_MAX {
        return None;
    }
    let number = digits.iter().try_fold(0u64, |number, digit| {
        digit.is_ascii_digit().then(|| number * 10 + u64::from(digit - b'0'))
    })?;
    Some(match unit {
        b'H' => Duration::from_secs(number * 3600),
        b'M' => Duration::from_secs(number * 60),
        b'S' => Duration::from_secs(number),
        b'm' => Duration::from_millis(number),
        b'u' => Duration::from_micros(number),
        b'n' => Duration::from_nanos(number),
        _ => return None,
    })
}

/// Writes `grpc-timeout`, in the smallest unit whose digits suffice, rounded down; at least 1 ns.
pub fn timeout_value(left: Duration) -> HeaderValue {
    const LIMIT: u128 = 100_000_000;
    let (number, unit) = if left.as_nanos() < LIMIT {
        (left.as_nanos().max(1), 'n')
    } else if left.as_micros() < LIMIT {
        (left.as_micros(), 'u')
    } else if left.as_millis() < LIMIT {
        (left.as_millis(), 'm')
    } else {
        (u128::from(left.as_secs()).min(LIMIT - 1), 'S')
    };
    HeaderValue::try_from(format!("{number}{unit}")).unwrap_or(HeaderValue::from_static("1n"))
}

/// `grpc-status` in the fields of a head or in trailers; `None` without one.
pub fn status(fields: &HeaderMap) -> Option<u32> {
    let value = fields.get("grpc-status")?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).unwrap_or(UNKNOWN))
}

/// Whether a status says what a 5xx says. One that nobody knows is UNKNOWN.
pub fn is_failure(code: u32) -> bool {
    /// The highest code of the specification: UNAUTHENTICATED.
    const KNOWN_MAX: u32 = 16;
    code > KNOWN_MAX || GRPC_FAILURES & 1 << code != 0
}

/// `grpc-retry-pushback-ms` (gRPC proposal A6): `Some(Some(wait))` prescribes the wait,
/// `Some(None)`, negative or unreadable, forbids the retry.
pub fn pushback(fields: &HeaderMap) -> Option<Option<Duration>> {
    let value = fields.get("grpc-retry-pushback-ms")?;
    Some(value.to_str().ok().and_then(|text| text.parse().ok()).map(Duration::from_millis))
}

/// `grpc-message`: percent-encoded outside of printable ASCII.
pub fn message_value(text: &str) -> HeaderValue {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b' '..=b'~' if byte != b'%' => encoded.push(char::from(byte)),
            _ => encoded.push_str(&format!("%{byte:02X}")),
        }
    }
    HeaderValue::try_from(encoded).unwrap_or(HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn timeouts_are_read_in_every_unit() {
        for (text, expected) in [
            ("1H", Duration::from_secs(3600)),
            ("2M", Duration::from_secs(120)),
            ("3S", Duration::from_secs(3)),
            ("40m", Duration::from_millis(40)),
            ("50u", Duration::from_micros(50)),
            ("99999999n", Duration::from_nanos(99_999_999)),
        ] {
            assert_eq!(parse_timeout(text.as_bytes()), Some(expected), "{text}");
        }
        for bad in ["", "S", "1", "1s", "-1S", "1.5S", "123456789S", "1 S", "+1S"] {
            assert_eq!(parse_timeout(bad.as_bytes()), None, "{bad}");
        }
    }

    #[test]
    fn what_is_written_is_read_again_and_never_longer() {
        for left in [0, 1, 99_999_999, 100_000_000, 1_234_567_890, 86_400_000_000_000, u64::MAX] {
            let left = Duration::from_nanos(left);
            let read = parse_timeout(timeout_value(left).as_bytes()).expect("a timeout");
            assert!(read <= left.max(Duration::from_nanos(1)), "{left:?} became {read:?}");
            assert!(read >= left.mul_f64(0.99) || left.as_secs() >= 100_000_000, "{left:?} became {read:?}");
        }
    }

    #[test]
    fn content_types_of_grpc_are_told_from_their_likes() {
        for yes in ["application/grpc", "application/grpc+proto", "Application/GRPC;charset=utf-8"] {
            assert!(is_grpc(yes.as_bytes()), "{yes}");
        }
        for no in ["application/grpc-web", "application/grpcx", "application/json", ""] {
            assert!(!is_grpc(no.as_bytes()), "{no}");
        }
    }

    #[test]
    fn pushback_prescribes_or_forbids() {
        let of = |text: &'static str| {
            let mut fields = HeaderMap::new();
            fields.insert("grpc-retry-pushback-ms", HeaderValue::from_static(text));
            pushback(&fields)
        };
        assert_eq!(of("150"), Some(Some(Duration::from_millis(150))));
        assert_eq!(of("-1"), Some(None));
        assert_eq!(of("soon"), Some(None));
        assert_eq!(pushback(&HeaderMap::new()), None);
    }

    #[test]
    fn messages_are_percent_encoded() {
        assert_eq!(message_value("50 % of\nzażółć"), "50 %25 of%0Aza%C5%BC%C3%B3%C5%82%C4%87");
    }
}
