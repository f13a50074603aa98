//! `host[:port]`, taken apart.
//!
//! In: the text of a Host field or a target's authority. Out: host without brackets or trailing
//! dot, and the port if one is named (RFC 3986 section 3.2).

/// Host and port of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Authority<'a> {
    /// The host as it was spelled, without brackets and without a trailing dot.
    pub host: &'a [u8],
    /// The port, if one is named.
    pub port: Option<u16>,
}

// === impl Authority ===

impl<'a> Authority<'a> {
    /// Takes `text` apart; `None` when there is no host or the port is none.
    pub fn parse(text: &'a [u8]) -> Option<Self> {
        let (host, port) = match text.strip_prefix(b"[") {
            Some(rest) => {
                let end = rest.iter().position(|byte| *byte == b']')?;
                (&rest[..end], &rest[end + 1..])
            }
            None => {
                let end = text.iter().position(|byte| *byte == b':').unwrap_or(text.len());
                text.split_at(end)
            }
        };
        let port = match port {
            [] | [b':'] => None,
            [b':', digits @ ..] => Some(parse_port(digits)?),
            [..] => return None,
        };
        let host = host.strip_suffix(b".").unwrap_or(host);
        (!host.is_empty()).then_some(Self { host, port })
    }
}

fn parse_port(digits: &[u8]) -> Option<u16> {
    if digits.len() > 5 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::Authority;

    #[test]
    fn hosts_and_ports_are_told_apart() {
        let parse = |text: &'static str| Authority::parse(text.as_bytes()).map(|it| (it.host, it.port));
        assert_eq!(parse("shop"), Some((&b"shop"[..], None)));
        assert_eq!(parse("shop.:80"), Some((&b"shop"[..], Some(80))));
        assert_eq!(parse("[::1]:8080"), Some((&b"::1"[..], Some(8080))));
        assert_eq!(parse("[::1]"), Some((&b"::1"[..], None)));
        assert_eq!(parse("shop:"), Some((&b"shop"[..], None)));
        for bad in ["", ".", ":80", "shop:x", "shop:99999", "shop:+1", "[::1", "[::1]x"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
