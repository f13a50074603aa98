//! Where each value of a policy came from.
//!
//! In: file, line and column seen while merging. Out: one [`Origin`] per policy key, small enough
//! (16 bytes) to keep for every route, so that `check --effective` and later explanations can cite it.

/// The place a value was set.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// Which layer set it.
    pub layer: Layer,
    /// Index into `Config::files`; 0 for built-in values.
    pub file: u16,
    /// Line, from 1; 0 for built-in values.
    pub line: u32,
    /// Column, from 1; 0 for built-in values.
    pub column: u32,
}

/// The layers of inheritance, weakest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layer {
    /// Compiled in.
    BuiltIn,
    /// A key of the process, which nothing inherits.
    Process,
    /// `defaults` in the YAML.
    Defaults,
    /// `services.<name>`.
    Service,
    /// `services.<name>.routes[n]`.
    Route,
}

/// Every policy key, as written in the YAML. `Policy::value` prints the value of each.
pub const POLICY_KEYS: [&str; 42] = [
    "timeout",
    "connectTimeout",
    "idleTimeout",
    "bodyTimeout",
    "idempotent",
    "balance",
    "pool.idle",
    "pool.maxIdle",
    "pool.maxAge",
    "retries",
    "retries.mode",
    "retries.maxRetries",
    "retries.perTryTimeout",
    "retries.retryOn",
    "retries.backoff.base",
    "retries.backoff.factor",
    "retries.backoff.max",
    "retries.backoff.jitter",
    "retries.budget.ratio",
    "retries.budget.minPerSecond",
    "retries.budget.window",
    "retries.maxBody",
    "circuitBreaker",
    "circuitBreaker.mode",
    "circuitBreaker.trip.consecutiveFailures",
    "circuitBreaker.trip.failureRate",
    "circuitBreaker.trip.slowCallRate",
    "circuitBreaker.trip.slowCallDuration",
    "circuitBreaker.trip.window",
    "circuitBreaker.trip.minimumCalls",
    "circuitBreaker.openFor.base",
    "circuitBreaker.openFor.max",
    "circuitBreaker.halfOpen.maxConcurrent",
    "circuitBreaker.halfOpen.successes",
    "circuitBreaker.halfOpen.maxWait",
    "circuitBreaker.failOn",
    "bulkhead",
    "bulkhead.mode",
    "bulkhead.maxConcurrent",
    "bulkhead.maxWait",
    "bulkhead.maxQueue",
    "bulkhead.maxConnections",
];

/// The origin of every key of [`POLICY_KEYS`], by index.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Origins(Box<[Origin; POLICY_KEYS.len()]>);

// === impl Origin ===

impl Origin {
    /// A value that no file sets.
    pub const BUILT_IN: Self = Self { layer: Layer::BuiltIn, file: 0, line: 0, column: 0 };
}

// === impl Layer ===

impl Layer {
    /// The layer's name for people.
    pub const fn name(self) -> &'static str {
        match self {
            Self::BuiltIn => "built-in",
            Self::Process => "process",
            Self::Defaults => "defaults",
            Self::Service => "service",
            Self::Route => "route",
        }
    }
}

// === impl Origins ===

impl Origins {
    /// Every value built in.
    pub fn built_in() -> Self {
        Self(Box::new([Origin::BUILT_IN; POLICY_KEYS.len()]))
    }

    /// The origin of each key, in the order of [`POLICY_KEYS`].
    pub(super) fn from_array(origins: [Origin; POLICY_KEYS.len()]) -> Self {
        Self(Box::new(origins))
    }

    /// The origin of `key`, if it is a policy key.
    pub fn get(&self, key: &str) -> Option<Origin> {
        let index = POLICY_KEYS.iter().position(|known| *known == key)?;
        Some(self.0[index])
    }

    /// Notes where `key` was set; unknown keys are a mistake of ours.
    pub fn set(&mut self, key: &str, origin: Origin) {
        let index = POLICY_KEYS.iter().position(|known| *known == key);
        debug_assert!(index.is_some(), "{key} is not in POLICY_KEYS");
        if let Some(index) = index {
            self.0[index] = origin;
        }
    }
}
