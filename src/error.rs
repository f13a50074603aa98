//! The faults: why Outrigger answered instead of the service.
//!
//! In: a [`Fault`]. Out: status, reason code, whose side, whether bytes may have left. One
//! exhaustive table per question and no catch-all arm, so that a new fault cannot be forgotten.
//! The reason code is the same word in the body, the `outrigger-reason` header, the access log,
//! the metric label and the span.

/// Why Outrigger answered instead of the service, or cut its answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The request names no host, or its service is no longer in the configuration.
    NoRoute,
    /// `outbound.unknown: deny` and no service claims the call.
    Denied,
    /// The call would come straight back to one of our own listeners.
    LoopDetected,
    /// The bulkhead has no place and its queue is full or absent.
    BulkheadFull,
    /// A place in the bulkhead did not come free within `maxWait`.
    BulkheadTimeout,
    /// The breaker is open, or half open with its probes out.
    BreakerOpen,
    /// The service's name has no address: none of its instances is ready.
    NoEndpoints,
    /// A process-wide limit is reached.
    Overloaded,
    /// No TCP connection to any endpoint tried.
    ConnectFailed,
    /// A TCP connection and its TLS handshake took longer than `connectTimeout`.
    ConnectTimeout,
    /// The TLS handshake failed.
    TlsFailed,
    /// The name of the service does not resolve.
    DnsFailed,
    /// The connection ended before a whole response head.
    ResetBeforeResponse,
    /// The connection ended inside the response body.
    ResetMidResponse,
    /// The service broke HTTP.
    ProtocolError,
    /// One attempt took longer than `retries.perTryTimeout`.
    PerTryTimeout,
    /// The call took longer than its deadline.
    DeadlineExceeded,
    /// Nothing moved for `idleTimeout`, or a body took longer than `bodyTimeout`.
    IdleTimeout,
    /// The application broke HTTP.
    RequestMalformed,
    /// The application took too long to send its request.
    RequestTimeout,
    /// The request's head is too large.
    HeaderTooLarge,
    /// The application went away.
    ClientCancelled,
    /// The process is ending.
    ShuttingDown,
}

/// Who is the cause.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Side {
    /// Outrigger or the application.
    Local,
    /// The service or the way to it.
    Upstream,
}

/// Whether the service may have seen the request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sent {
    /// Not a byte.
    No,
    /// Perhaps.
    Maybe,
    /// Certainly.
    Yes,
}

/// The statuses of gRPC that say what a 5xx says, as a mask of codes: UNKNOWN, DEADLINE_EXCEEDED,
/// INTERNAL, UNAVAILABLE and DATA_LOSS. The others are answers.
pub const GRPC_FAILURES: u32 = 1 << 2 | 1 << 4 | 1 << 13 | 1 << 14 | 1 << 15;

/// The names of the statuses of gRPC, by code (the specification's `statuscodes.md`).
pub const GRPC_CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Number of faults; indexes of per-fault counters are below it.
pub const FAULTS: usize = Fault::ALL.len();

impl Fault {
    /// Every fault, in the order of the table in the reference.
    pub const ALL: [Self; 23] = [
        Self::NoRoute,
        Self::Denied,
        Self::LoopDetected,
        Self::BulkheadFull,
        Self::BulkheadTimeout,
        Self::BreakerOpen,
        Self::NoEndpoints,
        Self::Overloaded,
        Self::ConnectFailed,
        Self::ConnectTimeout,
        Self::TlsFailed,
        Self::DnsFailed,
        Self::ResetBeforeResponse,
        Self::ResetMidResponse,
        Self::ProtocolError,
        Self::PerTryTimeout,
        Self::DeadlineExceeded,
        Self::IdleTimeout,
        Self::RequestMalformed,
        Self::RequestTimeout,
        Self::HeaderTooLarge,
        Self::ClientCancelled,
        Self::ShuttingDown,
    ];

    /// The status of our reply, and the reason code shared by body, header, log, metric and span.
    pub const fn reply(self) -> (u16, &'static str) {
        match self {
            Self::NoRoute => (404, "no_route"),
            Self::Denied => (403, "denied"),
            Self::LoopDetected => (508, "loop_detected"),
            Self::BulkheadFull => (503, "bulkhead_full"),
            Self::BulkheadTimeout => (503, "bulkhead_timeout"),
            Self::BreakerOpen => (503, "breaker_open"),
            Self::NoEndpoints => (503, "no_endpoints"),
            Self::Overloaded => (503, "overloaded"),
            Self::ConnectFailed => (503, "connect_failed"),
            Self::ConnectTimeout => (503, "connect_timeout"),
            Self::TlsFailed => (503, "tls_failed"),
            Self::DnsFailed => (503, "dns_failed"),
            Self::ResetBeforeResponse => (502, "reset_before_response"),
            Self::ResetMidResponse => (502, "reset_mid_response"),
            Self::ProtocolError => (502, "protocol_error"),
            Self::PerTryTimeout => (504, "per_try_timeout"),
            Self::DeadlineExceeded => (504, "deadline_exceeded"),
            Self::IdleTimeout => (504, "idle_timeout"),
            Self::RequestMalformed => (400, "request_malformed"),
            Self::RequestTimeout => (408, "request_timeout"),
            Self::HeaderTooLarge => (431, "header_too_large"),
            Self::ClientCancelled => (499, "client_cancelled"),
            Self::ShuttingDown => (503, "shutting_down"),
        }
    }

