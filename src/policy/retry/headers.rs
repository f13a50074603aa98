//! What a request's and a response's fields say about retrying.
//!
//! In: method and presence of fields; the bytes of `Retry-After`; the wall-clock time. Out: plain
//! values. Never guesses: a value that cannot be read is as good as absent.

use std::time::{Duration, UNIX_EPOCH};

/// Whether sending the request twice does no harm (RFC 9110, 9.2.2).
///
/// A `PUT` or `DELETE` with a precondition is not: the first one may have changed what the second one
/// is compared with. `declared` is the user's `idempotent: true`.
pub fn is_idempotent(
    method: &str,
    has_precondition: bool,
    has_idempotency_key: bool,
    declared: bool,
) -> bool {
    declared
        || has_idempotency_key
        || match method {
            "GET" | "HEAD" | "OPTIONS" | "TRACE" => true,
            "PUT" | "DELETE" => !has_precondition,
            _ => false,
        }
}

/// Reads `Retry-After`: seconds, or an HTTP date relative to `now_unix_secs`. A date in the past is zero.
pub fn parse_retry_after(value: &[u8], now_unix_secs: u64) -> Option<Duration> {
    let text = std::str::from_utf8(value).ok()?.trim_matches([' ', '\t']);
    if text.is_empty() {
        return None;
    }
    if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // More digits than fit are a very long time, which is what they mean.
        return Some(Duration::from_secs(text.parse().unwrap_or(u64::MAX)));
    }
    let date = httpdate::parse_http_date(text).ok()?;
    let secs = date.duration_since(UNIX_EPOCH).ok()?.as_secs();
    Some(Duration::from_secs(secs.saturating_sub(now_unix_secs)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn safe_methods_are_idempotent_and_post_is_not() {
        for method in ["GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"] {
            assert!(is_idempotent(method, false, false, false), "{method}");
        }
        for method in ["POST", "PATCH", "CONNECT", "get", "QUERY", ""] {
            assert!(!is_idempotent(method, false, false, false), "{method}");
        }
    }

    #[test]
    fn a_precondition_matters_for_put_and_delete_only() {
        assert!(is_idempotent("GET", true, false, false));
        assert!(!is_idempotent("PUT", true, false, false));
        assert!(!is_idempotent("DELETE", true, false, false));
    }

    #[test]
    fn the_users_word_or_a_key_makes_any_request_idempotent() {
        assert!(is_idempotent("POST", false, true, false));
        assert!(is_idempotent("POST", false, false, true));
        assert!(is_idempotent("PUT", true, true, false));
    }

    #[test]
    fn retry_after_in_seconds() {
        assert_eq!(parse_retry_after(b"0", 0), Some(Duration::ZERO));
        assert_eq!(parse_retry_after(b" 120 ", 0), Some(Duration::from_secs(120)));
        let long = parse_retry_after(b"99999999999999999999999999", 0);
        assert!(long.is_some_and(|long| long > Duration::from_secs(1 << 40)));
    }

    #[test]
    fn retry_after_as_a_date() {
        // 1994-11-06 08:49:37 UTC
        const DATE: &[u8] = b"Sun, 06 Nov 1994 08:49:37 GMT";
        assert_eq!(parse_retry_after(DATE, 784_111_777 - 3), Some(Duration::from_secs(3)));
        assert_eq!(parse_retry_after(DATE, 784_111_777 + 3), Some(Duration::ZERO));
    }

    #[test]
    fn what_cannot_be_read_is_absent() {
        for value in [&b""[..], b"soon", b"-1", b"1.5", b"+3", b"\xff\xfe", b"Sun, 99 Nov 1994 08:49:37 GMT"]
        {
            assert_eq!(parse_retry_after(value, 0), None, "{value:?}");
        }
    }
}
