//! The keys that decide over a call: built-in -> `defaults` -> service -> route.
//!
//! In: nothing. Out: the part of the table that is inherited, in the order of `POLICY_KEYS`.
//! Defaults here are read by the same parser as a user's values.

use super::{Key, Kind, Levels, WEEK};

const BLOCK: Kind = Kind::Block { off: false };
const SWITCH: Kind = Kind::Block { off: true };
const TIME: Kind = Kind::Duration { min: 1, max: WEEK, off: true };
const TIME_ON: Kind = Kind::Duration { min: 1, max: WEEK, off: false };
const WAIT: Kind = Kind::Duration { min: 0, max: WEEK, off: true };
/// A window is kept in a fixed number of slices: below a second they count noise, above an hour
/// they never forget.
const WINDOW: Kind = Kind::Duration { min: 1_000, max: 3_600_000, off: false };
const MODE: Kind = Kind::Word(&["enforce", "observe"]);
const PLACES: Kind = Kind::Count { min: 1, max: 1_000_000, off: false };
const MODE_ABOUT: &str = "`observe` decides and records what it would have done, and lets the call pass.";

const fn shared(path: &'static str, kind: Kind, default: &'static str, about: &'static str) -> Key {
    Key::new(path, kind, default, about).only(Levels::NotRoute)
}

pub(super) const KEYS: &[Key] = &[
    Key::new("timeout", TIME, "15s", "The deadline of a call until its response head."),
    shared("connectTimeout", TIME_ON, "1s", "Longest wait for a TCP connection, per address."),
    Key::new("idleTimeout", TIME, "5m", "Longest silence on a body, tunnel or opaque connection.")
        .without("5m for calls; 1h for opaque, tunnels and upgraded connections"),
    Key::new("bodyTimeout", TIME, "off", "Longest time for a whole response body."),
    Key::new(
        "idempotent",
        Kind::Bool,
        "false",
        "Your word that calls may be repeated, whatever their method.",
    )
    .only(Levels::NotDefaults),
    shared(
        "balance",
        Kind::Word(&["leastRequest", "roundRobin"]),
        "leastRequest",
        "How an endpoint is chosen.",
    ),
    shared("pool", BLOCK, "", "Idle connections, per worker and endpoint."),
    shared("pool.idle", TIME_ON, "30s", "An idle connection is closed after this time."),
    shared(
        "pool.maxIdle",
        Kind::Count { min: 0, max: 100_000, off: false },
        "128",
        "Most idle connections kept.",
    ),
    shared("pool.maxAge", TIME_ON, "5m", "A connection this old takes no new call."),
    Key::new("retries", SWITCH, "{}", "When a failed attempt is tried again; `off` never."),
    Key::new("retries.mode", MODE, "enforce", MODE_ABOUT),
    Key::new(
        "retries.maxRetries",
        Kind::Count { min: 0, max: 10, off: false },
        "2",
        "Retries after the first attempt; 0 means no retry.",
    ),
    Key::new("retries.perTryTimeout", TIME, "off", "Longest time of one attempt."),
    Key::new(
        "retries.retryOn",
        Kind::Words(&["gateway-error", "reset", "per-try-timeout"]),
        "[gateway-error, reset, per-try-timeout]",
        "Failures that may be retried besides never-sent ones, which always may.",
    ),
    Key::new("retries.backoff", BLOCK, "", "Waits between attempts."),
    Key::new("retries.backoff.base", TIME_ON, "25ms", "The wait before the first retry, before jitter."),
    Key::new(
        "retries.backoff.factor",
        Kind::Number { min: 1, max: 100 },
        "2",
        "How much longer each further wait is.",
    ),
    Key::new("retries.backoff.max", TIME_ON, "250ms", "No wait is longer, before jitter is added."),
    Key::new(
        "retries.backoff.jitter",
        Kind::Word(&["full", "equal", "additive", "none"]),
        "full",
        "How waits are spread: U(0, wait), half and half, wait + U(0, base), or not.",
    ),
    shared("retries.budget", BLOCK, "", "The share of calls that may be retries; never off."),
    shared("retries.budget.ratio", Kind::Ratio { off: false }, "20%", "Retries per call in the window."),
    shared(
        "retries.budget.minPerSecond",
        Kind::Number { min: 0, max: 10_000 },
        "1",
        "Retries per second allowed whatever the load; it multiplies by the number of sidecars.",
    ),
    shared("retries.budget.window", WINDOW, "10s", "The window of the budget."),
    Key::new(
        "retries.maxBody",
        Kind::Size { min: 0, max: 1 << 30 },
        "64KiB",
        "Most bytes of a request body kept; past it the call is sent once, and says so.",
    ),
    shared("circuitBreaker", SWITCH, "{}", "When a service is left alone for a while; `off` never."),
    shared("circuitBreaker.mode", MODE, "enforce", MODE_ABOUT),
    shared("circuitBreaker.trip", BLOCK, "", "What opens it: any one of the triggers."),
    shared(
        "circuitBreaker.trip.consecutiveFailures",
        Kind::Count { min: 1, max: 1_000_000, off: true },
        "off",
        "This many failures in a row.",
    ),
    shared(
        "circuitBreaker.trip.failureRate",
        Kind::Ratio { off: true },
        "50%",
        "This share of failed calls in the window.",
    ),
    shared(
        "circuitBreaker.trip.slowCallRate",
        Kind::Ratio { off: true },
        "off",
        "This share of slow calls in the window.",
    ),
    shared(
        "circuitBreaker.trip.slowCallDuration",
        TIME_ON,
        "2s",
        "From send to response head, longer is slow.",
    ),
    shared("circuitBreaker.trip.window", WINDOW, "30s", "The window of the two rates."),
    shared(
        "circuitBreaker.trip.minimumCalls",
        PLACES,
        "20",
        "With fewer calls in the window the rates open nothing.",
    ),
    shared("circuitBreaker.openFor", BLOCK, "", "How long it stays open, doubling while probes fail."),
    shared("circuitBreaker.openFor.base", TIME_ON, "5s", "How long it stays open the first time."),
    shared("circuitBreaker.openFor.max", TIME_ON, "1m", "The longest it stays open."),
    shared("circuitBreaker.halfOpen", BLOCK, "", "How it finds out that the service is back."),
    shared("circuitBreaker.halfOpen.maxConcurrent", PLACES, "1", "Calls let through at a time."),
    shared("circuitBreaker.halfOpen.successes", PLACES, "3", "Successes in a row that close it."),
    shared(
        "circuitBreaker.halfOpen.maxWait",
        TIME_ON,
        "30s",
        "Without a decision for this long it opens again.",
    ),
    shared(
        "circuitBreaker.failOn",
        Kind::FailOn,
        "[5xx, timeout, transport]",
        "Which answers are failures: these words, single statuses, or codes of gRPC.",
    ),
    shared("bulkhead", SWITCH, "{}", "How many calls may be in flight to a service; `off` for no bound."),
    shared("bulkhead.mode", MODE, "enforce", MODE_ABOUT),
    shared("bulkhead.maxConcurrent", PLACES, "1024", "Attempts in flight at once, exact over all workers."),
    shared("bulkhead.maxWait", WAIT, "0s", "Longest wait for a place; `0s` means no queue."),
    shared(
        "bulkhead.maxQueue",
        Kind::Count { min: 0, max: 1_000_000, off: false },
        "0",
        "Most calls waiting.",
    )
    .without("`maxConcurrent` once `maxWait` is set"),
    shared("bulkhead.maxConnections", PLACES, "1024", "Upgraded, tunnelled and opaque connections at once."),
];
