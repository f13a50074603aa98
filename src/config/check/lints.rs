//! Values that are fine alone and wrong together.
//!
//! In: merged settings. Out: problems and warnings. Each pair of places is told once, however many
//! services and routes inherit it.

use std::time::Duration;

use super::Checker;
use super::layer::{Settings, index};
use crate::config::raw::Place;
use crate::config::units::show_duration;
use crate::config::{Layer, Origin, POLICY_KEYS, Retries};

/// Paths of the blocks that a merged policy came from.
pub(super) struct Paths<'p> {
    pub(super) service: &'p str,
    pub(super) route: &'p str,
}

// === impl Checker ===

impl Checker<'_> {
    /// Everything that concerns a whole service, or `defaults` alone.
    pub(super) fn lint_service(&mut self, paths: &Paths<'_>, settings: &Settings, opaque: bool) {
        if !opaque {
            self.lint_call(paths, settings);
        }
        let policy = settings.policy(opaque);
        if let Some(breaker) = &policy.circuit_breaker {
            let (base, max) = (breaker.open_for.base, breaker.open_for.max);
            let keys = [
                const { index("circuitBreaker.openFor.base") },
                const { index("circuitBreaker.openFor.max") },
            ];
            self.lint_base(paths, settings, keys, (base, max));
        }
        if let (Some(breaker), Some(bulkhead)) = (&policy.circuit_breaker, &policy.bulkhead)
            && breaker.half_open.max_concurrent > bulkhead.max_concurrent
        {
            let keys = [
                const { index("circuitBreaker.halfOpen.maxConcurrent") },
                const { index("bulkhead.maxConcurrent") },
            ];
            if let Some((place, at)) = self.first_told("half-open", paths, settings, &keys) {
                let found = format!(
                    "{} probes and a bulkhead of {}",
                    breaker.half_open.max_concurrent, bulkhead.max_concurrent
                );
                self.warning(place, &at, found, "halfOpen.maxConcurrent within bulkhead.maxConcurrent");
            }
        }
    }

    /// Everything that may differ from route to route.
    pub(super) fn lint_call(&mut self, paths: &Paths<'_>, settings: &Settings) {
        let policy = settings.policy(false);
        if let Some(retries) = &policy.retries {
            let keys = [const { index("retries.backoff.base") }, const { index("retries.backoff.max") }];
            self.lint_base(paths, settings, keys, (retries.backoff.base, retries.backoff.max));
        }
        let Some(timeout) = policy.timeout else {
            return;
        };
        if let Some(bulkhead) = policy.bulkhead
            && bulkhead.max_wait >= timeout
        {
            let keys = [const { index("bulkhead.maxWait") }, const { index("timeout") }];
            if let Some((place, at)) = self.first_told("max-wait", paths, settings, &keys) {
                let (wait, timeout) = (show_duration(bulkhead.max_wait), show_duration(timeout));
                let found = format!("bulkhead.maxWait {wait} with timeout {timeout}");
                self.problem(place, &at, found, "maxWait shorter than timeout");
            }
        }
        if let Some(retries) = &policy.retries {
            self.lint_attempts(paths, settings, retries, timeout);
        }
    }

    /// `perTryTimeout`, attempts and back-offs against `timeout`.
    fn lint_attempts(
        &mut self,
        paths: &Paths<'_>,
        settings: &Settings,
        retries: &Retries,
        timeout: Duration,
    ) {
        let per_try_key = const { index("retries.perTryTimeout") };
        let timeout_key = const { index("timeout") };
        let per_try = settings.time(per_try_key);
        if let Some(per_try) = per_try.filter(|per_try| *per_try >= timeout) {
            let one_block = settings.origin(per_try_key).layer == settings.origin(timeout_key).layer;
            let Some((place, at)) = self.first_told("per-try", paths, settings, &[per_try_key, timeout_key])
            else {
                return;
            };
            let (per_try, timeout) = (show_duration(per_try), show_duration(timeout));
            let found = format!("perTryTimeout {per_try} with timeout {timeout}");
            if one_block {
                self.problem(place, &at, found, "perTryTimeout shorter than timeout");
            } else {
                self.warning(place, &at, found, format!("a shorter one; it is clipped to {timeout}"));
            }
            return;
        }
        let waits: Duration = backoffs(retries).iter().sum();
        let attempts = per_try.unwrap_or_default() * (retries.max_retries + 1);
        if retries.max_retries > 0 && attempts + waits >= timeout {
            let keys = [
                const { index("retries.maxRetries") },
                per_try_key,
                timeout_key,
                const { index("retries.backoff.base") },
                const { index("retries.backoff.max") },
            ];
            if let Some((place, at)) = self.first_told("fit", paths, settings, &keys) {
                let (needed, timeout) = (show_duration(attempts + waits), show_duration(timeout));
                let count = retries.max_retries + 1;
                let found = format!("{count} attempts and their back-offs of up to {needed} in {timeout}");
                self.warning(place, &at, found, "room for all of them, or fewer retries");
            }
        }
    }

    fn lint_base(
        &mut self,
        paths: &Paths<'_>,
        settings: &Settings,
        keys: [usize; 2],
        (base, max): (Duration, Duration),
    ) {
        if base <= max {
            return;
        }
        if let Some((place, at)) = self.first_told("base", paths, settings, &keys) {
            let found = format!("base {} above max {}", show_duration(base), show_duration(max));
            self.problem(place, &at, found, "base of at most max");
        }
    }

    /// The place to tell a problem of several values at: the one set last. `None` when these places
    /// have been told already, or nobody but us has set them.
    fn first_told(
        &mut self,
        lint: &'static str,
        paths: &Paths<'_>,
        settings: &Settings,
        keys: &[usize],
    ) -> Option<(Place, String)> {
        let origins: Vec<Origin> = keys.iter().map(|key| settings.origin(*key)).collect();
        let mut key = keys[0];
        for other in &keys[1..] {
            if settings.origin(*other).layer > settings.origin(key).layer {
                key = *other;
            }
        }
        let origin = settings.origin(key);
        let block = match origin.layer {
            Layer::BuiltIn | Layer::Process => return None,
            Layer::Defaults => "defaults",
            Layer::Service => paths.service,
            Layer::Route => paths.route,
        };
        let places = origins.iter().map(|origin| (origin.file, origin.line, origin.column)).collect();
        if !self.told.insert((lint, places)) {
            return None;
        }
        let place = Place { file: origin.file, line: origin.line, column: origin.column };
        Some((place, format!("{block}.{}", POLICY_KEYS[key])))
    }
}

/// The waits between attempts, before jitter.
fn backoffs(retries: &Retries) -> Vec<Duration> {
    let mut waits = Vec::new();
    let mut wait = retries.backoff.base.as_secs_f64();
    for _ in 0..retries.max_retries {
        wait = wait.min(retries.backoff.max.as_secs_f64());
        waits.push(Duration::from_secs_f64(wait));
        wait *= retries.backoff.factor;
    }
    waits
}
