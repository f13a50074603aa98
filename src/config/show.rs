//! The values of a policy, as the YAML would spell them.
//!
//! In: a [`Policy`] and a key. Out: text such as `1m30s`, `20%` or `off`. What is shown reads back to
//! the same value, so an effective policy can be pasted into a file.

use std::time::Duration;

use super::grpc;
use super::units::{show_duration, show_ratio, show_size};
use super::{Balance, Bulkhead, CircuitBreaker, FailOn, Jitter, Mode, Policy, Retries, RetryOn};

const OFF: &str = "off";

// === impl Policy ===

impl Policy {
    /// The value of one of `POLICY_KEYS`; empty for any other key. A key of a block that is off is `off`.
    pub fn value(&self, key: &str) -> String {
        let (block, rest) = key.split_once('.').unwrap_or((key, ""));
        match block {
            "timeout" => time(self.timeout),
            "connectTimeout" => show_duration(self.connect_timeout),
            "idleTimeout" => time(self.idle_timeout),
            "bodyTimeout" => time(self.body_timeout),
            "idempotent" => self.idempotent.to_string(),
            "balance" => balance(self.balance).to_owned(),
            "pool" => match rest {
                "idle" => show_duration(self.pool.idle),
                "maxIdle" => self.pool.max_idle.to_string(),
                "maxAge" => show_duration(self.pool.max_age),
                _ => String::new(),
            },
            "retries" => self.retries.as_ref().map_or_else(off, |block| block.value(rest)),
            "circuitBreaker" => self.circuit_breaker.as_ref().map_or_else(off, |block| block.value(rest)),
            "bulkhead" => self.bulkhead.as_ref().map_or_else(off, |block| block.value(rest)),
            _ => String::new(),
        }
    }
}

// === impl Retries ===

impl Retries {
    fn value(&self, key: &str) -> String {
        match key {
            "" => "{}".to_owned(),
            "mode" => mode(self.mode).to_owned(),
            "maxRetries" => self.max_retries.to_string(),
            "perTryTimeout" => time(self.per_try_timeout),
            "retryOn" => self.retry_on.show(),
            "backoff.base" => show_duration(self.backoff.base),
            "backoff.factor" => self.backoff.factor.to_string(),
            "backoff.max" => show_duration(self.backoff.max),
            "backoff.jitter" => jitter(self.backoff.jitter).to_owned(),
            "budget.ratio" => show_ratio(self.budget.ratio),
            "budget.minPerSecond" => self.budget.min_per_second.to_string(),
            "budget.window" => show_duration(self.budget.window),
            "maxBody" => show_size(self.max_body_bytes as u64),
            _ => String::new(),
        }
    }
}

// === impl RetryOn ===

impl RetryOn {
    fn show(self) -> String {
        let words = [
            (self.gateway_error, "gateway-error"),
            (self.reset, "reset"),
            (self.per_try_timeout, "per-try-timeout"),
        ];
        list(words.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned()))
    }
}

// === impl CircuitBreaker ===

impl CircuitBreaker {
    fn value(&self, key: &str) -> String {
        let trip = &self.trip;
        match key {
            "" => "{}".to_owned(),
            "mode" => mode(self.mode).to_owned(),
            "trip.consecutiveFailures" => {
                trip.consecutive_failures.map_or_else(off, |count| count.to_string())
            }
            "trip.failureRate" => trip.failure_rate.map_or_else(off, show_ratio),
            "trip.slowCallRate" => trip.slow_call_rate.map_or_else(off, show_ratio),
            "trip.slowCallDuration" => show_duration(trip.slow_call_duration),
            "trip.window" => show_duration(trip.window),
            "trip.minimumCalls" => trip.minimum_calls.to_string(),
            "openFor.base" => show_duration(self.open_for.base),
            "openFor.max" => show_duration(self.open_for.max),
            "halfOpen.maxConcurrent" => self.half_open.max_concurrent.to_string(),
            "halfOpen.successes" => self.half_open.successes.to_string(),
            "halfOpen.maxWait" => show_duration(self.half_open.max_wait),
            "failOn" => self.fail_on.show(),
            _ => String::new(),
        }
    }
}

// === impl FailOn ===

impl FailOn {
    fn show(&self) -> String {
        let words = [(self.server_error, "5xx"), (self.timeout, "timeout"), (self.transport, "transport")];
        let words = words.iter().filter(|(on, _)| *on).map(|(_, word)| (*word).to_owned());
        let words = words.chain(self.statuses.iter().map(u16::to_string));
        let implied = if self.server_error { grpc::FAILURES } else { 0 };
        list(words.chain(grpc::names(self.grpc & !implied)))
    }
}

// === impl Bulkhead ===

impl Bulkhead {
    fn value(&self, key: &str) -> String {
        match key {
            "" => "{}".to_owned(),
            "mode" => mode(self.mode).to_owned(),
            "maxConcurrent" => self.max_concurrent.to_string(),
            "maxWait" => show_duration(self.max_wait),
            "maxQueue" => self.max_queue.to_string(),
            "maxConnections" => self.max_connections.to_string(),
            _ => String::new(),
        }
    }
}

fn off() -> String {
    OFF.to_owned()
}

fn time(time: Option<Duration>) -> String {
    time.map_or_else(off, show_duration)
}

fn list(words: impl Iterator<Item = String>) -> String {
    format!("[{}]", words.collect::<Vec<_>>().join(", "))
}

const fn mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Enforce => "enforce",
        Mode::Observe => "observe",
    }
}

const fn balance(balance: Balance) -> &'static str {
    match balance {
        Balance::LeastRequest => "leastRequest",
        Balance::RoundRobin => "roundRobin",
    }
}

const fn jitter(jitter: Jitter) -> &'static str {
    match jitter {
        Jitter::Full => "full",
        Jitter::Equal => "equal",
        Jitter::Additive => "additive",
        Jitter::None => "none",
    }
}

#[cfg(test)]
mod tests {
    use crate::config::{Options, POLICY_KEYS, keys, load_str};

    #[test]
    fn every_key_is_shown_as_its_default_is_spelled() {
        let text = "services: {a: {endpoints: {dns: a:80}}}";
        let config = load_str("mesh.yaml", text, &Options::default()).unwrap();
        for key in POLICY_KEYS {
            let spelled = keys::policy_keys().iter().find(|known| known.path == key).unwrap().default;
            assert_eq!(config.services[0].policy.value(key), spelled, "{key}");
        }
    }
}
