//! The keys at the top of the file.
//!
//! In: nothing. Out: the part of the table that concerns the process. Never anything a call decides on.

use super::{Key, Kind, WEEK};
use crate::config::capture::USER_MAX;

const BLOCK: Kind = Kind::Block { off: false };
const SWITCH: Kind = Kind::Block { off: true };
/// Longest `detectTimeout`, in milliseconds: a server that speaks first is heard only after it, and a longer
/// wait would look like a hang.
const DETECT_MAX: u64 = 10_000;

pub(super) const KEYS: &[Key] = &[
    Key::new("version", Kind::Word(&["v1"]), "v1", "The form of this file."),
    Key::new("service", Kind::Text, "", "The name of the application this proxy stands beside.")
        .without("`OTEL_SERVICE_NAME`, `OUTRIGGER_SERVICE`, the workload's name, or `unknown`"),
    Key::new(
        "workers",
        Kind::Count { min: 1, max: 256, off: false },
        "2",
        "Threads that carry calls, each with its own runtime, sockets and pools.",
    )
    .without("2, or 1 when the container may use less than 2 CPUs"),
    Key::new("accessLog", Kind::AccessLog, "off", "Where one JSON line per call goes: `stdout` or a file."),
    Key::new("drain", BLOCK, "", "How the process ends after SIGTERM."),
    Key::new(
        "drain.quiet",
        Kind::Duration { min: 0, max: WEEK, off: false },
        "2s",
        "With nothing in flight and nothing new for this long, the process ends.",
    ),
    Key::new(
        "drain.timeout",
        Kind::Duration { min: 0, max: WEEK, off: false },
        "25s",
        "The process ends after this time whatever is in flight; a pod's grace (`OUTRIGGER_GRACE`) less a second bounds it.",
    ),
    Key::new("limits", BLOCK, "", "Bounds of the whole process."),
    Key::new(
        "limits.connections",
        Kind::Count { min: 1, max: 1_000_000, off: false },
        "10000",
        "Most connections of the application at once; past it new ones get `overloaded`.",
    ),
    Key::new(
        "limits.replay",
        Kind::Size { min: 0, max: 1 << 34 },
        "16MiB",
        "Most memory for request bodies kept for a retry, over all calls.",
    ),
    Key::new(
        "limits.explanations",
        Kind::Size { min: 0, max: 1 << 34 },
        "4MiB",
        "Most memory for decision records: half for those kept to be explained, half for those on their way to a collector; `0B` keeps and exports none.",
    ),
    Key::new("outbound", BLOCK, "", "The port every outbound call may use."),
    Key::new(
        "outbound.listen",
        Kind::Addresses,
        "[127.0.0.1:15001, \"[::1]:15001\"]",
        "Where explicit proxy requests and Host-routed calls arrive.",
    ),
    Key::new(
        "outbound.detectTimeout",
        Kind::Duration { min: 1, max: DETECT_MAX, off: false },
        "50ms",
        "How long a silent connection is waited for before its destination is dialled.",
    ),
    Key::new(
        "outbound.unknown",
        Kind::Word(&["allow", "deny"]),
        "allow",
        "Whether calls that no service claims pass through or get `denied`.",
    ),
    Key::new("admin", SWITCH, "", "The admin API; `off` leaves it out."),
    Key::new(
        "admin.listen",
        Kind::Addresses,
        "127.0.0.1:15000",
        "Where the admin API listens; keep it on loopback.",
    ),
    Key::new(
        "health",
        SWITCH,
        "",
        "GET `/live`, `/ready` and `/metrics` for probes and scrapers; off by default.",
    ),
    Key::new("health.listen", Kind::Addresses, "", "Where probes and scrapers connect.")
        .without("probes use the admin API"),
    Key::new(
        "capture",
        BLOCK,
        "",
        "What the rules of `outrigger capture apply` leave out; a change needs that command again.",
    ),
    Key::new(
        "capture.user",
        Kind::Count { min: 0, max: USER_MAX as u64, off: false },
        "1337",
        "The user id the proxy runs as; its own connections are not captured, nor those of anything else that runs as it.",
    ),
    Key::new("capture.skipUsers", Kind::Users, "[]", "User ids whose connections go direct."),
    Key::new("capture.skipPorts", Kind::Ports, "[]", "Destination ports that are connected to directly."),
    Key::new(
        "capture.skipNetworks",
        Kind::Networks,
        "[]",
        "Destinations that are connected to directly; the pod's own addresses and link-local ones always are.",
    ),
    Key::new("dns", BLOCK, "", "How names are resolved."),
    Key::new("dns.servers", Kind::Addresses, "", "Name servers to ask.")
        .without("those of `/etc/resolv.conf`"),
    Key::new("tracing", SWITCH, "", "Distributed traces."),
    Key::new("tracing.otlp", Kind::Url, "", "The collector that spans go to, by OTLP.").without(
        "`OTEL_EXPORTER_OTLP_ENDPOINT`; else spans are not exported, and trace headers are passed on",
    ),
    Key::new(
        "tracing.protocol",
        Kind::Word(&["http", "grpc"]),
        "",
        "The form of OTLP: Protocol Buffers over HTTP, or gRPC.",
    )
    .without("`OTEL_EXPORTER_OTLP_PROTOCOL`; else `grpc` for port 4317, `http` for any other"),
    Key::new("tracing.headers", Kind::Fields, "", "Sent with every export; the values are never shown.")
        .without("`OTEL_EXPORTER_OTLP_HEADERS`, or none"),
    Key::new(
        "tracing.compression",
        Kind::Word(&["off", "gzip"]),
        "",
        "How exports are compressed; `gzip` costs more CPU than the spans themselves.",
    )
    .without("`OTEL_EXPORTER_OTLP_COMPRESSION`, or `off`"),
    Key::new(
        "tracing.timeout",
        Kind::Duration { min: 1, max: 3_600_000, off: false },
        "",
        "Longest time of one export with its further tries; then its spans are dropped.",
    )
    .without("`OTEL_EXPORTER_OTLP_TIMEOUT`, or `10s`"),
    Key::new("tracing.tls", BLOCK, "", "Certificates for a collector behind `https`."),
    Key::new("tracing.tls.ca", Kind::PemFile, "", "The certificates that are trusted.")
        .without("`OTEL_EXPORTER_OTLP_CERTIFICATE`, or the system's"),
    Key::new("tracing.tls.cert", Kind::PemFile, "", "The certificate that is shown to the collector.")
        .without("`OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE`, or none"),
    Key::new("tracing.tls.key", Kind::PemFile, "", "The private key of `tracing.tls.cert`.")
        .without("`OTEL_EXPORTER_OTLP_CLIENT_KEY`, or none"),
    Key::new(
        "tracing.sample",
        Kind::Ratio { off: true },
        "1%",
        "The share of calls traced when the caller did not decide; `OTEL_TRACES_SAMPLER` says it where this is silent.",
    ),
    Key::new(
        "tracing.always",
        Kind::Words(&["error", "retry", "breaker", "slow"]),
        "[]",
        "Calls to export whatever the sample says, marked with the reason.",
    ),
    Key::new("defaults", Kind::Policy, "", "Policy values that every service inherits.")
        .without("the built-in values"),
    Key::new("services", Kind::Services, "", "The services the application calls, by name.")
        .without("every call is of an unknown destination"),
];
