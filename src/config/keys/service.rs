//! The keys of a service and of a route, besides the policy keys they share.
//!
//! In: nothing. Out: two parts of the table. Never a key that `defaults` may set.

use super::{Key, Kind};

const BLOCK: Kind = Kind::Block { off: false };

/// What may be negotiated inside TLS (RFC 7301; the names are those of the IANA registry).
pub(in crate::config) const ALPN: &[&str] = &["h2", "http/1.1"];

pub(super) const SERVICE_KEYS: &[Key] = &[
    Key::new("hosts", Kind::Hosts, "", "Names the application uses for it: `name`, `name:port` or `name:*`.")
        .without("the service's key"),
    Key::new("endpoints", BLOCK, "", "Where its endpoints come from; one of the kinds, always needed."),
    Key::new("endpoints.dns", Kind::NamePort, "", "Every address of this name, as `name:port`.")
        .without("another kind is needed"),
    Key::new("endpoints.static", Kind::Addresses, "", "These addresses, each `IP:port`.")
        .without("another kind is needed"),
    Key::new("listen", Kind::Addresses, "", "A port of its own: any protocol, `Host` is ignored.")
        .without("it is reached by host name"),
    Key::new(
        "protocol",
        Kind::Word(&["auto", "http1", "http2", "opaque"]),
        "auto",
        "What the service speaks; `auto` is what the client spoke (under TLS what ALPN says), `opaque` bytes that nobody reads.",
    ),
    Key::new(
        "tls",
        Kind::Block { off: true },
        "off",
        "TLS towards the service, while the application speaks plain; `{}` trusts the system's roots.",
    ),
    Key::new("tls.ca", Kind::PemFile, "", "The certificates that are trusted, and no others.")
        .without("the system's roots"),
    Key::new(
        "tls.serverName",
        Kind::Text,
        "",
        "The name or IP that the certificate must be for; a name is sent as SNI.",
    )
    .without("the name of `endpoints.dns`, else the first of `hosts`"),
    Key::new("tls.cert", Kind::PemFile, "", "The client certificate with its chain, for mTLS.")
        .without("no client certificate"),
    Key::new("tls.key", Kind::PemFile, "", "The private key of `cert`.").without("no client certificate"),
    Key::new("tls.alpn", Kind::Words(ALPN), "", "The protocols offered, the dearest first.")
        .without("`http1` and `http2` offer theirs, `auto` both, `opaque` none"),
    Key::new(
        "routes",
        Kind::Routes,
        "[]",
        "Parts of its calls with values of their own; the first match wins.",
    ),
];

pub(super) const ROUTE_KEYS: &[Key] = &[
    Key::new("name", Kind::Text, "", "The route's name in metrics, traces and logs.").without("`routes[N]`"),
    Key::new(
        "match",
        BLOCK,
        "",
        "Which calls it is for: every part that is set must hold; `{}` is every call.",
    ),
    Key::new("match.method", Kind::Text, "", "The method, in the case it is sent in.").without("any method"),
    Key::new("match.path", Kind::Text, "", "The whole raw path before `?`.").without("any path"),
    Key::new(
        "match.pathPrefix",
        Kind::Text,
        "",
        "Whole leading segments: `/a` is for `/a` and `/a/b`, not `/ab`.",
    )
    .without("any path"),
    Key::new("match.pathRegex", Kind::Text, "", "A pattern of the whole raw path before `?`.")
        .without("any path"),
    Key::new(
        "match.grpc",
        Kind::GrpcMethod,
        "",
        "A gRPC method, or all methods of a service; instead of a condition on the path.",
    )
    .without("any path"),
    Key::new("match.header", Kind::Headers, "", "Headers by name: an exact value, or `'*'` for any.")
        .without("any headers"),
];
