//! Inheritance: built-in -> `defaults` -> service -> route, field by field, each with its origin.
//!
//! In: blocks of policy keys. Out: merged [`Settings`], and from them a typed [`Policy`]. Lists
//! replace; `off` in one layer and `{}` or any key of the block in a later one turn it on again with
//! the values inherited from before.

use std::rc::Rc;
use std::sync::LazyLock;
use std::time::Duration;

use super::value::{self, Value};
use super::{Checker, Leaf};
use crate::config::grpc;
use crate::config::keys::policy_keys;
use crate::config::raw::{self, Node, Place};
use crate::config::{
    Backoff, Balance, Bulkhead, CircuitBreaker, FailOn, HalfOpen, Jitter, Layer, Mode, OpenFor, Origin,
    Origins, POLICY_KEYS, Policy, Pool, Retries, RetryBudget, RetryOn, Trip,
};

/// What tunnels, upgraded and opaque connections get when nobody sets `idleTimeout`: an hour, the
/// field's habit for streams that may rightly be silent.
const TUNNEL_IDLE: Duration = Duration::from_secs(3600);

/// The values one block sets.
#[derive(Debug, Default)]
pub(super) struct Sets(Vec<(usize, Value, Origin)>);

/// The value and origin of every policy key, merged so far.
#[derive(Debug, Clone)]
pub(super) struct Settings {
    values: Vec<Value>,
    origins: [Origin; POLICY_KEYS.len()],
}

/// The built-in values, read from the table once.
static BUILT_IN: LazyLock<Vec<Value>> =
    LazyLock::new(|| POLICY_KEYS.iter().map(|key| built_in(key)).collect());

fn built_in(path: &str) -> Value {
    let key =
        policy_keys().iter().find(|key| key.path == path).expect("a test holds table and keys together");
    let node: Rc<Node> = raw::parse(0, "", key.default.as_bytes(), &mut Vec::new())
        .expect("defaults of the table are YAML: the built-in values are read in every test");
    value::read(key.kind, &node).expect("defaults of the table have the form of their key")
}

/// Index of a policy key, checked when this program is compiled.
pub(super) const fn index(key: &str) -> usize {
    let mut at = 0;
    while at < POLICY_KEYS.len() {
        if same(POLICY_KEYS[at].as_bytes(), key.as_bytes()) {
            return at;
        }
        at += 1;
    }
    panic!("not a policy key")
}

const fn same(a: &[u8], b: &[u8]) -> bool {
    let mut at = 0;
    while at < a.len() && at < b.len() && a[at] == b[at] {
        at += 1;
    }
    a.len() == b.len() && at == a.len()
}

impl Checker<'_> {
    /// Reads one policy leaf into `sets`.
    pub(super) fn set(&mut self, leaf: &Leaf<'_>, layer: Layer, sets: &mut Sets) {
        match value::read(leaf.key.kind, leaf.node) {
            Ok(value) => {
                // Blocks that cannot be switched off have no value of their own.
                if let Some(index) = POLICY_KEYS.iter().position(|known| *known == leaf.key.path) {
                    sets.0.push((index, value, Self::origin(leaf.place, layer)));
                }
            }
            Err(wrongs) => self.wrong(leaf, wrongs),
        }
    }
}

// === impl Sets ===

impl Sets {
    /// Whether nothing is set.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Where the key is set, unless it is set to `off`.
    pub(super) fn set_on(&self, key: usize) -> Option<Place> {
        let (_, _, origin) = self.0.iter().find(|(index, value, _)| *index == key && *value != Value::Off)?;
        Some(Place { file: origin.file, line: origin.line, column: origin.column })
    }
}

// === impl Settings ===

impl Settings {
    /// Every value built in.
    pub(super) fn built_in() -> Self {
        Self { values: BUILT_IN.clone(), origins: [Origin::BUILT_IN; POLICY_KEYS.len()] }
    }

    /// These values with those of one more layer on top.
    pub(super) fn with(&self, sets: &Sets) -> Self {
        let mut merged = self.clone();
        for (index, value, origin) in &sets.0 {
            merged.values[*index] = value.clone();
            merged.origins[*index] = *origin;
        }
        merged
    }

    /// Where a value came from.
    pub(super) fn origin(&self, key: usize) -> Origin {
        self.origins[key]
    }

    /// The typed policy. `opaque` services have the idle timeout of tunnels.
    pub(super) fn policy(&self, opaque: bool) -> Policy {
        let idle_timeout = self.time(const { index("idleTimeout") });
        let user_set = self.origins[const { index("idleTimeout") }].layer != Layer::BuiltIn;
        let tunnel_idle_timeout = if user_set { idle_timeout } else { Some(TUNNEL_IDLE) };
        Policy {
            timeout: self.time(const { index("timeout") }),
            connect_timeout: self.duration(const { index("connectTimeout") }),
            idle_timeout: if opaque { tunnel_idle_timeout } else { idle_timeout },
            tunnel_idle_timeout,
            body_timeout: self.time(const { index("bodyTimeout") }),
            idempotent: self.values[const { index("idempotent") }] == Value::Bool(true),
            balance: match self.word(const { index("balance") }) {
                "roundRobin" => Balance::RoundRobin,
                _ => Balance::LeastRequest,
            },
            pool: Pool {
                idle: self.duration(const { index("pool.idle") }),
                max_idle: self.count(const { index("pool.maxIdle") }) as usize,
                max_age: self.duration(const { index("pool.maxAge") }),
            },
            retries: self.on(const { index("retries") }).then(|| self.retries()),
            circuit_breaker: self.on(const { index("circuitBreaker") }).then(|| self.circuit_breaker()),
            bulkhead: self.on(const { index("bulkhead") }).then(|| self.bulkhead()),
            origins: Origins::from_array(self.origins),
        }
    }