    /// The reason code.
    pub const fn reason(self) -> &'static str {
        self.reply().1
    }

    /// The status of our reply.
    pub const fn status(self) -> u16 {
        self.reply().0
    }

    /// The status of our reply to a gRPC call (the codes of grpc/doc/statuscodes.md).
    pub const fn grpc_code(self) -> u32 {
        const CANCELLED: u32 = 1;
        const DEADLINE_EXCEEDED: u32 = 4;
        const PERMISSION_DENIED: u32 = 7;
        const RESOURCE_EXHAUSTED: u32 = 8;
        const UNIMPLEMENTED: u32 = 12;
        const INTERNAL: u32 = 13;
        const UNAVAILABLE: u32 = 14;
        match self {
            Self::ClientCancelled => CANCELLED,
            Self::PerTryTimeout | Self::DeadlineExceeded | Self::IdleTimeout | Self::RequestTimeout => {
                DEADLINE_EXCEEDED
            }
            Self::Denied => PERMISSION_DENIED,
            Self::HeaderTooLarge => RESOURCE_EXHAUSTED,
            Self::NoRoute => UNIMPLEMENTED,
            Self::LoopDetected | Self::RequestMalformed | Self::ProtocolError => INTERNAL,
            Self::BulkheadFull
            | Self::BulkheadTimeout
            | Self::BreakerOpen
            | Self::NoEndpoints
            | Self::Overloaded
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::DnsFailed
            | Self::ResetBeforeResponse
            | Self::ResetMidResponse
            | Self::ShuttingDown => UNAVAILABLE,
        }
    }

    /// Who is the cause.
    pub const fn side(self) -> Side {
        match self {
            Self::NoRoute
            | Self::Denied
            | Self::LoopDetected
            | Self::BulkheadFull
            | Self::BulkheadTimeout
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::RequestMalformed
            | Self::RequestTimeout
            | Self::HeaderTooLarge
            | Self::ClientCancelled
            | Self::ShuttingDown => Side::Local,
            Self::NoEndpoints
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::DnsFailed
            | Self::ResetBeforeResponse
            | Self::ResetMidResponse
            | Self::ProtocolError
            | Self::PerTryTimeout
            | Self::DeadlineExceeded
            | Self::IdleTimeout => Side::Upstream,
        }
    }

    /// Whether the service may have seen the request.
    pub const fn sent(self) -> Sent {
        match self {
            Self::NoRoute
            | Self::Denied
            | Self::LoopDetected
            | Self::BulkheadFull
            | Self::BulkheadTimeout
            | Self::BreakerOpen
            | Self::NoEndpoints
            | Self::Overloaded
            | Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::DnsFailed
            | Self::RequestMalformed
            | Self::HeaderTooLarge => Sent::No,
            Self::ResetBeforeResponse
            | Self::PerTryTimeout
            | Self::DeadlineExceeded
            | Self::IdleTimeout
            | Self::RequestTimeout
            // Refused, or cut at the end of a drain.
            | Self::ShuttingDown
            | Self::ClientCancelled => Sent::Maybe,
            Self::ResetMidResponse | Self::ProtocolError => Sent::Yes,
        }
    }

    /// Whether trying again could help and does no harm to an idempotent request.
    pub const fn retriable(self) -> bool {
        match self {
            Self::ConnectFailed
            | Self::ConnectTimeout
            | Self::TlsFailed
            | Self::DnsFailed
            | Self::NoEndpoints
            | Self::ResetBeforeResponse
            | Self::PerTryTimeout => true,
            Self::NoRoute
            | Self::Denied
            | Self::LoopDetected
            | Self::BulkheadFull
            | Self::BulkheadTimeout
            | Self::BreakerOpen
            | Self::Overloaded
            | Self::ResetMidResponse
            | Self::ProtocolError
            | Self::DeadlineExceeded
            | Self::IdleTimeout
            | Self::RequestMalformed
            | Self::RequestTimeout
            | Self::HeaderTooLarge
            | Self::ClientCancelled
            | Self::ShuttingDown => false,
        }
    }
}