    fn retries(&self) -> Retries {
        let timeout = self.time(const { index("timeout") });
        let per_try = self.time(const { index("retries.perTryTimeout") });
        Retries {
            mode: self.mode(const { index("retries.mode") }),
            max_retries: self.count(const { index("retries.maxRetries") }),
            // Clipped: a longer one could never be reached. The lint has said so.
            per_try_timeout: per_try.map(|time| timeout.map_or(time, |timeout| time.min(timeout))),
            retry_on: self.retry_on(),
            backoff: Backoff {
                base: self.duration(const { index("retries.backoff.base") }),
                factor: self.number(const { index("retries.backoff.factor") }),
                max: self.duration(const { index("retries.backoff.max") }),
                jitter: match self.word(const { index("retries.backoff.jitter") }) {
                    "equal" => Jitter::Equal,
                    "additive" => Jitter::Additive,
                    "none" => Jitter::None,
                    _ => Jitter::Full,
                },
            },
            budget: RetryBudget {
                ratio: self.share(const { index("retries.budget.ratio") }).unwrap_or_default(),
                min_per_second: self.number(const { index("retries.budget.minPerSecond") }),
                window: self.duration(const { index("retries.budget.window") }),
            },
            max_body_bytes: self.size(const { index("retries.maxBody") }),
        }
    }

    fn retry_on(&self) -> RetryOn {
        let bits =
            if let Value::Words(bits) = self.values[const { index("retries.retryOn") }] { bits } else { 0 };
        RetryOn { gateway_error: bits & 1 != 0, reset: bits & 2 != 0, per_try_timeout: bits & 4 != 0 }
    }

    fn circuit_breaker(&self) -> CircuitBreaker {
        CircuitBreaker {
            mode: self.mode(const { index("circuitBreaker.mode") }),
            trip: Trip {
                consecutive_failures: self
                    .maybe_count(const { index("circuitBreaker.trip.consecutiveFailures") }),
                failure_rate: self.share(const { index("circuitBreaker.trip.failureRate") }),
                slow_call_rate: self.share(const { index("circuitBreaker.trip.slowCallRate") }),
                slow_call_duration: self.duration(const { index("circuitBreaker.trip.slowCallDuration") }),
                window: self.duration(const { index("circuitBreaker.trip.window") }),
                minimum_calls: self.count(const { index("circuitBreaker.trip.minimumCalls") }),
            },
            open_for: OpenFor {
                base: self.duration(const { index("circuitBreaker.openFor.base") }),
                max: self.duration(const { index("circuitBreaker.openFor.max") }),
            },
            half_open: HalfOpen {
                max_concurrent: self.count(const { index("circuitBreaker.halfOpen.maxConcurrent") }),
                successes: self.count(const { index("circuitBreaker.halfOpen.successes") }),
                max_wait: self.duration(const { index("circuitBreaker.halfOpen.maxWait") }),
            },
            fail_on: self.fail_on(),
        }
    }

    fn fail_on(&self) -> FailOn {
        if let Value::FailOn(fail_on) = &self.values[const { index("circuitBreaker.failOn") }] {
            fail_on.clone()
        } else {
            FailOn {
                server_error: true,
                timeout: true,
                transport: true,
                statuses: Vec::new(),
                grpc: grpc::FAILURES,
            }
        }
    }

    fn bulkhead(&self) -> Bulkhead {
        let max_concurrent = self.count(const { index("bulkhead.maxConcurrent") });
        let max_wait = self.duration(const { index("bulkhead.maxWait") });
        let queue_set = self.origins[const { index("bulkhead.maxQueue") }].layer != Layer::BuiltIn;
        Bulkhead {
            mode: self.mode(const { index("bulkhead.mode") }),
            max_concurrent,
            max_wait,
            max_queue: match (queue_set, max_wait.is_zero()) {
                (true, _) => self.count(const { index("bulkhead.maxQueue") }),
                (false, false) => max_concurrent,
                (false, true) => 0,
            },
            max_connections: self.count(const { index("bulkhead.maxConnections") }),
        }
    }

    fn on(&self, key: usize) -> bool {
        self.values[key] != Value::Off
    }

    /// A duration, unless it is off.
    pub(super) fn time(&self, key: usize) -> Option<Duration> {
        if let Value::Time(time) = self.values[key] { Some(time) } else { None }
    }

    /// A duration that cannot be off, or for which off is zero.
    fn duration(&self, key: usize) -> Duration {
        self.time(key).unwrap_or_default()
    }

    fn share(&self, key: usize) -> Option<f64> {
        if let Value::Share(share) = self.values[key] { Some(share) } else { None }
    }

    fn number(&self, key: usize) -> f64 {
        if let Value::Number(number) = self.values[key] { number } else { 0.0 }
    }

    /// A count; the table keeps them all far below `u32::MAX`.
    fn count(&self, key: usize) -> u32 {
        self.maybe_count(key).unwrap_or_default()
    }

    fn maybe_count(&self, key: usize) -> Option<u32> {
        if let Value::Count(count) = self.values[key] { u32::try_from(count).ok() } else { None }
    }

    fn size(&self, key: usize) -> usize {
        if let Value::Size(bytes) = self.values[key] {
            usize::try_from(bytes).unwrap_or(usize::MAX)
        } else {
            0
        }
    }

    fn word(&self, key: usize) -> &'static str {
        if let Value::Word(word) = self.values[key] { word } else { "" }
    }

    fn mode(&self, key: usize) -> Mode {
        if self.word(key) == "observe" { Mode::Observe } else { Mode::Enforce }
    }
}
